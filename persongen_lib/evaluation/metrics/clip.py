"""Image and text similarity in the space of a contrastive picture-and-text model (CLIP, Radford et al. 2021).

The model is named in the column `clip_model`: similarities of two models can not be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.evaluation.features import half_on_gpu, in_batches, mean_cosine, unit
from persongen_lib.evaluation.metric import COSINE, METRICS, Batch, Column, Metric
from persongen_lib.evaluation.sources import LOCAL

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

MICRO = f"{LOCAL}{DATA / 'models' / 'micro-clip'}"
"""The micro-world's own CLIP, trained apart from the text encoder of the generator."""
FULL_SIZE = "ViT-B-32/openai"
"""The model of the DreamBooth paper's and the study's CLIP scores."""


@dataclass(frozen=True)
class OpenClip:
    """Features of an open_clip model; make it with `open_clip_model`.

    Args:
        network: the model, on `device`.
        preprocess: turns an RGB image into the network's input.
        tokenizer: turns texts into the network's tokens.
        device: where the network computes.
        texts: the features of texts read so far, by text.
    """

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
        """Unit features, a float tensor of shape (texts, features) on the CPU.

        Every text is encoded once, and alone: in a batch, its rounding would depend on what was asked before.
        """
        import torch

        for text in dict.fromkeys(texts):
            if text not in self.texts:
                with torch.inference_mode(), half_on_gpu(self.device):
                    features = unit(self.network.encode_text(self.tokenizer([text]).to(self.device)))
                self.texts[text] = features[0]
        return torch.stack([self.texts[text] for text in texts])


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
    return OpenClip(network.eval(), preprocess, tokenizer, device)


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
    return OpenClip(network.eval(), preprocess, open_clip.get_tokenizer(architecture), device)


@METRICS.register("clip", order=10)
class Clip(Metric):
    """Scores of one open_clip model, all cosines in [-1, 1].

    `clip_image`: mean over the reference images (CLIP-I). `clip_text`: with the image's prompt, written
    without the placeholder, "a photo of dog in the snow" (CLIP-T). `clip_text_no_class`: without the class
    word as well, "a photo of in the snow": what the image owes to the context alone. `clip_diversity`: 1 minus
    the mean cosine with the other images of this prompt (other seeds), None where there are none.
    """

    columns = (
        Column(
            name="clip_image", title="image similarity (CLIP)", range=COSINE, higher_is_better=True,
            needs="references", shown=60, better="clip_image_subject",
        ),
        Column(
            name="clip_text", title="text similarity (CLIP)", range=COSINE, higher_is_better=True,
            needs="prompt", shown=80,
        ),
        Column(
            name="clip_text_no_class", title="text similarity without the class word (CLIP)", range=COSINE,
            higher_is_better=True, needs="prompt",
        ),
        Column(
            name="clip_diversity", title="diversity over seeds (CLIP)", range=(0.0, 2.0), higher_is_better=True,
            needs="images",
        ),
        Column(
            name="clip_image_subject", title="image similarity of the subject (CLIP)", range=COSINE,
            higher_is_better=True, needs="references", shown=70, part="subject", of="clip_image",
        ),
        Column(
            name="clip_text_background", title="text similarity of the background (CLIP)", range=COSINE,
            higher_is_better=True, needs="prompt", part="background", of="clip_text_no_class",
        ),
    )  # fmt: skip
    model_help = "local-dir:FOLDER or ARCHITECTURE/TAG of open_clip"
    load_network = staticmethod(open_clip_model)

    @classmethod
    def source(cls, model: str | None, micro: bool) -> str:
        return model or (MICRO if micro else FULL_SIZE)

    @cached_property
    def references(self) -> Tensor:
        return self.network.embed_images(self.concept.images)

    def __call__(self, batch: Batch) -> dict[str, list]:
        features = self.network.embed_images(batch.images)
        prompts = [template.replace("{}", self.concept.class_name) for template in batch.templates]
        contexts = [" ".join(template.replace("{}", " ").split()) for template in batch.templates]
        return {
            "clip_image": mean_cosine(features, self.references),
            "clip_text": (features * self.network.embed_texts(prompts)).sum(dim=1).tolist(),
            "clip_text_no_class": (features * self.network.embed_texts(contexts)).sum(dim=1).tolist(),
            "clip_diversity": _diversity(features, batch.templates),
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
