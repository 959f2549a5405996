"""The Pareto explorer: strategies on the plane of two scores; a click on a point shows its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from persongen_lib.core.checks import check_steps, parse_seeds
from persongen_lib.core.errors import UserError
from persongen_lib.data.concepts import load_concept
from persongen_lib.data.prompts import load_prompts
from persongen_lib.finetune.engine.specs import fine_tune_spec
from persongen_lib.sampling.engine.contact_sheets import open_picture, picture_path
from persongen_lib.sampling.engine.specs import sample_spec
from persongen_lib.study.advice import parameters_of
from persongen_lib.widgets.html import picture, row, sentence
from persongen_lib.widgets.plane import Plane, settings
from persongen_lib.widgets.studio import Studio


class ParetoExplorer(Plane):
    """A point for every label of a results table, at its mean scores; below, images of the point that was clicked.

    Points on the front are larger. The images are those of the table if `runs` holds them, as files or on a contact
    sheet; otherwise they are sampled now, from the concept's fine-tuning.

    Args:
        table: A results table.
        concept: The concept of the images, a name or a folder.
        prompts: The prompts of the images, see `load_prompts`.
        seed: The seed of the images.
        scores: Columns of the table, to the right and up.
        num_steps: The steps of images that are sampled; None takes the backbone's default.
        backbone: The backbone that was fine-tuned.
        method: The fine-tuning method.
        class_name: The class word, for a folder of pictures.
        runs: The folder of finished work.
        device: As in `run_cell`.
        whole: Whether all images are made at once, so that points answer on a static page, without a kernel.
        loading: What the backbone is loaded with, as in `Cell`.

    Raises:
        UserError: An argument is not valid; what goes wrong for a point is shown in its place.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        concept: str,
        prompts: str | Sequence[str],
        seed: int = 0,
        scores: tuple[str, str] = ("prompt_right", "identity"),
        num_steps: int | None = None,
        backbone: str = "micro",
        method: str = "dreambooth",
        class_name: str | None = None,
        runs: str | Path = "runs",
        device: str = "auto",
        whole: bool = False,
        loading: Mapping[str, Any] | None = None,
    ) -> None:
        if len(parse_seeds(seed)) != 1:
            raise UserError("the images of the plane have one seed")
        if num_steps is not None:
            check_steps(num_steps)
        self.studio, self.runs = Studio(runs, device), Path(runs)
        self.seed, self.num_steps, self.filled = seed, num_steps, set[int]()
        references = load_concept(concept, class_name)
        self.prompts = load_prompts(prompts, references.kind)
        self.tuning = fine_tune_spec(references, backbone, method, loading=loading)
        super().__init__(table, scores, whole)

    def show(self, place: int) -> None:
        """Fill the card of the point at `place`, once it can be."""
        card, point = self.cards.children[place], self.points.loc[place]
        if place in self.filled:
            return
        head = self.head(point)
        try:
            images = self.pictures(place)
        except UserError as error:
            card.value = head + sentence(str(error), wrong=True)
            return
        self.filled.add(place)
        words = [prompt.replace("{}", self.tuning.class_name) for prompt in self.prompts]
        shown = [
            picture(image, text, f"{point['label']}: {text}")
            for image, text in zip(images, words, strict=True)
        ]
        card.value = f"{head}<br>{settings(point)}{row(shown)}"

    def pictures(self, place: int) -> list[Image.Image]:
        """The images of the point at `place`, one per prompt.

        Raises:
            UserError: Neither the images nor the fine-tuning are in the runs folder.
        """
        point, table = self.points.loc[place], self.table
        if {"fine_tune", "picture"} <= set(table):
            here = (table["label"] == point["label"]) & (table["fine_tune"] == self.tuning.hash)
            rows = table[here & (table["seed"] == self.seed)].drop_duplicates("template")
            files = rows.set_index("template")["picture"].reindex(self.prompts)
            if files.notna().all():
                with suppress(UserError):  # they are gone, and no sheet has them
                    return [open_picture(picture_path(self.runs, file)) for file in files]
        row = self.table[self.table["label"] == point["label"]].iloc[0]
        scheduler, steps = row.get("scheduler"), row.get("num_steps", self.num_steps)
        spec = sample_spec(
            point["strategy"], self.prompts, self.seed, None if pd.isna(steps) else int(steps), self.tuning,
            scheduler=scheduler if isinstance(scheduler, str) else None, **parameters_of(point),
        )  # fmt: skip
        return self.studio(spec).images
