"""Learned embeddings, for `pipe.load_textual_inversion`."""

from __future__ import annotations

from persongen_lib.backbones.sources import unloadable
from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch
from persongen_lib.core.quoting import code_span, literal
from persongen_lib.export.format import FORMATS, Format, serialized
from persongen_lib.export.tuned import Tuned, TunedWeights

FILE = "learned_embeds.safetensors"


@FORMATS.register("textual_inversion", order=40)
class Embeddings(Format):
    """learned_embeds.safetensors: (words, D) under the placeholder, or under a key per text encoder."""

    holds = "embeddings"

    def fits(self, tuned):
        import diffusers

        pipeline = getattr(diffusers, tuned.family.pipeline_class)
        return bool(tuned.rows) and hasattr(pipeline, "load_textual_inversion")

    def files(self, tuned):
        keys = tuned.family.embedding_keys
        tensors = {
            keys.get(module, tuned.placeholder): torch.stack(
                [tuned.rows[module][row] for row in _row_numbers(tuned, module)]
            )
            for module in sorted(tuned.rows)
        }
        return {FILE: serialized(tensors)}

    def loading(self, tuned):
        return (
            f"`{FILE}`; prompts then say {code_span(tuned.placeholder)} for {code_span(tuned.spec.token)}",
            f"{tuned.load_base()}\n{_load(tuned)}\npipe({literal(tuned.prompt(tuned.placeholder))})",
        )


def _load(tuned: Tuned) -> str:
    family, token = tuned.family, literal(tuned.placeholder)
    if not family.embedding_keys:
        return f'pipe.load_textual_inversion("FOLDER", token={token})'
    lines = ["from safetensors.torch import load_file", f'state = load_file("FOLDER/{FILE}")']
    for module, key in family.embedding_keys.items():
        encoder, tokenizer = family.original_parts[module], family.tokenizers[module]
        lines += [
            f'pipe.load_textual_inversion(state["{key}"], token={token},',
            f"    text_encoder=pipe.{encoder}, tokenizer=pipe.{tokenizer})",
        ]
    return "\n".join(lines)


def _row_numbers(tuned: TunedWeights, module: str) -> list[int]:
    """A text encoder's rows in the order of the token's words: of several the tokenizer knows it."""
    if len(tuned.rows[module]) == 1:
        return list(tuned.rows[module])
    from transformers import AutoTokenizer

    place = tuned.place
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            place.folder or place.repo,
            subfolder=tuned.family.tokenizers[module],
            **({} if place.folder else {"revision": place.revision}),
        )
    except Exception as error:
        raise unloadable(place, error) from None
    numbers = tokenizer(tuned.spec.token, add_special_tokens=False).input_ids
    if sorted(numbers) != sorted(tuned.rows[module]):
        raise UserError(
            f"the embeddings in {tuned.folder} are not those of {tuned.spec.token!r} in {place.name}: "
            "give the model that it was made with"
        )
    return numbers
