"""The run viewer: images of one's own runs side by side, for the same prompt and noise, with their scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd
from PIL import Image

from persongen_lib.analysis.tables import read_table
from persongen_lib.core.checks import check_known, check_path
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic
from persongen_lib.core.hashing import canonical_json
from persongen_lib.core.tables import FORMATS
from persongen_lib.data.concepts import list_concepts, load_concept
from persongen_lib.evaluation.metric import catalogue
from persongen_lib.figures.labeled import labeled_images
from persongen_lib.sampling.engine.contact_sheets import open_picture
from persongen_lib.sampling.engine.strategy import list_strategies
from persongen_lib.widgets.html import picture, row, sentence
from persongen_lib.widgets.settings import (
    Setting,
    most_usual,
    scored_runs,
    scores_of,
    settings_in_folder,
    settings_in_table,
    told_apart,
)
from persongen_lib.widgets.still import Still

MOST = 12
"""Images that are shown side by side."""
FIGURES = (".png", ".jpg", ".pdf", ".svg")
LABEL = {"style": {"description_width": "80px"}, "layout": {"width": "auto"}}


class RunViewer(Still, widgets.VBox):
    """Choices among finished runs on top; below, their images of one prompt from the same noise, with scores.

    Concept and model are chosen first, then fine-tunings, strategies, and the settings of these: all that differ in a
    parameter. The viewer begins with the fine-tuning that most settings have. Only the images that are shown are read,
    from files or from contact sheets. Without a kernel, the images that were shown last remain.

    Args:
        source: A runs folder, a results table, or the file of one.
        runs: The folder of finished work that holds the images of a table.
        concept: The concept to begin with; None takes the first.
        strategies: The strategies to begin with, one or several; None takes all.

    Raises:
        UserError: There is nothing to show, or an argument is not valid. The viewer shows what is wrong with a run.
    """

    wants = "choose other runs, prompts and seeds"

    def __init__(
        self,
        source: str | Path | pd.DataFrame = "runs",
        runs: str | Path = "runs",
        concept: str | None = None,
        strategies: str | Sequence[str] | None = None,
    ) -> None:
        self.settings, self.left_out, self.runs = *_read(source, runs), source
        if not self.settings:
            raise UserError(f"there are no finished images to show. {_left_out(self.left_out)}".strip())
        self._from_folder = not isinstance(source, pd.DataFrame) and Path(source).suffix not in FORMATS
        self._scored: dict[str, list[Path]] | None = None
        self._offered: list[Setting] = []
        concepts = sorted({one.concept for one in self.settings})
        if concept is not None:
            check_known("concept", [concept], concepts)
        if isinstance(strategies, str):
            strategies = [strategies]
        if strategies is not None:
            check_known("strategy", strategies, {one.strategy for one in self.settings})
        self._asked = strategies
        self._build(concepts, concept)
        self._busy = False
        self._watch()
        self._choose(self._choose_concept)

    def still(self) -> str:
        """The images that are shown, as HTML."""
        return self.pictures.value

    @property
    def chosen(self) -> list[Setting]:
        """The settings whose images are shown."""
        return [self._offered[place] for place in self.setting.value]

    def images(self) -> list[tuple[str, Image.Image | str, dict[str, float]]]:
        """What is shown: each setting's label, its image or why there is none, and the image's scores by column."""
        wanted, shown = (self.prompt.value, self.seed.value), []
        for place in self.setting.value[:MOST]:
            setting, label = self._offered[place], self._labels[place]
            path = setting.images.get(wanted)
            try:
                if path is None:
                    raise UserError("this setting has no image of this prompt and seed")
                shown.append((label, open_picture(path), self._scores(setting, path)))
            except UserError as error:
                shown.append((label, str(error), {}))
        return shown

    def save(self, _button: Any = None) -> None:
        """Write the images with their labels and scores into the file named beside the button."""
        try:
            path = check_path(self.file.value, "the figure", "a file")
            if path.suffix not in FIGURES:
                raise UserError(f"the file {str(path)!r} must end with one of {', '.join(FIGURES)}")
            found = [one for one in self._shown if isinstance(one[1], Image.Image)]
            if not found:
                raise UserError("there is no image to save: choose a setting that has one")
            labels, images, scores = zip(*found, strict=True)
            figure = labeled_images(images, labels, [_lines(one) for one in scores])
            write_atomic(path, lambda part: figure.savefig(part, dpi=200, bbox_inches="tight"))
        except (UserError, OSError) as error:
            self.message.value = sentence(str(error), wrong=True)
            return
        self.message.value = sentence(f"saved as {path}")

    def refresh(self) -> None:
        """Show the images of the settings chosen."""
        self._shown = self.images()
        self.message.value = sentence(_state(len(self.setting.value), self.left_out))
        parts = [
            picture(image, "", f"{label}: {self._asked_for()}", width=180)
            if isinstance(image, Image.Image)
            else f"<div>{sentence(image)}</div>"
            for label, image, _ in self._shown
        ]
        reference = self._reference()
        if reference is not None:
            parts.insert(0, picture(reference, "", f"reference of {self.concept.value}", width=180))
        heads = (["reference"] if reference is not None else []) + [label for label, *_ in self._shown]
        below = ([[]] if reference is not None else []) + [_lines(scores) for *_, scores in self._shown]
        self.pictures.value = f"<p>{escape(self._asked_for())}</p>" + row(
            [_column(*one) for one in zip(heads, parts, below, strict=True)], wrap=True
        )

    def _asked_for(self) -> str:
        words = self.chosen[0].class_name if self.chosen else "…"
        return (
            f"{self.prompt.value.replace('{}', words)}, seed {self.seed.value}" if self.prompt.value else ""
        )

    def _reference(self) -> Image.Image | None:
        """The first reference image, if the images shown are of a shipped concept and not of another of its name."""
        name = self.concept.value
        if name not in list_concepts():
            return None
        shipped = load_concept(name)
        return shipped.images[0] if {one.digest for one in self.chosen} <= {"", shipped.digest} else None

    def _scores(self, setting: Setting, path: Path) -> dict[str, float]:
        if self._from_folder and path not in setting.scores:
            if self._scored is None:
                self._scored = scored_runs(self.runs)
            found = scores_of(path.parent.parent, self._scored)
            setting.scores.update({path: {}} | found)
        return setting.scores.get(path, {})

    def _choose(self, narrow: Callable[[], None]) -> None:
        """Follow a choice: what it narrows is offered anew, without following that again."""
        if not self._busy:
            self._busy = True
            try:
                narrow()
            finally:
                self._busy = False

    def _choose_concept(self) -> None:
        models = sorted({one.backbone for one in self._of_concept()})
        _offer_one(self.backbone, {name: name for name in models}, models[0])
        self._choose_backbone()

    def _choose_backbone(self) -> None:
        here = self._of_model()
        tunings = {_tuning(one): one for one in here}
        labels = told_apart([(one.method, one.tuning) for one in tunings.values()])
        asked = [one for one in here if one.strategy in (self._asked or (one.strategy,))]
        begin = [name for name, _ in Counter(map(_tuning, asked)).most_common(1)]
        _offer_some(self.tuning, dict(zip(labels, tunings, strict=True)), begin)
        used = dict.fromkeys(one.strategy for one in here)
        names = [*(one for one in list_strategies() if one in used), *(used.keys() - set(list_strategies()))]
        _offer_some(self.strategy, {name: name for name in names}, self._asked)
        self._choose_settings()

    def _choose_settings(self) -> None:
        before = self.chosen
        here = [one for one in self._of_model() if _tuning(one) in self.tuning.value]
        names = self.strategy.value
        self._offered = sorted(
            (one for one in here if one.strategy in names),
            key=lambda one: (names.index(one.strategy), one.place),
        )
        labels = told_apart([(one.strategy, one.values) for one in self._offered])
        tuned = told_apart([(one.method, one.tuning) for one in self._offered])
        several = len(set(tuned)) > 1
        self._labels = [f"{one}; {how}" if several else one for one, how in zip(labels, tuned, strict=True)]
        kept = [one for one in before if one in self._offered]
        groups: dict[tuple[str, str], list[Setting]] = {}
        for one in self._offered:
            groups.setdefault((one.strategy, _tuning(one)), []).append(one)
        kept += [most_usual(group) for group in groups.values() if not any(one in kept for one in group)]
        self.setting.options = [(label, place) for place, label in enumerate(self._labels)]
        self.setting.value = [place for place, one in enumerate(self._offered) if one in kept]
        self._choose_prompts()

    def _choose_prompts(self) -> None:
        counted = Counter(key for one in self.chosen for key in one.images)
        usual = max(counted, key=counted.get, default=(None, None))
        _offer_one(self.prompt, {template: template for template, _ in counted}, usual[0])
        _offer_one(self.seed, {str(seed): seed for seed in sorted({seed for _, seed in counted})}, usual[1])
        self.refresh()

    def _of_concept(self) -> list[Setting]:
        return [one for one in self.settings if one.concept == self.concept.value]

    def _of_model(self) -> list[Setting]:
        return [one for one in self._of_concept() if one.backbone == self.backbone.value]

    def _build(self, concepts: Sequence[str], concept: str | None) -> None:
        self.concept = widgets.Dropdown(
            options=concepts, value=concept or concepts[0], description="concept", **LABEL
        )
        self.backbone = widgets.Dropdown(description="model", **LABEL)
        self.tuning = widgets.SelectMultiple(description="fine-tuning", rows=3, **LABEL)
        self.strategy = widgets.SelectMultiple(description="strategy", rows=5, **LABEL)
        self.setting = widgets.SelectMultiple(description="setting", rows=5, **LABEL)
        self.prompt = widgets.Dropdown(description="prompt", **LABEL)
        self.seed = widgets.Dropdown(description="seed", **LABEL)
        self.file = widgets.Text("runs.png", description="file", **LABEL)
        self.button = widgets.Button(description="Save the figure", layout={"width": "auto"})
        self.message, self.pictures = widgets.HTML(), widgets.HTML()
        column = {"flex": "1 1 280px", "min_width": "0"}
        top = widgets.Box(
            [
                widgets.VBox(
                    [self.concept, self.backbone, self.tuning, self.prompt, self.seed], layout=column
                ),
                widgets.VBox(
                    [self.strategy, self.setting, widgets.HBox([self.file, self.button])], layout=column
                ),
            ],
            layout={"display": "flex", "flex_flow": "row wrap", "grid_gap": "12px"},
        )
        super().__init__([top, self.message, self.pictures])

    def _watch(self) -> None:
        follow = {
            self.concept: self._choose_concept,
            self.backbone: self._choose_backbone,
            self.tuning: self._choose_settings,
            self.strategy: self._choose_settings,
            self.setting: self._choose_prompts,
            self.prompt: self.refresh,
            self.seed: self.refresh,
        }
        for control, narrow in follow.items():
            control.observe(lambda _change, narrow=narrow: self._choose(narrow), "value")
        self.button.on_click(self.save)


def _read(source: str | Path | pd.DataFrame, runs: str | Path) -> tuple[list[Setting], list[str]]:
    """The settings of a folder or a table, and what is wrong with others."""
    if isinstance(source, pd.DataFrame):
        return settings_in_table(source, runs), []
    if check_path(source, "the runs folder").suffix in FORMATS:
        return settings_in_table(read_table(source), runs), []
    return settings_in_folder(source)


def _tuning(setting: Setting) -> str:
    return canonical_json([setting.method, setting.tuning])


def _offer_one(control: widgets.Dropdown, options: Mapping[str, Any], first: Any) -> None:
    """Other options; the value stays if it is one of them, or else is `first`."""
    kept = control.value if control.value in options.values() else first
    control.options = list(options.items())
    control.value = kept


def _offer_some(
    control: widgets.SelectMultiple, options: Mapping[str, Any], first: Sequence[Any] | None = None
) -> None:
    """Other options; of the values those stay that are among them, or else those of `first`, or else all."""
    kept = [value for value in options.values() if value in control.value]
    begin = [value for value in options.values() if value in (first or options.values())]
    control.options = list(options.items())
    control.value = kept or begin or list(options.values())


def _lines(scores: Mapping[str, float]) -> list[str]:
    """The main scores of an image in words, a line each."""
    shown = sorted((one for one in catalogue().values() if one.shown is not None), key=lambda one: one.shown)
    known = [one for one in shown if one.name in scores]
    names = {one.name for one in known}
    return [f"{one.title} {scores[one.name]:.2f}" for one in known if one.better not in names]


def _column(head: str, part: str, lines: Sequence[str]) -> str:
    """An image or a sentence below its label, above its scores."""
    title = "<br>".join(escape(words.replace("_", " ").replace("=", " ")) for words in head.split("; "))
    scores = "".join(
        '<div style="display:flex;justify-content:space-between;gap:4px;font-size:.85em">'
        f"<span>{escape(name)} </span><span>{escape(value)}</span></div>"
        for name, _, value in (line.rpartition(" ") for line in lines)
    )
    style = "flex:1 1 140px;min-width:0;max-width:180px;line-height:1.3;break-inside:avoid"
    return f'<div style="{style}"><b style="overflow-wrap:anywhere">{title}</b>{part}{scores}</div>'


def _state(number: int, left_out: Sequence[str]) -> str:
    """What is not shown, in a sentence; nothing if there is nothing left out."""
    more = f"The first {MOST} of {number} settings are shown. " if number > MOST else ""
    return f"{more}{_left_out(left_out)}"


def _left_out(left_out: Sequence[str]) -> str:
    """Which runs can't be read, in a sentence."""
    if len(left_out) > 1:
        return f"{len(left_out)} runs are left out because they can't be read; the first: {left_out[0]}"
    return f"One run is left out because it can't be read: {left_out[0]}" if left_out else ""
