"""Image similarity in the space of a self-supervised picture model (DINO, Caron et al. 2021; Oquab et al. 2023).

Trained without words, it tells two dogs apart where CLIP sees "a dog" twice (DreamBooth, Ruiz et al. 2023).
The model is named in the column `dino_model`: similarities of two models can not be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from persongen_lib.core.errors import UserError
from persongen_lib.data.concepts import Concept
from persongen_lib.evaluation.metric import LOCAL, half_on_gpu, in_batches, mean_cosine, unit

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
    """Features of a vision transformer; make it with `dino_network`."""

    model: str
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


@dataclass(frozen=True)
class Dino:
    """`dino`: mean cosine, in [-1, 1], of the picture's CLS features with every reference's."""

    dino: DinoNetwork
    concept: Concept
    columns: ClassVar = {"dino": "float64"}

    @property
    def model(self) -> str:
        return self.dino.model

    @cached_property
    def references(self) -> Tensor:
        return self.dino.embed_images(self.concept.images)

    def __call__(self, images: Sequence[Image], templates: Sequence[str]) -> dict[str, list]:
        return {"dino": mean_cosine(self.dino.embed_images(images), self.references)}


def load_dino(model: str, device: str, concept: Concept) -> Dino:
    """Scores against `concept`; for `model` and errors see `dino_network`."""
    return Dino(dino_network(model, device), concept)


@lru_cache(maxsize=1)
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
    name = folder.name if _is_folder(model) else model
    return DinoNetwork(name, network.to(device).eval(), processor, device)


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
