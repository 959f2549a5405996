"""Face identity: is it this very person?

`face_identity` is known only where a face was found, so its mean leaves pictures without a face out: always
read it beside the mean of `face_found`, the detection rate.

The packs that InsightFace offers are for non-commercial research only.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.core.errors import UserError
from persongen_lib.evaluation.metric import COSINE, METRICS, SHARE, Batch, Column, Metric
from persongen_lib.evaluation.sources import LOCAL

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

PACK = "buffalo_l"
LANDMARK_OUTPUTS = (9, 15)
"""How many outputs an SCRFD network has that also gives the five landmarks."""


@dataclass(frozen=True)
class FacePack:
    """A detection and a recognition network; make it with `face_pack`."""

    detector: Any
    recognizer: Any

    def embed_faces(self, image: Image) -> np.ndarray:
        """Unit features (faces, features) of the faces in a picture, the largest face first."""
        import numpy as np
        from insightface.utils.face_align import norm_crop

        pixels = np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
        boxes, landmarks = self.detector.detect(pixels)
        if not len(boxes):
            return np.empty((0, 0), np.float32)
        size = self.recognizer.input_size[0]
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            crops = [norm_crop(pixels, landmark=points, image_size=size) for points in landmarks]
        features = self.recognizer.get_feat(crops)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return (features / np.linalg.norm(features, axis=1, keepdims=True))[np.argsort(-areas)]


def face_folder(pack: str = PACK) -> Path:
    """The folder of a pack: itself, or that of its name below $INSIGHTFACE_HOME or ~/.insightface.

    Nothing is downloaded; UserError when it is not there or holds no network.
    """
    home = Path(os.environ.get("INSIGHTFACE_HOME", "~/.insightface")).expanduser()
    folder = Path(pack.removeprefix(LOCAL))
    if not folder.is_dir():
        folder = home / "models" / pack
    if not any(folder.glob("*.onnx")):
        raise UserError(
            f"there are no face networks (*.onnx) in {folder}: give a folder that has them or, if your use is "
            "the non-commercial research that InsightFace's license of its packs allows, get one with "
            f"`insightface-cli model.download {PACK} --root {home} --force`"
        )
    return folder


def face_pack(folder: str, device: str = "cpu") -> FacePack:
    """The networks of detection and recognition in a folder, known by the form of their outputs.

    UserError when insightface is not installed, one of the two is missing, or a file is broken.
    """
    try:
        import onnxruntime
        from insightface.model_zoo import get_model
    except ImportError as error:
        raise UserError(
            f"the metric face needs insightface and onnxruntime ({error}): "
            "install them with pip install insightface onnxruntime"
        ) from error
    import torch

    place = torch.device(device)
    providers: list[Any] = ["CPUExecutionProvider"]
    if place.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": place.index or 0}))
    networks = {}
    for path in sorted(Path(folder).glob("*.onnx")):
        try:
            if role := _role(path):
                networks[role] = get_model(str(path), providers=providers)
        except Exception as error:  # readers of broken files raise whatever they stumble over
            raise UserError(f"the face network {path} can't be loaded: get its pack anew") from error
    for role in ("detection", "recognition"):
        if role not in networks:
            raise UserError(
                f"the face pack {folder} has no {role} network: get the whole pack, such as {PACK}"
            )
    return FacePack(networks["detection"], networks["recognition"])


def _role(path: Path) -> str | None:
    """What a network does; None for the others of a pack (landmarks, age), which are not needed."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    if len(graph.output) in LANDMARK_OUTPUTS:
        return "detection"
    shape = [size.dim_value for size in graph.input[0].type.tensor_type.shape.dim]
    return "recognition" if shape[2:] == [112, 112] and len(graph.output) == 1 else None


@METRICS.register("face", order=30)
class Face(Metric):
    """Faces found, and how like the reference's they are.

    `face_found`: 1.0 or 0.0; `num_faces`: how many. `face_identity`: mean cosine, in [-1, 1], with the largest
    face of every reference that has one, of the face in the image for which it is highest; None where no
    face was found. UserError when no reference has a face.
    """

    columns = (
        Column(name="face_found", title="face found", range=SHARE, higher_is_better=True, shown=20),
        Column(
            name="face_identity", title="face similarity, where a face was found", range=COSINE,
            higher_is_better=True, needs="references", shown=30,
        ),
        Column(name="num_faces", title="number of faces", kind="int64"),
    )  # fmt: skip
    model_help = "a pack of InsightFace: a folder or a name"
    load_network = staticmethod(face_pack)

    @classmethod
    def source(cls, model: str | None, micro: bool) -> str:
        return str(face_folder(model or PACK))

    @classmethod
    def by_default(cls, model: str | None, micro: bool) -> bool:
        return False

    @cached_property
    def references(self) -> np.ndarray:
        import numpy as np

        faces = [found[0] for found in map(self.network.embed_faces, self.concept.images) if len(found)]
        if not faces:
            raise UserError(
                f"no face was found in the pictures of {self.concept.name}: leave the metric face out, or give "
                "references that show a face"
            )
        return np.stack(faces)

    def __call__(self, batch: Batch) -> dict[str, list]:
        references = self.references
        faces = [self.network.embed_faces(image) for image in batch.images]
        return {
            "face_found": [float(len(found) > 0) for found in faces],
            "face_identity": [
                float((found @ references.T).mean(axis=1).max()) if len(found) else None for found in faces
            ],
            "num_faces": [len(found) for found in faces],
        }
