"""Image and text similarity in the space of a contrastive picture-and-text model (CLIP, Radford et al. 2021).

The model is named in the column `clip_model`: similarities of two models can not be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from persongen_lib.data import DATA, Concept
from persongen_lib.evaluation.metric import LOCAL, mean_cosine
from persongen_lib.specs import UserError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

MICRO = f"{LOCAL}{DATA / 'models' / 'micro-clip'}"
"""The micro-world's own CLIP, trained apart from the text encoder of the generator."""
FULL_SIZE = "ViT-B-32/openai"
"""The model of the DreamBooth paper's and the study's CLIP scores."""


@dataclass(frozen=True)
class Clip:
    """Scores of one open_clip model; make it with `load_clip`.

    `clip_image`: mean cosine of the picture with every reference picture (CLIP-I).
    `clip_text`: cosine of the picture with its prompt, written without the placeholder (CLIP-T). Both in
    [-1, 1].
    """

    model: str
    network: Any
    preprocess: Any
    tokenizer: Any
    device: str
    columns: ClassVar = {"clip_image": "float64", "clip_text": "float64"}

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        """Unit features, a float tensor of shape (images, features) on the CPU."""
        import torch

        pixels = torch.stack([self.preprocess(image.convert("RGB")) for image in images])
        with torch.inference_mode():
            return self.network.encode_image(pixels.to(self.device), normalize=True).float().cpu()

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit features, a float tensor of shape (texts, features) on the CPU."""
        import torch

        with torch.inference_mode():
            return (
                self.network.encode_text(self.tokenizer(list(texts)).to(self.device), normalize=True)
                .float()
                .cpu()
            )

    def __call__(self, images: Sequence[Image], prompts: Sequence[str], concept: Concept) -> dict[str, list]:
        features = self.embed_images(images)
        texts = self.embed_texts(prompts)
        return {
            "clip_image": mean_cosine(features, self.embed_images(concept.images)),
            "clip_text": (features * texts).sum(dim=1).tolist(),
        }


@lru_cache(maxsize=2)
def load_clip(model: str = MICRO, device: str = "cpu") -> Clip:
    """Load `local-dir:FOLDER` (in open_clip's form) or `ARCHITECTURE/TAG` (downloaded once by open_clip).

    UserError when the folder lacks a file, the tag is unknown, or its weights can't be reached or are not
    safetensors.
    """
    if model.startswith(LOCAL):
        return _from_folder(Path(model.removeprefix(LOCAL)), device)
    return _from_tag(model, device)


def _from_folder(folder: Path, device: str) -> Clip:
    import open_clip
    from safetensors import SafetensorError

    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        if not (folder / name).is_file():
            raise UserError(f"the CLIP folder {folder} has no {name}: give a folder in open_clip's form")
    name = f"{LOCAL}{folder}"
    try:
        network, preprocess = open_clip.create_model_from_pretrained(name, device=device)
        tokenizer = open_clip.get_tokenizer(name)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(
            f"the CLIP model in {folder} can't be loaded: {str(error).splitlines()[0]}"
        ) from error
    return Clip(folder.name, network.eval(), preprocess, tokenizer, device)


def _from_tag(model: str, device: str) -> Clip:
    import open_clip

    architecture, _, tag = model.partition("/")
    settings = open_clip.pretrained.get_pretrained_cfg(architecture, tag)
    if not settings:
        raise UserError(
            f"unknown CLIP model {model!r}: give local-dir:FOLDER or ARCHITECTURE/TAG such as {FULL_SIZE}"
        )
    try:
        weights = open_clip.pretrained.download_pretrained(settings)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the weights of {model} can't be reached: connect once, give local-dir:FOLDER, or leave clip out"
        ) from error
    if not weights.endswith(".safetensors"):
        raise UserError(f"the weights of {model} are no safetensors file, and no other kind is opened")
    network, preprocess = open_clip.create_model_from_pretrained(
        architecture, tag, device=device, force_quick_gelu=settings.get("quick_gelu", False)
    )
    return Clip(model, network.eval(), preprocess, open_clip.get_tokenizer(architecture), device)
