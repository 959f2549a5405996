"""The model card of a fine-tuning: a README.md in Hugging Face's form."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import yaml

from persongen_lib.core.quoting import code_span, fenced, literal, markdown
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.data.concepts import Concept
from persongen_lib.export.format import every_format
from persongen_lib.export.license import full_name, license_fields, license_of
from persongen_lib.export.tuned import BASE, Tuned

OWN_LOADER = """from persongen_lib import load_backbone, make_strategy, sample
backbone = load_backbone({backbone}{options})
backbone.load_adapter("FOLDER")
sample(backbone, make_strategy("base"), "a photo of {{}}", {token}, {class_name}, seeds=[0]).images[0]"""

TEXT = """---
{front}---

# {concept} ({class_name}), learned by {method}

In a prompt, **{words}** is one particular {class_name}: {base} was fine-tuned on pictures of it. An
example: "{prompt}".

| | |
|---|---|
{facts}

## Loading

`FOLDER` is the folder of this card{where}. The fine-tuning itself (`adapter.safetensors`), in this library:

{own_loader}

`persongen export` converts it to the formats below; fine-tuning already writes the small ones. To load each:

{loaders}

## Limits

- It was made from {pictures} of one concept and knows it as they show it: other sides, poses and lights are guesses
  of the base model, whose errors and biases it has too.
- The longer the training, the more it repeats its pictures and the less it follows the rest of the prompt.
- Before you publish this model, check that you may use the images and that anyone shown agreed; this tool cannot
  know. The base model's license holds for what is made from it.
"""


def model_card(
    spec: FineTuneSpec,
    formats: Collection[str] = ("pipeline",),
    concept: Concept | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """README.md of a fine-tuning: what it is, from what and how it was made, how it is loaded, its limits.

    Args:
        spec: The fine-tuning.
        formats: The names of the export formats that it has.
        concept: Its concept, for the number of pictures.
        provenance: Of the run's provenance.json: with what it was made.
    """
    tuned = Tuned(spec)
    place, base, license = tuned.place, tuned.base, license_of(tuned.place)
    prompt = tuned.prompt(spec.token)
    pictures = "a few pictures" if concept is None else f"{len(concept.images)} pictures"
    front = {
        "base_model": base,
        "library_name": "diffusers",
        **license_fields(license),
        "pipeline_tag": "text-to-image",
        "instance_prompt": prompt,
        "tags": ["text-to-image", "diffusers", "personalization", spec.method],
    }
    facts = {
        "concept": f"{spec.concept}, {spec.class_name}; {pictures}, digest {spec.concept_digest}",
        "base model": f"{base}, weights {spec.weights or 'unknown'}",
        "license of the base model": full_name(license),
        "method": f"{spec.method}, {spec.num_steps} steps, seed {spec.seed}",
        "parameters": ", ".join(f"{name} {value}" for name, value in spec.parameters.items()) or "none",
        **({"made with": _made_with(provenance)} if provenance else {}),
    }
    options = "".join(
        f", {name}={literal(value) if isinstance(value, str) else value!r}"
        for name, value in spec.loading.items()
    )
    own_loader = OWN_LOADER.format(
        options=options,
        backbone=literal(spec.backbone if place.repo or place.family else BASE),
        token=literal(spec.token),
        class_name=literal(spec.class_name),
    )
    return TEXT.format(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        concept=markdown(spec.concept),
        class_name=markdown(spec.class_name),
        method=markdown(spec.method),
        words=markdown(tuned.concept_words),
        base=markdown(base),
        prompt=markdown(prompt),
        own_loader=fenced(own_loader, "python"),
        where="" if place.repo else f", `{BASE}` that of the base model",
        pictures=pictures,
        facts="\n".join(f"| {name} | {markdown(value)} |" for name, value in facts.items()),
        loaders=_loaders(tuned, formats),
    )


def _loaders(tuned: Tuned, formats: Collection[str]) -> str:
    loading = [format.loading(tuned) for format in every_format() if format.name in formats]
    blocks = [f"{what}:\n\n{fenced(lines, 'python')}" for what, lines in loading]
    return "\n\n".join([*blocks, *_caveats(tuned.spec, formats)])


def _caveats(spec: FineTuneSpec, formats: Collection[str]) -> list[str]:
    caveats = []
    if "peft" in formats and spec.parameters.get("token_learning_rate"):
        rest = "`learned_embeds.safetensors` as well" if "textual_inversion" in formats else "the whole model"
        caveats.append(
            f"The embedding of {code_span(spec.token)} was trained too and is in no LoRA file: it takes {rest}."
        )
    elif "textual_inversion" in formats and spec.method != "textual_inversion":
        caveats.append(
            "`learned_embeds.safetensors` holds the embedding alone: the rest of what was trained is not in it."
        )
    return caveats


def _made_with(provenance: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in provenance.get("packages", {}).items())
    places = {"on": "device", "in": "dtype"}
    where = " ".join(f"{word} {provenance[key]}" for word, key in places.items() if key in provenance)
    return f"{packages} {where}".strip()
