"""The plane of two scores: a point for every label of a results table; a click on it says what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import ipywidgets as widgets
import pandas as pd

from persongen_lib.analysis.fronts import summarize_front
from persongen_lib.analysis.recommendation import with_prompt_right
from persongen_lib.analysis.statistics import require
from persongen_lib.core.errors import UserError
from persongen_lib.core.hashing import canonical_json, short_hash
from persongen_lib.figures.style import ink, look, title
from persongen_lib.study.advice import parameters_of

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 330, 46, 16, 12, 42


class Plane(widgets.VBox):
    """A point for every label of a results table, at its mean scores; below, what the clicked one is, and the colors.

    Points on the front are larger. With `whole`, points answer on a static page, without a kernel.

    Args:
        table: A results table.
        scores: Columns of the table, to the right and up.
        whole: Whether all cards are filled at once.

    Raises:
        UserError: The table lacks a column, or there are not two scores.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        scores: tuple[str, str] = ("prompt_right", "identity"),
        whole: bool = True,
    ) -> None:
        if len(scores) != 2:
            raise UserError("the plane has two scores: name one to the right and one up")
        table = with_prompt_right(table)
        require(table, ("label", "strategy", "parameters", *scores))
        self.table, self.scores = table, scores
        about = [name for name in ("strategy", "parameters", "num_steps") if name in table]
        self.points = summarize_front(table, scores).join(
            table.drop_duplicates("label").set_index("label")[about], on="label"
        )
        if "evaluations" in table:
            self.points = self.points.join(table.groupby("label")["evaluations"].mean(), on="label")
        self.buttons = widgets.ToggleButtons(
            options=list(self.points["label"]),
            index=0,
            tooltips=[f"{point['label']}: {self.words(point)}" for point in self.points.to_dict("records")],
        )
        self.cards = widgets.Stack([widgets.HTML() for _ in self.points.index], selected_index=0)
        widgets.jslink((self.buttons, "index"), (self.cards, "selected_index"))
        self.buttons.observe(lambda change: self.show(change["new"]), "index")
        name = f"plane-{short_hash(canonical_json(self.points[['label', *scores]].to_dict('list')))}"
        plane = widgets.Box([widgets.HTML(_style(self.points, scores, name)), self.buttons])
        plane.add_class(name)
        note = widgets.HTML("<small>Click a point to read its scores; this works on a web page too.</small>")
        note.add_class("click-note")
        legend = widgets.HTML(_legend(self.points))
        super().__init__([plane, note, self.cards, legend] if whole else [plane, self.cards, legend])
        for place in self.points.index if whole else [0]:
            self.show(place)

    def show(self, place: int) -> None:
        """Fill the card of the point at `place`."""
        point = self.points.loc[place]
        self.cards.children[place].value = f"{self.head(point)}<br>{settings(point)}"

    def head(self, point: pd.Series) -> str:
        """The label and the scores of a point as HTML."""
        return f"<b>{escape(point['label'])}</b>: {escape(self.words(point))}"

    def words(self, point: Mapping[str, float]) -> str:
        """The scores of a point and its cost."""
        parts = [f"{title(name)} {point[name]:z.2f}" for name in self.scores]
        if "evaluations" in point:
            parts.append(f"{point['evaluations']:.0f} {title('evaluations')}")
        return ", ".join(parts)


def _legend(points: pd.DataFrame) -> str:
    """The strategies in their colors, as HTML."""
    names = points["strategy"].unique() if "strategy" in points else points["label"]
    return " ".join(
        f'<span style="white-space:nowrap;margin-right:.7em">'
        f'<span style="color:{look(name)[0]}">●</span> {escape(name)}</span>'
        for name in names
    )


def settings(point: pd.Series) -> str:
    """The parameters and the steps of a point as HTML."""
    given = dict(parameters_of(point))
    if pd.notna(point.get("num_steps")):
        given["num_steps"] = f"{point['num_steps']:g}"
    return f"<code>{escape(', '.join(f'{name}={value}' for name, value in given.items()))}</code>"


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
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{ink(label)}">{escape(label)}</text>'
        for label, (x, y) in _readable(labels, spots).items()
    ]
    return f"<style>{''.join(rules)}</style>{_axes(ends, scores, ''.join(words))}"


def _readable(labels: Sequence[str], spots: Sequence[tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Where labels begin: beside, below or above their spots, without those that would mislead.

    Such labels would cover something, or be as near to another spot as to their own.
    """
    around = [(x - 14, y - 12, x + 14, y + 12) for x, y in spots]
    found, written = {}, []
    for place, (label, (x, y)) in enumerate(zip(labels, spots, strict=True)):
        taken = [*around[:place], *around[place + 1 :], *written]
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
                written.append(box)
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
