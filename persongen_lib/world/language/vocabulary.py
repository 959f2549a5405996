"""Tokenizers over the micro-world's words: CLIP's byte-pair form for the generator, whole words for the evaluator."""

from __future__ import annotations

from collections import Counter
from functools import cache

from persongen_lib.world.language.captions import vocabulary

LENGTH = 16
"""Positions of both text encoders, the start and end tokens included."""


def byte_pairs(words: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a byte-pair encoding trained until every given word is one token (Sennrich et al.)."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    symbols = sorted(bytes_to_unicode().values())
    pieces = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges: list[tuple[str, str]] = []
    while any(len(parts) > 1 for parts in pieces.values()):
        pairs = Counter(pair for parts in pieces.values() for pair in zip(parts, parts[1:], strict=False))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, parts in pieces.items():
            pieces[word] = _merge(parts, best)
    tokens = [
        *symbols,
        *(f"{s}</w>" for s in symbols),
        *("".join(pair) for pair in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}, merges


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def clip_tokenizer():
    """A transformers CLIPTokenizer in which every word of the micro-world is one token."""
    from transformers import CLIPTokenizer

    vocab, merges = byte_pairs(vocabulary())
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH)


@cache
def word_tokenizer():
    """A `tokenizers` tokenizer of whole words with start and end tokens, the end token having the highest number."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocab = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[START]", *vocabulary(), "[END]"])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[START] $A [END]", special_tokens=[(name, vocab[name]) for name in ("[START]", "[END]")]
    )
    return tokenizer


def t5_tokenizer():
    """A transformers T5Tokenizer in which every word of the micro-world is one piece; others are spelled."""
    from transformers import T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -8.0)]
    pieces += [(f"\u2581{word}", -2.0) for word in vocabulary()]
    pieces += [(letter, -10.0) for letter in "abcdefghijklmnopqrstuvwxyz0123456789.,'-"]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=LENGTH)
