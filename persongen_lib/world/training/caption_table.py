"""Captions as token numbers, written once and then drawn on the device."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from persongen_lib.world.draw.dataset import COLOR_NAMES
from persongen_lib.world.draw.scene import ACCESSORY_NAMES, CONTEXT_NAMES
from persongen_lib.world.language.captions import caption
from persongen_lib.world.language.vocabulary import LENGTH

WORDINGS = 12
"""Wordings of each scene that a table holds."""
SEED = 3


class CaptionTable:
    """Random wordings of every scene.

    Args:
        tokenizer: A tokenizer of transformers.
        subjects: The words that may name the subject.
        device: "cpu", "cuda" ...

    Attributes:
        empty: The token numbers of the empty caption, (length,).
    """

    def __init__(self, tokenizer: Any, subjects: Sequence[str], device: str):
        self.device = device
        self.sizes = len(subjects), len(CONTEXT_NAMES), 1 + len(ACCESSORY_NAMES), 1 + len(COLOR_NAMES)
        rng = np.random.default_rng(SEED)
        scenes = itertools.product(CONTEXT_NAMES, (None, *ACCESSORY_NAMES), (None, *COLOR_NAMES))
        templates = [caption("{}", *scene, rng) for scene in scenes for _ in range(WORDINGS)]
        captions = [template.format(subject) for subject in subjects for template in templates]
        different = dict.fromkeys(["", *captions])
        ids = tokenizer(
            list(different), padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
        ).input_ids
        numbers = {text: number for number, text in enumerate(different)}
        places = torch.tensor([numbers[text] for text in captions])
        self.ids, self.places = ids.to(device), places.view(*self.sizes, WORDINGS).to(device)
        self.empty = self.ids[0]

    def __call__(
        self,
        subjects: Tensor,
        contexts: Tensor,
        accessories: Tensor,
        colors: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Token numbers (n, length) of one random wording per scene, whose labels are those of `labels_of`."""
        wording = torch.randint(WORDINGS, subjects.shape, generator=generator, device=self.device)
        return self.ids[self.places[subjects, contexts, accessories, colors, wording]]
