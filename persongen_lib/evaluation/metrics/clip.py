"""Image and text similarity in the space of a contrastive picture-and-text model (CLIP, Radford et al. 2021).

The model is named in the column `clip_model`: similarities of two models can not be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.data.concepts import Concept
from persongen_lib.evaluation.metric import LOCAL, half_on_gpu, in_batches, mean_cosine, unit

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

MICRO = f"{LOCAL}{DATA / 'models' / 'micro-clip'}"
"""The micro-world's own CLIP, trained apart from the text encoder of the generator."""
FULL_SIZE = "ViT-B-32/openai"
"""The model of the DreamBooth paper's and the study's CLIP scores."""


@dataclass(frozen=True)
class OpenClip:
    """Features of an open_clip model; make it with `open_clip_model`."""

    model: str
    network: Any
    preprocess: Any
    tokenizer: Any
    device: str
    texts: dict[str, Tensor] = field(default_factory=dict)

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        """Unit features, a float tensor of shape (images, features) on the CPU."""
        import torch

        def embed(images: Sequence[Image]) -> Tensor:
            pixels = torch.stack([self.preprocess(image.convert("RGB")) for image in images])
            with torch.inference_mode(), half_on_gpu(self.device):
                return unit(self.network.encode_image(pixels.to(self.device)))

        return in_batches(embed, images)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit features, a float tensor of shape (texts, features) on the CPU; every text is read once."""
        import torch

        if new := [text for text in dict.fromkeys(texts) if text not in self.texts]:
            with torch.inference_mode(), half_on_gpu(self.device):
                features = unit(self.network.encode_text(self.tokenizer(new).to(self.device)))
            self.texts.update(zip(new, features, strict=True))
        return torch.stack([self.texts[text] for text in texts])


@dataclass(frozen=True)
class Clip:
    """Scores of one open_clip model, all cosines in [-1, 1].

    `clip_image`: mean over the reference pictures (CLIP-I). `clip_text`: with the picture's prompt, written
    without the placeholder, "a photo of dog in the snow" (CLIP-T). `clip_text_no_class`: without the class
    word as well, "a photo of in the snow": what the picture owes to the context alone. `clip_diversity`: 1 minus
    the mean cosine with the other pictures of this prompt (other seeds), None where there are none.
    """

    open_clip: OpenClip
    concept: Concept
    columns: ClassVar = {
        "clip_image": "float64",
        "clip_text": "float64",
        "clip_text_no_class": "float64",
        "clip_diversity": "float64",
    }

    @property
    def model(self) -> str:
        return self.open_clip.model

    @cached_property
    def references(self) -> Tensor:
        return self.open_clip.embed_images(self.concept.images)

    def __call__(self, images: Sequence[Image], templates: Sequence[str]) -> dict[str, list]:
        features = self.open_clip.embed_images(images)
        prompts = [template.format(self.concept.class_name) for template in templates]
        contexts = [" ".join(template.replace("{}", " ").split()) for template in templates]
        return {
            "clip_image": mean_cosine(features, self.references),
            "clip_text": (features * self.open_clip.embed_texts(prompts)).sum(dim=1).tolist(),
            "clip_text_no_class": (features * self.open_clip.embed_texts(contexts)).sum(dim=1).tolist(),
            "clip_diversity": _diversity(features, templates),
        }


def _diversity(features: Tensor, templates: Sequence[str]) -> list[float | None]:
    """1 minus the mean cosine of every row of `features` with the other rows of its template."""
    values: list[float | None] = [None] * len(templates)
    for template in dict.fromkeys(templates):
        rows = [index for index, name in enumerate(templates) if name == template]
        if len(rows) > 1:
            own = features[rows]
            others = (own @ own.T).fill_diagonal_(0).sum(dim=1) / (len(rows) - 1)
            for index, cosine in zip(rows, others.tolist(), strict=True):
                values[index] = 1 - cosine
    return values


def load_clip(model: str, device: str, concept: Concept) -> Clip:
    """Scores against `concept`; for `model` and errors see `open_clip_model`."""
    return Clip(open_clip_model(model, device), concept)


@lru_cache(maxsize=2)
def open_clip_model(model: str = MICRO, device: str = "cpu") -> OpenClip:
    """Load `local-dir:FOLDER` (in open_clip's form) or `ARCHITECTURE/TAG` (downloaded once by open_clip).

    UserError when the folder lacks a file, the tag is unknown, or its weights can't be reached or are not
    safetensors.
    """
    if model.startswith(LOCAL):
        return _from_folder(Path(model.removeprefix(LOCAL)), device)
    return _from_tag(model, device)


def _from_folder(folder: Path, device: str) -> OpenClip:
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
    return OpenClip(folder.name, network.eval(), preprocess, tokenizer, device)


def _from_tag(model: str, device: str) -> OpenClip:
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
    return OpenClip(model, network.eval(), preprocess, open_clip.get_tokenizer(architecture), device)
