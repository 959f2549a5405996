"""What every method begins and ends with: the model without an adapter, and the files of a fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

from persongen_lib.adapters.files import SPEC, WEIGHTS, check_finite
from persongen_lib.backbones.backbone import Backbone
from persongen_lib.backbones.devices import DTYPES
from persongen_lib.backbones.loading import load_backbone
from persongen_lib.core.files import write_atomic, write_json
from persongen_lib.core.provenance import provenance
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.data.concepts import Concept
from persongen_lib.export.run import write_companions
from persongen_lib.finetune.engine.encoding import EncodingMethod
from persongen_lib.sampling.engine.models import check_weights

if TYPE_CHECKING:
    from torch import Tensor


def encode_concept(
    method: EncodingMethod, spec: FineTuneSpec, concept: Concept, runtime: Runtime, given: Backbone | None
) -> Path:
    """The adapter folder of a concept that is encoded, now if the store does not hold it intact.

    Args:
        method: The method of the spec.
        spec: The fine-tuning.
        concept: Its concept.
        runtime: Where runs are kept, and what computes them.
        given: A loaded model, used if it is in float32.
    """

    def work(folder: Path) -> dict[str, Any]:
        backbone: Any = ready_to_learn(spec, runtime, given, "fp32")
        facts = {"device": str(backbone.device), "dtype": DTYPES["fp32"]}
        write_learned(folder, spec, concept, method.encode(spec, backbone, concept), facts)
        return {**facts, "pictures": str(concept.folder.resolve())}

    return runtime.store.ensure("finetune", spec, work)


def ready_to_learn(spec: FineTuneSpec, runtime: Runtime, given: Backbone | None, dtype: str) -> Backbone:
    """The model of a fine-tuning, without an adapter.

    Args:
        spec: The fine-tuning.
        runtime: What computes.
        given: A loaded model, used if it has the dtype.
        dtype: Of the model's weights.

    Raises:
        UserError: The model is not that of the spec, or does not know the placeholder as a rare word.
    """
    backbone = given
    if backbone is None or backbone.dtype != DTYPES[dtype]:
        backbone = load_backbone(spec.backbone, device=runtime.device, dtype=dtype, **spec.loading)
    check_weights(backbone, spec)
    backbone.unload_adapter()
    backbone.check_token(spec.token)
    return backbone


def write_learned(
    folder: Path,
    spec: FineTuneSpec,
    concept: Concept,
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
) -> None:
    """Write an adapter, its spec, and what other programs load.

    Args:
        folder: The folder of the run.
        spec: The fine-tuning.
        concept: Its concept.
        tensors: The adapter.
        facts: What it was made with, for the model card.

    Raises:
        UserError: A value is not finite.
    """
    check_finite(tensors, f"the {spec.method} adapter of {spec.concept} after {spec.num_steps} steps")
    write_atomic(folder / WEIGHTS, lambda path: save_file(dict(tensors), path))
    write_json(folder / SPEC, spec.to_dict())
    write_companions(folder, spec, concept, {**provenance(), **facts})
