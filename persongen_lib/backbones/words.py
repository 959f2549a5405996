"""The words of prompts: how a pipeline's tokenizers read them, and where they stand."""

from __future__ import annotations

import copy
import re
import reprlib
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from persongen_lib.adapters import overlay
from persongen_lib.adapters.embeddings import LearnedWord
from persongen_lib.backbones.backbone import MARKS, Backbone, Conditioning
from persongen_lib.core.checks import check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

SMALL_VOCABULARY = 2000
"""Pieces; a smaller vocabulary is that of a language of few words, whose model was trained on whole ones only."""
_WORDS = re.compile(r"\w+|[^\w\s]+")


class TokenizedWords(Backbone):
    """A backbone whose pipeline, in diffusers' form, has a tokenizer for each text encoder.

    Attributes:
        tokenizers: the name of the tokenizer of each text encoder.
        spelling: the text encoders (T5) that spell rare words in pieces, which may still serve as a placeholder.
    """

    tokenizers: Mapping[str, str] = {"text_encoder": "tokenizer"}
    spelling: ClassVar[tuple[str, ...]] = ()
    _pipeline: Any

    def __init__(self) -> None:
        super().__init__()
        self._tokenizers: dict[str, Any] = {}
        self._placeholders: set[int] = set()
        self._checked: set[tuple] = set()

    def token_rows(self, token: str) -> dict[str, list[int]]:
        return {
            f"{module}.{_table(self.modules[module])}": self._rows(module, token)
            for module in self.tokenizers
        }

    def check_token(self, token: str) -> None:
        """UserError for a placeholder that is no rare word to this model; of `spelling` encoders a warning."""
        for module in self.tokenizers:
            try:
                self._rows(module, token)
            except UserError as error:
                if module not in self.spelling:
                    raise
                warnings.warn(f"{error}; the pieces stand for it together", stacklevel=2)

    def _rows(self, module: str, token: str) -> list[int]:
        """The rows of a placeholder's words in the table of one text encoder."""
        name, found = self.tokenizers[module], list[int]()
        tokenizer = getattr(self._pipeline, name)
        for word in token.split():
            ids, pieces = self._ids(word, name), self._spelled_out(word, name).split()
            if len(ids) != len(pieces) or {tokenizer.eos_token_id, tokenizer.unk_token_id} & set(ids):
                example = "" if word == "sks" else ", as 'sks'"
                raise UserError(
                    f"{word!r} is not one word of {self.name}'s vocabulary: take one that is{example}"
                )
            found += ids
        if len(set(found)) < len(found):
            raise UserError(f"the token {token!r} repeats a word: take different ones")
        return found

    @property
    def sequences(self) -> tuple[tuple[tuple[str, ...], int], ...]:
        """The text sequences of the conditioning: the names of the tokenizers that share one, and its length."""
        return ((tuple(self.tokenizers.values()), self.max_length),)

    @property
    def text_lengths(self) -> tuple[int, ...]:
        return tuple(length for _, length in self.sequences)

    def spans(self, before: str, words: str, after: str = "") -> tuple[tuple[int, int], ...]:
        found, begin = [], 0
        for tokenizers, length in self.sequences:
            start, stop = self._span(tokenizers, length, before, words, after)
            found.append((begin + start, begin + stop))
            begin += length
        return tuple(found)

    def _span(
        self, tokenizers: Sequence[str], length: int, before: str, words: str, after: str
    ) -> tuple[int, int]:
        first = len(getattr(self._pipeline, tokenizers[0])("").input_ids) - 1
        room = length - 1 - first
        spans = {self._pieces(name, before, words, after) for name in tokenizers}
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

    def _learn(self, words: Sequence[LearnedWord]) -> dict[str, Tensor]:
        rows: dict[str, Tensor] = {}
        for module, name in self.tokenizers.items() if words else ():
            self._tokenizers[name] = tokenizer = getattr(self._pipeline, name)
            tokenizer = copy.deepcopy(tokenizer)
            setattr(self._pipeline, name, tokenizer)
            table = f"{module}.{_table(self.modules[module])}"
            for word in words:
                numbers = _added(tokenizer, word)
                rows |= {f"{table}[{row}]": v for row, v in zip(numbers, word.vectors[module], strict=True)}
            own = overlay.known_parameter(self.modules, table)
            more = own.float().mean(0, keepdim=True).to(own.dtype).expand(len(tokenizer) - len(own), -1)
            if len(more):
                self._tables |= overlay.install(self.modules, {table: torch.cat([own, more])})
        return rows

    def unload_adapter(self) -> None:
        """The model as it was loaded, bit for bit, and its vocabulary."""
        super().unload_adapter()
        for name, tokenizer in self._tokenizers.items():
            setattr(self._pipeline, name, tokenizer)
        self._tokenizers = {}

    def _marked(self, prompts: Sequence[str], conditioning: Conditioning) -> Conditioning:
        """The same, with what share each position has in the placeholder of an adapter that attends to it."""
        if not self._placeholders:
            return conditioning
        (tokenizer, *_), length = self.sequences[0]
        first = len(getattr(self._pipeline, tokenizer)("").input_ids) - 1
        marks = torch.zeros(len(prompts), length)
        for row, prompt in zip(marks, prompts, strict=True):
            numbers = self._ids(prompt, tokenizer)[: length - 1 - first]
            at = [first + k for k, number in enumerate(numbers) if number in self._placeholders]
            row[at] = 1 / max(len(at), 1)
        return Conditioning({**conditioning.tensors, MARKS: marks})

    @property
    def max_length(self) -> int:
        """Length of the conditioning sequence, start and end tokens included."""
        return self._pipeline.tokenizer.model_max_length

    def _ids(self, text: str, tokenizer: str = "tokenizer") -> list[int]:
        spelled = self._spelled_out(text.strip(), tokenizer)
        return getattr(self._pipeline, tokenizer)(spelled, add_special_tokens=False, verbose=False).input_ids

    def _spelled_out(self, text: str, tokenizer: str) -> str:
        """The text with a learned word of several vectors as the several words that the pipeline reads it as."""
        convert = getattr(self._pipeline, "maybe_convert_prompt", None)
        return convert(text, getattr(self._pipeline, tokenizer)) if convert else text

    def _warn_of_words(self, prompts: Sequence[str]) -> None:
        """Warn once of each word that the model does not know, and of each prompt that it does not read to its end."""
        words = tuple(
            frozenset(getattr(self._pipeline, name).get_added_vocab()) for name in self.tokenizers.values()
        )
        unchecked = [prompt for prompt in dict.fromkeys(prompts) if (prompt, words) not in self._checked]
        self._warn_of_unknown_words(unchecked)
        for names, length in self.sequences:
            for prompt in unchecked:
                self._warn_of_words_left_out(prompt, names[0], length)
        self._checked.update((prompt, words) for prompt in unchecked)

    def _warn_of_words_left_out(self, prompt: str, tokenizer: str, length: int) -> None:
        room = length - len(getattr(self._pipeline, tokenizer)("").input_ids)
        if len(self._ids(prompt, tokenizer)) <= room:
            return
        ends = [found.end() for found in _WORDS.finditer(prompt)]
        last = next((end for end in ends if len(self._ids(prompt[:end], tokenizer)) > room), len(prompt))
        words = _WORDS.findall(prompt[:last])
        self.warn_once(
            f"a text encoder of {self.name} reads only {room} pieces of words: of {reprlib.repr(prompt)}, "
            f"it leaves out all from word {len(words)}, {words[-1]!r}, on"
        )

    def _warn_of_unknown_words(self, prompts: Sequence[str]) -> None:
        for name in self.tokenizers.values():
            for prompt in prompts:
                for word in self._unknown_words(prompt, name):
                    self.warn_once(f"{self.name} does not know the word {word!r}: use another one")

    def _unknown_words(self, prompt: str, name: str) -> list[str]:
        tokenizer = getattr(self._pipeline, name)
        small = len(tokenizer) < SMALL_VOCABULARY
        unread = tokenizer.unk_token_id in self._ids(prompt, name)
        if not small and not unread:
            return []
        text = prompt
        for added in tokenizer.get_added_vocab():
            text = text.replace(added, " ")
        words = list(dict.fromkeys(_WORDS.findall(text)))
        pieces = {word: self._ids(word, name) for word in words}
        unknown = [
            word
            for word in words
            if tokenizer.unk_token_id in pieces[word]
            or (small and len(pieces[word]) > 1 and word[0].isalnum())
        ]
        return unknown or [prompt] * unread


def check_clip_skip(clip_skip: Any, layers: int) -> int:
    """The number itself, when a model's CLIP text encoders have `layers` that can be left out."""
    return check_steps(clip_skip, layers, what="clip_skip of this model")


def _added(tokenizer: Any, word: LearnedWord) -> list[int]:
    """The numbers of a learned word's pieces, which the tokenizer gets to know."""
    known = tokenizer.get_vocab()
    for piece in word.pieces:
        if piece in known or f"{piece}</w>" in known:
            raise UserError(
                f"{piece!r} is a word of the model already: give the embeddings another one, as in FILE:<sks>"
            )
        tokenizer.add_tokens(piece)
    return tokenizer.convert_tokens_to_ids(list(word.pieces))


def _table(text_encoder: torch.nn.Module) -> str:
    """The embedding table's name; of names for one table (T5's) the last, where the encoder looks words up."""
    table = text_encoder.get_input_embeddings().weight
    parameters = text_encoder.named_parameters(remove_duplicate=False)
    return [name for name, parameter in parameters if parameter is table][-1]
