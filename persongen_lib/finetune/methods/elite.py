"""ELITE: Wei et al., arXiv 2302.13848."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from persongen_lib.backbones.sources import locate
from persongen_lib.core.errors import UserError
from persongen_lib.finetune.engine.encoding import EncodingMethod
from persongen_lib.finetune.engine.method import METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

    from persongen_lib.data.concepts import Concept
    from persongen_lib.encoders.elite import EliteEncoder


@METHODS.register("elite", order=60)
@dataclass(frozen=True, kw_only=True)
class Elite(EncodingMethod):
    """Turn the images into a word and into local words that are attended to beside the text, without training.

    The placeholder stands in the place of the class word: "a photo of sks in the snow". New key and value projections
    of cross-attention act on every prompt, the local words on prompts with the placeholder alone.

    Args:
        local_scale: How much the local words count, lambda in the paper: from 0 to 10.
        mappers: The folder of the encoder; "" takes the one beside the model's folder, named as it with "-elite".
        digest: Of the encoder; "" takes it from the files.

    Raises:
        UserError: The scale is out of its range.

    Wei et al., arXiv 2302.13848.
    """

    in_place: ClassVar[bool] = True

    local_scale: float = 0.8
    mappers: str = ""
    digest: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.local_scale <= 10:
            raise UserError(f"local_scale of elite must be from 0 to 10, not {self.local_scale:g}")

    @classmethod
    def suits(cls, backbone):
        return _beside(backbone) is not None

    def completed(self, backbone):
        from persongen_lib.encoders.folder import encoder_digest

        folder = self._folder(backbone)
        digest = encoder_digest(folder)
        if self.digest not in ("", digest):
            raise UserError(
                f"the encoder in {folder} is another one than that of the fine-tuning: make the spec anew"
            )
        return replace(self, digest=digest)

    def encode(self, spec, backbone, concept):
        from persongen_lib.encoders.adapter import adapter_of
        from persongen_lib.encoders.elite import load_encoder

        folder = self.completed(spec.backbone)._folder(spec.backbone)
        encoder = load_encoder(folder)
        masks = _masks(concept, encoder, folder)
        return adapter_of(encoder, backbone, spec.token, concept.images, masks, self.local_scale)

    def _folder(self, backbone: str | Path) -> Path:
        """The folder of the encoder; UserError if there is none for the model."""
        folder = Path(self.mappers) if self.mappers else _beside(backbone)
        if folder is None:
            raise UserError(
                f"no encoder of elite is known for {backbone}: give mappers, the folder that `persongen import-elite` "
                "or `persongen world train elite` wrote"
            )
        return folder


def _beside(backbone: str | Path) -> Path | None:
    """The folder of the encoder beside a model's folder; None if there is none."""
    model = locate(backbone).folder
    folder = model and model.resolve().with_name(f"{model.resolve().name}-elite")
    return folder if folder and folder.is_dir() else None


def _masks(concept: Concept, encoder: EliteEncoder, folder: Path) -> Sequence[Image]:
    """A mask of every image: the concept's own, or the segmenter's that goes with the encoder."""
    from persongen_lib.encoders.folder import segmenter_folder

    masks = list(concept.masks)
    missing = [number for number, mask in enumerate(masks) if mask is None]
    if not missing:
        return masks
    segmenter = segmenter_folder(folder, encoder.segmenter)
    if segmenter is None:
        raise UserError(
            f"elite needs a mask for every picture of {concept.name}: put them into {concept.folder}/masks under the "
            "names of the pictures, white where the concept is"
        )
    from PIL import Image

    from persongen_lib.world.models.segmenter import load_segmenter

    found, _ = load_segmenter(segmenter)([concept.images[number] for number in missing])
    for number, mask in zip(missing, found > 0.5, strict=True):
        if not mask.any():
            raise UserError(
                f"the segmenter of the encoder finds no subject in picture {number + 1} of {concept.name}: give a mask "
                f"for it in {concept.folder}/masks, white where the concept is, or leave the picture out"
            )
        image = Image.fromarray((255 * mask).byte().numpy())
        masks[number] = image.resize(concept.images[number].size, Image.Resampling.NEAREST)
    return masks
