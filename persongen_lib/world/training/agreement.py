"""How far the oracle and the judge, two readers of the same pictures, agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from persongen_lib.world.models.networks import HEADS
from persongen_lib.world.models.oracle import Seen


def agreement(first: Seen, second: Seen, groups: Sequence[str]) -> dict[str, dict[str, float]]:
    """Agreement of two readings of the same images.

    Args:
        first: What one reader sees.
        second: What the other one sees.
        groups: One per image, such as its class; identities are compared within each.

    Returns:
        `equal`, the share of images with the same word, and Cohen's `kappa`, for each head; for `identity` the
        `rank_correlation` of the readers' similarities over all pairs of a group (`rank_correlation`).
    """
    heads = {name: (first.words[name], second.words[name]) for name in HEADS}
    return {
        name: {"equal": float(np.mean([a == b for a, b in zip(*pair, strict=True)])), "kappa": kappa(*pair)}
        for name, pair in heads.items()
    } | {"identity": {"rank_correlation": rank_correlation(first, second, groups)}}


def kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Cohen's kappa (1960): the agreement beyond chance, at most 1; 1 also if both know one word only, the same."""
    equal = float(np.mean([a == b for a, b in zip(first, second, strict=True)]))
    counts, others = Counter(first), Counter(second)
    chance = sum(counts[word] * others[word] for word in counts) / len(first) ** 2
    return 1.0 if chance == 1 else (equal - chance) / (1 - chance)


def rank_correlation(first: Seen, second: Seen, groups: Sequence[str]) -> float:
    """Spearman's correlation of two readers' identity similarities, over the pairs of different images of a group."""
    from scipy.stats import spearmanr

    names = np.asarray(groups)
    pairs = np.triu(names[:, None] == names[None], 1)
    similarities = ((seen.identity @ seen.identity.T).numpy()[pairs] for seen in (first, second))
    return float(spearmanr(*similarities).statistic)
