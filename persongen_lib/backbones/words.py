"""The words of prompts: how a pipeline's tokenizers read them, and where they stand."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch

_WORDS = re.compile(r"\w+|[^\w\s]+")


class TokenizedWords(Backbone):
    """A backbone whose pipeline, in diffusers' form, has a tokenizer for each text encoder.

    Attributes:
        tokenizers: the name of the tokenizer of each text encoder.
    """

    tokenizers: ClassVar[Mapping[str, str]] = {"text_encoder": "tokenizer"}
    _pipeline: Any

    def __init__(self) -> None:
        super().__init__()
        self._unknown: set[str] = set()

    def token_rows(self, token: str) -> dict[str, list[int]]:
        rows = {}
        for module, name in self.tokenizers.items():
            tokenizer = getattr(self._pipeline, name)
            rows[f"{module}.{_table(self.modules[module])}"] = found = []
            for word in token.split():
                ids, pieces = self._ids(word, name), self._spelled_out(word, name).split()
                if len(ids) != len(pieces) or {tokenizer.eos_token_id, tokenizer.unk_token_id} & set(ids):
                    raise UserError(
                        f"{word!r} is not one word of {self.name}'s vocabulary: take one that is, as 'sks'"
                    )
                found += ids
            if len(set(found)) < len(found):
                raise UserError(f"the token {token!r} repeats a word: take different ones")
        return rows

    def span(self, before: str, words: str, after: str = "") -> tuple[int, int]:
        first = len(self._pipeline.tokenizer("").input_ids) - 1
        room = self.max_length - 1 - first
        spans = {self._pieces(name, before, words, after) for name in self.tokenizers.values()}
        start, stop = spans.pop()
        if spans:
            raise UserError(
                f"the tokenizers of {self.name} take {words!r} apart differently: take other words"
            )
        if stop > room:
            raise UserError(
                f"{words!r} lies too far back in the prompt: {self.name} reads {room} pieces of words"
            )
        return first + start, first + stop

    def _pieces(self, tokenizer: str, before: str, words: str, after: str) -> tuple[int, int]:
        """Which pieces of a prompt are those of `words`."""
        head, own, whole = (self._ids(text, tokenizer) for text in (before, words, before + words + after))
        start, stop = len(head), len(head) + len(own)
        if whole[:stop] != head + own:
            raise UserError(
                f"{words!r} is read as other words in the prompt {before + words + after!r}: put a space between "
                "{} and what stands beside it in the template"
            )
        return start, stop

    @property
    def max_length(self) -> int:
        """Length of the conditioning sequence, start and end tokens included."""
        return self._pipeline.tokenizer.model_max_length

    def _ids(self, text: str, tokenizer: str = "tokenizer") -> list[int]:
        spelled = self._spelled_out(text.strip(), tokenizer)
        return getattr(self._pipeline, tokenizer)(spelled, add_special_tokens=False).input_ids

    def _spelled_out(self, text: str, tokenizer: str) -> str:
        """The text with a learned word of several vectors as the several words that the pipeline reads it as."""
        convert = getattr(self._pipeline, "maybe_convert_prompt", None)
        return convert(text, getattr(self._pipeline, tokenizer)) if convert else text

    def _warn_of_unknown_words(self, prompts: Sequence[str]) -> None:
        for name in self.tokenizers.values():
            unknown = getattr(self._pipeline, name).unk_token_id
            for prompt in prompts:
                if unknown not in self._ids(prompt, name):
                    continue
                words = [word for word in _WORDS.findall(prompt) if unknown in self._ids(word, name)] or [
                    prompt
                ]
                for word in dict.fromkeys(words):
                    if word not in self._unknown:
                        self._unknown.add(word)
                        warnings.warn(
                            f"{self.name} does not know the word {word!r}: use another one", stacklevel=4
                        )


def _table(text_encoder: torch.nn.Module) -> str:
    """The embedding table's name; of names for one table (T5's) the last, where the encoder looks words up."""
    table = text_encoder.get_input_embeddings().weight
    parameters = text_encoder.named_parameters(remove_duplicate=False)
    return [name for name, parameter in parameters if parameter is table][-1]
