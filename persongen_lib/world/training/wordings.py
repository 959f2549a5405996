"""Captions of labeled pictures, all tokenized once, so that a training step only picks among them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from persongen_lib.world.draw.dataset import words_of
from persongen_lib.world.language.captions import wordings
from persongen_lib.world.models.forms.form import Form, Tokens


class Wordings:
    """Every wording of every picture, drawn by its share (`wordings`), or empty.

    Args:
        labels: Class, context, accessory and color of the pictures, (n, 4).
        form: The family whose tokenizer is used.
        empty: Share of empty captions.
        device: "cpu", "cuda" ...
    """

    def __init__(self, labels: np.ndarray, form: type[Form], empty: float, device: str):
        scenes, of_picture = np.unique(labels, axis=0, return_inverse=True)
        told = [wordings(*words_of(scene)) for scene in scenes]
        self.tokens = Tokens(
            *(values.to(device) for values in form.tokens(["", *(text for texts in told for text in texts)]))
        )
        self.scene = torch.from_numpy(of_picture.reshape(-1)).to(device)
        shares = torch.tensor([*told[0].values()], device=device)
        self.shares = torch.cat([torch.full_like(shares[:1], empty), (1 - empty) * shares])

    def draw(self, rows: Tensor, generator: torch.Generator) -> Tokens:
        """A caption of each picture, given the pictures' numbers (n,)."""
        drawn = torch.multinomial(self.shares, len(rows), replacement=True, generator=generator)
        first = self.scene[rows] * (len(self.shares) - 1)
        return self.tokens.at(torch.where(drawn == 0, 0, first + drawn))
