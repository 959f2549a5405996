"""The whole model in float32, for `DiffusionPipeline.from_pretrained` and `load_backbone`."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from persongen_lib.backbones.loading import load_backbone
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic
from persongen_lib.core.quoting import literal
from persongen_lib.export.format import FORMATS, ModelFormat
from persongen_lib.export.tuned import TunedWeights, load_pipeline


@FORMATS.register("pipeline", order=50)
class Pipeline(ModelFormat):
    """A model folder of diffusers, without a safety checker."""

    def loading(self, tuned):
        prompt = literal(tuned.prompt(tuned.spec.token))
        return "`model_index.json`, the whole model", f"{load_pipeline('FOLDER')}\npipe({prompt})"

    def write(self, tuned: TunedWeights, output: Path, device: str, beside: Mapping[str, bytes]) -> None:
        if output.exists() and any(output.iterdir()):
            raise UserError(f"the folder {output} is not empty: give another one for the whole model")
        backbone = load_backbone(tuned.spec.backbone, device=device, dtype="fp32", **tuned.spec.loading)
        backbone.load_adapter(tuned.folder)
        partial = output.with_name(f".{output.name}.{uuid.uuid4().hex}")
        try:
            backbone._pipeline.save_pretrained(partial, safe_serialization=True)
            for name, content in beside.items():
                write_atomic(partial / name, content)
            if output.exists():
                output.rmdir()
            partial.rename(output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
