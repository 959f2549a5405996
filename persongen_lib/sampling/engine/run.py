"""A sample run in the store, written image by image: a killed run goes on with the missing ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from persongen_lib.backbones.amounts import sampled_at_once
from persongen_lib.backbones.backbone import Backbone
from persongen_lib.core.checks import some
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import remove_temporaries, write_atomic
from persongen_lib.core.manifest import DONE, DamagedRun
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.store import read_spec
from persongen_lib.sampling.engine.contact_sheets import ROWS, is_packed, picture_name, preview_name
from persongen_lib.sampling.engine.models import check_fine_tuning, ready_backbone, resolved
from persongen_lib.sampling.engine.picture_files import picture_info, save_picture
from persongen_lib.sampling.engine.predictions import Encoder
from persongen_lib.sampling.engine.previews import Preview
from persongen_lib.sampling.engine.prompts import Prompts
from persongen_lib.sampling.engine.sampler import sample
from persongen_lib.sampling.engine.specs import SampleSpec

DEAD = 3600
"""Seconds after which nobody is still writing a file of an output folder, which others may share."""


def run_sample(
    spec: SampleSpec,
    runtime: Runtime,
    backbone: Backbone | None = None,
    adapter: Any = None,
    batch_size: int | None = None,
    kind: str = "sample",
    preview_every: int | None = None,
    offload: bool = False,
) -> Path:
    """The folder of a finished run, sampled now if it is not there yet, or not intact.

    It holds images/p03_s0007.png (prompt index, seed) and pictures.jsonl, one row per image; where previews are asked
    for, previews/p03_s0007_step0010.png of the images that are sampled now. A run whose images were packed is sampled
    again.

    Args:
        spec: the run; what it lacks is filled in (`resolved`).
        runtime: where runs are kept, and what computes them.
        backbone: one that is loaded already by `load_backbone`.
        adapter: adapters as `Backbone.load_adapter` takes them, by default the store's fine-tuning.
        batch_size: images per network call and branch; None for what suits the device and the images' size.
        kind: the run's kind in the store.
        preview_every: how many steps lie between previews; None for none.
        offload: keep on the GPU only the part that computes, of a backbone that is loaded here.

    Raises:
        UserError: as `resolved`, `ready_backbone` and `sample`.
    """
    spec, store = resolved(spec, runtime, backbone, adapter), runtime.store
    check_fine_tuning(spec, store)
    found = store.find(kind, spec)
    if found and is_packed(found):
        store.remove(kind, spec)

    def work(folder: Path) -> dict[str, Any]:
        model = ready_backbone(spec, runtime, backbone, adapter, offload)
        sides = (spec.height or model.image_size, spec.width or model.image_size)
        batch = sampled_at_once(*sides, model.device.type) if batch_size is None else batch_size
        _sample_missing(spec, model, folder, batch, preview_every)
        return {
            "device": str(model.device),
            "dtype": str(model.dtype).removeprefix("torch."),
            "batch_size": batch,
        }

    return store.ensure(kind, spec, work)


def check_output(spec: SampleSpec, output: str | Path) -> None:
    """A UserError where `output` is a file, or a folder with another run's pictures or files that would be lost."""
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise UserError(f"the output {output} is a file: give a folder")
    try:
        other = (output / "spec.json").exists() and read_spec(output, SampleSpec) != spec
    except DamagedRun:
        raise UserError(f"{output} holds a damaged run: give another folder or remove it") from None
    if other:
        raise UserError(f"{output} holds pictures of another run: give another folder or remove it")
    names = [picture_name(index, seed) for index in range(len(spec.prompts)) for seed in spec.seeds]
    lost = [name for name in (*names, ROWS, "provenance.json", DONE) if (output / name).exists()]
    if lost and not (output / "spec.json").exists():
        raise UserError(f"{output} holds {some(lost, 3)} already, which would be lost: give another folder")


def export(folder: Path, output: str | Path) -> Path:
    """Copy a finished run to a folder of the user's, spec.json first and DONE last."""
    output = Path(output)
    check_output(read_spec(folder, SampleSpec), output)
    if (output / "spec.json").exists():
        remove_temporaries(output, idle=DEAD)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    for file in sorted(files, key=lambda file: (file.name == DONE, file.name != "spec.json")):
        write_atomic(output / file, (folder / file).read_bytes())
    return output


def _sample_missing(
    spec: SampleSpec, backbone: Backbone, folder: Path, batch_size: int, preview_every: int | None
) -> None:
    from tqdm.auto import tqdm

    encoder, rows = Encoder(backbone), dict[tuple[int, int], dict[str, Any] | None]()
    total = len(spec.prompts) * len(spec.seeds)
    with tqdm(total=total, desc=f"sample {spec.strategy.name}", unit="image") as bar:
        for indices, seeds in _batches(spec, batch_size):
            wanted = [(index, seed) for index in indices for seed in seeds]
            found = [picture_info(folder / picture_name(*one)) for one in wanted]
            if None in found:
                _sample_batch(spec, backbone, encoder, folder, indices, seeds, preview_every)
                found = [picture_info(folder / picture_name(*one)) for one in wanted]
            rows.update(zip(wanted, found, strict=True))
            bar.update(len(wanted))
    ordered = [rows[index, seed] for index in range(len(spec.prompts)) for seed in spec.seeds]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ordered)
    write_atomic(folder / "pictures.jsonl", lines)


def _batches(spec: SampleSpec, batch_size: int) -> Iterator[tuple[range, tuple[int, ...]]]:
    """Indices of prompts and seeds that are sampled together."""
    at_once = max(1, batch_size // len(spec.seeds))
    for first in range(0, len(spec.prompts), at_once):
        indices = range(first, min(first + at_once, len(spec.prompts)))
        for start in range(0, len(spec.seeds), batch_size):
            yield indices, spec.seeds[start : start + batch_size]


def _sample_batch(
    spec: SampleSpec,
    backbone: Backbone,
    encoder: Encoder,
    folder: Path,
    indices: range,
    seeds: tuple[int, ...],
    preview_every: int | None,
) -> None:
    wanted = [(index, seed) for index in indices for seed in seeds]

    def show(preview: Preview) -> None:
        for place, image in zip(preview.pictures, preview.images, strict=True):
            write_atomic(
                folder / preview_name(*wanted[place], preview.step),
                partial(save_picture, image=image, row={}),
            )

    result = sample(
        backbone,
        spec.strategy,
        [spec.prompts[index] for index in indices],
        spec.token,
        spec.class_name,
        spec.num_steps,
        seeds,
        scheduler=spec.scheduler,
        batch_size=len(indices) * len(seeds),
        encoder=encoder,
        preview_every=preview_every,
        on_preview=show if preview_every is not None else None,
        **spec.options,
    )
    for (index, seed), image in zip(wanted, result.images or (), strict=True):
        name, template = picture_name(index, seed), spec.prompts[index]
        row = {
            "file": name,
            "prompt_index": index,
            "template": template,
            "prompt": Prompts(template, spec.token, spec.class_name, in_place=backbone.in_place)["concept"],
            "seed": seed,
            "evaluations": result.evaluations,
            **spec.options,
        }
        write_atomic(folder / name, partial(save_picture, image=image, row=row))
