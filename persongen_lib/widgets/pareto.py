"""The Pareto explorer: strategies on the plane of two scores; a click on a point shows its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd
from PIL import Image

from persongen_lib.analysis.fronts import summarize_front
from persongen_lib.analysis.recommendation import with_prompt_right
from persongen_lib.analysis.statistics import require
from persongen_lib.core.checks import check_steps, parse_seeds
from persongen_lib.core.errors import UserError
from persongen_lib.core.hashing import canonical_json, short_hash
from persongen_lib.data.concepts import load_concept
from persongen_lib.data.prompts import load_prompts
from persongen_lib.figures.style import look, title
from persongen_lib.finetune.engine.specs import fine_tune_spec
from persongen_lib.sampling.engine.contact_sheets import open_picture, picture_path
from persongen_lib.sampling.engine.specs import sample_spec
from persongen_lib.study.advice import parameters_of
from persongen_lib.widgets.html import picture, row, sentence
from persongen_lib.widgets.studio import Studio

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 330, 46, 16, 12, 42


class ParetoExplorer(widgets.VBox):
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
        if len(scores) != 2 or len(parse_seeds(seed)) != 1:
            raise UserError("the plane has two scores, and its images have one seed")
        if num_steps is not None:
            check_steps(num_steps)
        table = with_prompt_right(table)
        require(table, ("label", "strategy", "parameters", *scores))
        self.table, self.scores, self.seed, self.num_steps = table, scores, seed, num_steps
        self.studio, self.runs, self.filled = Studio(runs, device), Path(runs), set()
        references = load_concept(concept, class_name)
        self.prompts = load_prompts(prompts, references.kind)
        self.tuning = fine_tune_spec(references, backbone, method, loading=loading)
        settings = table.drop_duplicates("label").set_index("label")[["strategy", "parameters"]]
        self.points = summarize_front(table, scores).join(settings, on="label")
        self.buttons = widgets.ToggleButtons(
            options=list(self.points["label"]),
            index=0,
            tooltips=[f"{point['label']}: {self._words(point)}" for point in self.points.to_dict("records")],
        )
        self.cards = widgets.Stack([widgets.HTML() for _ in self.points.index], selected_index=0)
        widgets.jslink((self.buttons, "index"), (self.cards, "selected_index"))
        self.buttons.observe(lambda change: self.show(change["new"]), "index")
        name = f"plane-{short_hash(canonical_json(self.points.to_dict('list')))}"
        plane = widgets.Box([widgets.HTML(_style(self.points, scores, name)), self.buttons])
        plane.add_class(name)
        super().__init__([plane, self.cards])
        for place in self.points.index if whole else [0]:
            self.show(place)

    def show(self, place: int) -> None:
        """Fill the card of the point at `place`, once it can be."""
        card, point = self.cards.children[place], self.points.loc[place]
        if place in self.filled:
            return
        head = f"<b>{escape(point['label'])}</b>: {escape(self._words(point))}"
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
        card.value = f"{head}<br><code>{escape(_settings(point))}</code>{row(shown)}"

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

    def _words(self, point: Mapping[str, float]) -> str:
        return ", ".join(f"{title(name)} {point[name]:.2f}" for name in self.scores)


def _settings(point: pd.Series) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters_of(point).items())


def _style(points: pd.DataFrame, scores: tuple[str, str], name: str) -> str:
    """The plane as SVG, and the style that puts the buttons, in the order of `points`, on their places in it."""
    ends = [_ends(points[score]) for score in scores]
    rules = [
        f".{name}{{position:relative;width:100%;max-width:560px;overflow:visible}}",
        f".{name}>.widget-html{{width:100%;margin:0}}",
        f".{name}>.widget-toggle-buttons{{position:absolute;inset:0;margin:0;width:auto;height:auto}}",
        f".{name} .widget-toggle-button{{position:absolute;width:18px!important;min-width:0;height:18px;padding:0;"
        "margin:-9px;border-radius:50%;font-size:0;border:2px solid #fff;box-shadow:none}",
        f".{name} .widget-toggle-button.mod-active{{outline:3px solid currentColor;z-index:2}}",
    ]
    spots, labels = [], list(points["label"])
    for place, point in enumerate(points.to_dict("records"), 1):
        x, y = ((point[score] - low) / (high - low) for score, (low, high) in zip(scores, ends, strict=True))
        at_x, at_y = LEFT + (WIDTH - LEFT - RIGHT) * x, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y
        spots.append((at_x, at_y))
        size = "" if point["front"] else "transform:scale(.75);"
        rules.append(
            f".{name} .widget-toggle-button:nth-child({place}){{left:{100 * at_x / WIDTH:.2f}%;"
            f"top:{100 * at_y / HEIGHT:.2f}%;background:{look(point['label'])[0]}!important;{size}}}"
        )
    words = [
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{look(label)[0]}">{escape(label)}</text>'
        for label, (x, y) in _readable(labels, spots).items()
    ]
    return f"<style>{''.join(rules)}</style>{_axes(ends, scores, ''.join(words))}"


def _readable(labels: Sequence[str], spots: Sequence[tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Where labels begin: beside, below or above their spots, without those that would cover something."""
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in spots]
    found = {}
    for label, (x, y) in zip(labels, spots, strict=True):
        wide = 6.8 * len(label)
        for left, foot in (
            (x + 12, y + 4),
            (x - 12 - wide, y + 4),
            (x - wide / 2, y + 22),
            (x - wide / 2, y - 13),
        ):
            box = (left, foot - 10, left + wide, foot + 2)
            free = all(
                box[2] < other[0] or other[2] < box[0] or box[3] < other[1] or other[3] < box[1]
                for other in taken
            )
            if free and box[0] > LEFT and box[2] < WIDTH:
                found[label] = (left, foot)
                taken.append(box)
                break
    return found


def _axes(ends: Sequence[tuple[float, float]], scores: tuple[str, str], inside: str) -> str:
    (left, right), (low, high) = ends
    foot, edge = HEIGHT - BOTTOM, WIDTH - RIGHT
    middle = (TOP + foot) / 2
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" style="display:block;width:100%" font-size="12" '
        f'font-family="sans-serif" fill="currentColor" role="img" '
        f'aria-label="{escape(title(scores[1]))} against {escape(title(scores[0]))}">'
        f'<path d="M{LEFT} {TOP}V{foot}H{edge}" fill="none" stroke="currentColor"/>'
        f'<text x="{LEFT}" y="{foot + 16}">{left:.2f}</text>'
        f'<text x="{edge}" y="{foot + 16}" text-anchor="end">{right:.2f}</text>'
        f'<text x="{LEFT - 4}" y="{foot}" text-anchor="end">{low:.2f}</text>'
        f'<text x="{LEFT - 4}" y="{TOP + 8}" text-anchor="end">{high:.2f}</text>'
        f'<text x="{(LEFT + edge) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(title(scores[0]))} →</text>'
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">'
        f"{escape(title(scores[1]))} →</text>{inside}</svg>"
    )


def _ends(values: pd.Series) -> tuple[float, float]:
    """A little beyond the lowest and the highest."""
    room = 0.08 * (values.max() - values.min()) or 0.1
    return values.min() - room, values.max() + room
