"""Image similarity in the space of a self-supervised picture model (DINO, Caron et al. 2021; Oquab et al. 2023).

Trained without words, it tells two dogs apart where CLIP sees "a dog" twice (DreamBooth, Ruiz et al. 2023).
The model is named in the column `dino_model`: similarities of two models can not be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.core.errors import UserError
from persongen_lib.evaluation.features import half_on_gpu, in_batches, mean_cosine, unit
from persongen_lib.evaluation.metric import COSINE, METRICS, Batch, Column, Metric
from persongen_lib.evaluation.sources import LOCAL

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

DINOV2 = "facebook/dinov2-small"
"""The model of the study; the DreamBooth paper's is facebook/dino-vits16."""
FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
REVISIONS = {"facebook/dino-vits16": "refs/pr/1"}
"""Where on the hub the safetensors are, of models whose main branch has only a pickle."""


@dataclass(frozen=True)
class DinoNetwork:
    """Features of a vision transformer; make it with `dino_network`.

    Args:
        network: the model, on `device`.
        processor: the model's own image processor.
        device: where the network computes.
    """

    network: Any
    processor: Any
    device: str

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        """Unit features of the CLS token, a float tensor of shape (images, features) on the CPU."""
        import torch

        def embed(images: Sequence[Image]) -> Tensor:
            pixels = self.processor(images=list(images), return_tensors="pt")["pixel_values"]
            with torch.inference_mode(), half_on_gpu(self.device):
                return unit(self.network(pixel_values=pixels.to(self.device)).last_hidden_state[:, 0])

        return in_batches(embed, images)


def dino_network(model: str = DINOV2, device: str = "cpu") -> DinoNetwork:
    """Load a folder in transformers' form or a model of the hub (fetched once), with its own image processor.

    UserError when the hub can't be reached, a file is missing (weights must be safetensors), or the weights
    don't fit.
    """
    from safetensors import SafetensorError
    from transformers import AutoImageProcessor, AutoModel

    folder = dino_folder(model)
    settings = {"local_files_only": True, "trust_remote_code": False}
    try:
        processor = AutoImageProcessor.from_pretrained(folder, **settings)
        network, report = AutoModel.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **settings
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(
            f"the DINO model in {folder} can't be loaded: {str(error).splitlines()[0]}"
        ) from error
    if missing := sorted(name for name in report["missing_keys"] if not name.startswith("pooler.")):
        raise UserError(
            f"the weights in {folder} are not those that its config.json describes: no {missing[0]}"
        )
    return DinoNetwork(network.to(device).eval(), processor, device)


def dino_folder(model: str, fetch: bool = True) -> Path:
    """The folder with a model's `FILES`; what is not on this machine yet comes from the hub, if `fetch`.

    UserError when the hub can't be reached or a file is missing.
    """
    from huggingface_hub import snapshot_download

    folder = Path(model.removeprefix(LOCAL))
    if not _is_folder(model):
        try:
            folder = Path(
                snapshot_download(
                    model, revision=REVISIONS.get(model), allow_patterns=FILES, local_files_only=not fetch
                )
            )
        except (OSError, ValueError) as error:
            raise UserError(
                f"the DINO model {model} is no folder and can't be fetched from the hub: check its name, "
                "connect once, give a folder, or leave dino out"
            ) from error
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise UserError(
            f"the DINO model {model} has no {missing[0]}: give a folder in transformers' form with "
            f"{', '.join(FILES)}"
        )
    return folder


def dino_is_here(model: str) -> bool:
    """Whether the model's files are on this machine."""
    try:
        dino_folder(model, fetch=False)
    except UserError:
        return False
    return True


def _is_folder(model: str) -> bool:
    return model.startswith(LOCAL) or Path(model).is_dir()


@METRICS.register("dino", order=20)
class Dino(Metric):
    """`dino`: mean cosine, in [-1, 1], of the image's CLS features with every reference's."""

    columns = (
        Column(
            name="dino", title="image similarity (DINO)", range=COSINE, higher_is_better=True,
            needs="references", shown=40, better="dino_subject",
        ),
        Column(
            name="dino_subject", title="image similarity of the subject (DINO)", range=COSINE,
            higher_is_better=True, needs="references", shown=50, part="subject", of="dino",
        ),
    )  # fmt: skip
    default_source = DINOV2
    model_help = "a folder, or a model of the hub"
    load_network = staticmethod(dino_network)

    @classmethod
    def by_default(cls, model: str | None, micro: bool) -> bool:
        return not micro and dino_is_here(model or DINOV2)

    @cached_property
    def references(self) -> Tensor:
        return self.network.embed_images(self.concept.images)

    def __call__(self, batch: Batch) -> dict[str, list]:
        return {"dino": mean_cosine(self.network.embed_images(batch.images), self.references)}
