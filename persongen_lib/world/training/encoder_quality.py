"""How well an encoder of ELITE keeps individuals: identity of base samples of concepts that no training has seen."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from persongen_lib.adapters.files import SPEC, WEIGHTS
from persongen_lib.backbones.latent import LatentDiffusion
from persongen_lib.core.files import write_json
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.data.concepts import Concept, list_concepts, load_concept
from persongen_lib.encoders.adapter import adapter_of
from persongen_lib.encoders.elite import EliteEncoder, load_encoder
from persongen_lib.world.language.captions import CONTEXT_PHRASES, PLACEHOLDERS, parse
from persongen_lib.world.models.oracle import Oracle

CONCEPTS = 12
CONTEXTS = ("snow", "beach", "jungle", "street")
STEPS, GUIDANCE, LOCAL_SCALE = 25, 3.5, 0.8


def encoder_quality(folder: Path, backbone: LatentDiffusion, oracle: Oracle, count: int = CONCEPTS) -> dict:
    """Means over concepts of what base sampling of their adapters shows.

    Args:
        folder: The folder of the encoder.
        backbone: The model that it was trained for.
        oracle: Reads class, context and individual.
        count: The number of concepts, evenly spaced among the shipped ones.

    Returns:
        `identity` (mean cosine of samples and references), `superclass` (the same of samples of the class word),
        `references` (of different references), `share` (the mean over concepts of identity by references), the shares
        of samples whose `class` and `context` are right, `superclass_context`, `seconds` per adapter, and `concepts`.
    """
    names = list_concepts()[:: max(1, len(list_concepts()) // count)][:count]
    encoder = load_encoder(folder)
    rows = [_concept_quality(load_concept(name), encoder, backbone, oracle) for name in names]
    means = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    return means | {"concepts": len(rows), "num_steps": STEPS, "guidance_scale": GUIDANCE}


def _concept_quality(
    concept: Concept, encoder: EliteEncoder, backbone: LatentDiffusion, oracle: Oracle
) -> dict[str, float]:
    from persongen_lib.sampling.engine.sampler import sample
    from persongen_lib.sampling.engine.strategy import make_strategy

    began, token = time.monotonic(), PLACEHOLDERS[0]
    masks = [mask for mask in concept.masks if mask is not None]
    tensors = adapter_of(encoder, backbone, token, concept.images, masks, LOCAL_SCALE)
    seconds = time.monotonic() - began
    spec = FineTuneSpec(
        backbone.name, "elite", concept.name, concept.class_name, token, concept.digest, 1, in_place=True
    )
    with tempfile.TemporaryDirectory() as place:
        save_file(tensors, Path(place) / WEIGHTS)
        write_json(Path(place) / SPEC, spec.to_dict())
        backbone.load_adapter(place)
    templates = [f"a photo of a {{}} {CONTEXT_PHRASES[name]}" for name in CONTEXTS]
    images = {
        name: sample(
            backbone,
            make_strategy(name, guidance_scale=GUIDANCE),
            templates,
            token,
            concept.class_name,
            STEPS,
            [0, 1],
        ).images
        for name in ("base", "superclass")
    }
    backbone.unload_adapter()
    seen = {name: oracle(pictures) for name, pictures in images.items()}
    references = oracle.identity(concept.images)
    own = references @ references.T
    different = own[~torch.eye(len(own), dtype=torch.bool)].mean().item()
    wanted = [parse(template).context for template in templates for _ in range(2)]
    identity = {name: (one.identity @ references.T).mean().item() for name, one in seen.items()}
    return {
        "identity": identity["base"],
        "superclass": identity["superclass"],
        "references": different,
        "share": identity["base"] / different,
        "class": _right(seen["base"].words["class"], [concept.class_name] * len(wanted)),
        "context": _right(seen["base"].words["context"], wanted),
        "superclass_context": _right(seen["superclass"].words["context"], wanted),
        "seconds": seconds,
    }


def _right(seen: list[str], wanted: list) -> float:
    return sum(one == other for one, other in zip(seen, wanted, strict=True)) / len(wanted)
