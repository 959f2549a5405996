"""A fine-tuning run in the store: adapter.safetensors with the changed tensors, adapter.json, loss.csv."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from persongen_lib.backbones import Backbone, load_backbone
from persongen_lib.data import Concept
from persongen_lib.finetune.loop import CHECKPOINT, train
from persongen_lib.finetune.method import Training, make_method
from persongen_lib.specs import FineTuneSpec, UserError
from persongen_lib.store import Store, write_atomic, write_json


def finetune(
    spec: FineTuneSpec,
    concept: Concept,
    store: Store,
    device: str = "auto",
    dtype: str | None = None,
    backbone: Backbone | None = None,
) -> Path:
    """The adapter folder of a finished fine-tuning, trained now where it is not there yet.

    `dtype`: of the network's arithmetic, fp32 or bf16 (which fp16 means here too); by default fp32 on a CPU
    and bf16 elsewhere. What is trained is float32 always. `backbone`: one that is loaded already, used where
    it is float32; it is left as it was, without an adapter.
    """
    if spec.concept_digest != concept.digest:
        raise UserError(
            f"the pictures of {concept.name!r} are not those of the fine-tuning: make the spec anew"
        )

    def work(folder: Path) -> dict[str, Any]:
        model = backbone
        if model is None or model.dtype != torch.float32:
            model = load_backbone(spec.backbone, device=device, dtype="fp32")
        model.unload_adapter()
        low = dtype in ("bf16", "fp16") or (dtype is None and model.device.type != "cpu")
        autocast = partial(torch.autocast, model.device.type, torch.bfloat16, enabled=low)
        training = make_method(spec.method, **spec.parameters).start(spec, model, concept, store)
        try:
            _train(training, spec, folder, autocast)
        finally:
            training.close()
        return {"device": str(model.device), "dtype": "bfloat16" if low else "float32"}

    return store.ensure("finetune", spec, work)


def _train(training: Training, spec: FineTuneSpec, folder: Path, autocast: Any) -> None:
    from tqdm.auto import tqdm

    losses: list[float] = []
    with tqdm(total=spec.num_steps, desc=f"fine-tune {spec.concept}", unit="step") as bar:
        for losses in train(training, spec.num_steps, spec.seed, folder, autocast):
            bar.update(len(losses) - bar.n)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in training.parameters.items()}
    write_atomic(folder / "adapter.safetensors", lambda path: save_file(tensors, path))
    write_json(folder / "adapter.json", spec.to_dict())
    rows = "".join(f"{step},{loss:.6g}\n" for step, loss in enumerate(losses))
    write_atomic(folder / "loss.csv", "step,loss\n" + rows)
    (folder / CHECKPOINT).unlink(missing_ok=True)
