"""The sampling explorer: move a strategy's parameters, and see image and trajectory change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np

from persongen_lib.backbones.defaults import sampling_defaults
from persongen_lib.core.checks import check_known, check_steps, parse_seeds
from persongen_lib.core.errors import UserError
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.core.store import Store, read_spec
from persongen_lib.data.concepts import Concept, list_concepts, load_concept
from persongen_lib.data.prompts import load_prompts
from persongen_lib.figures.style import look, title
from persongen_lib.finetune.engine.run import finetune
from persongen_lib.finetune.engine.specs import fine_tune_spec
from persongen_lib.sampling.engine.specs import SampleSpec, sample_spec
from persongen_lib.sampling.engine.strategy import list_strategies
from persongen_lib.widgets.controls import parameter_controls
from persongen_lib.widgets.html import curves, picture, row, sentence
from persongen_lib.widgets.still import Still
from persongen_lib.widgets.studio import Shown, Studio

COMPARED = ("base", "superclass")
MOST_SEEDS = 8
OWN = "your own, below"


class SamplingExplorer(Still, widgets.Box):
    """Controls for a sample run on one side, its images and curves on the other.

    Concept, prompt, strategy, parameters and seeds can be chosen. The images stand beside those of base and superclass
    sampling from the same noise, below the references. The concepts offered are every fine-tuning of the backbone that
    `runs` holds, and every shipped concept, which a button fine-tunes.

    Args:
        concept: The concept to begin with, a name or a folder with its `class_name`.
        prompts: The templates offered, see `load_prompts`.
        strategy: The strategy to begin with.
        seeds: The seeds to begin with, at most 8, see `parse_seeds`.
        num_steps: The number of sampling steps; None takes the backbone's.
        backbone: A short name, a diffusers folder or a hub id.
        method: The fine-tuning method of concepts that are not fine-tuned yet.
        class_name: The class word of a folder.
        runs: The folder of finished work.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        loading: What the backbone is loaded with, as in `Cell`.

    Raises:
        UserError: An argument is not valid. What is wrong later is shown in the explorer.
    """

    wants = "choose other strategies, parameters, prompts and seeds"

    def __init__(
        self,
        concept: str = "dog",
        prompts: str | Sequence[str] = "auto",
        strategy: str = "mixed",
        seeds: str | int | Sequence[int] = "0",
        num_steps: int | None = None,
        backbone: str = "micro",
        method: str = "dreambooth",
        class_name: str | None = None,
        runs: str | Path = "runs",
        device: str = "auto",
        loading: Mapping[str, Any] | None = None,
    ) -> None:
        self.studio, self.prompts = Studio(runs, device), prompts
        check_known("strategy", [strategy], list_strategies())
        check_steps(len(parse_seeds(seeds)), MOST_SEEDS, "the number of seeds")
        self.usual = sampling_defaults(backbone)
        self.num_steps = self.usual["num_steps"] if num_steps is None else check_steps(num_steps)
        own = load_concept(concept, class_name)
        self.concepts = {own.name: own}
        self.tunings = fine_tunings(self.studio.runtime.store, own, backbone, method, loading)
        self._build(strategy, seeds if isinstance(seeds, str) else ",".join(map(str, parse_seeds(seeds))))
        self.choose_concept()
        self.choose_strategy()
        self._watch()

    @property
    def tuning(self) -> FineTuneSpec:
        """The fine-tuning chosen, which may not have been done yet."""
        return self.tunings[self.concept.value]

    @property
    def tuned(self) -> bool:
        """Whether it has been done."""
        return self.studio.runtime.store.find("finetune", self.tuning) is not None

    @property
    def references(self) -> Concept | None:
        """The concept's pictures, None where they are not those of the fine-tuning any more."""
        name = self.tuning.concept
        if name not in self.concepts and name in list_concepts():
            self.concepts[name] = load_concept(name)
        found = self.concepts.get(name)
        return found if found and found.digest == self.tuning.concept_digest else None

    def still(self) -> str:
        """The prompt, the parameters, the images and the curves, as HTML."""
        try:
            spec = self.spec()
        except UserError:
            return self.message.value
        words = spec.prompts[0].replace("{}", f"{spec.token} {spec.class_name}")
        given = ", ".join(f"{name}={value}" for name, value in spec.parameters.items())
        head = f"{escape(words)}; {escape(spec.strategy.name)} with <code>{escape(given)}</code>"
        return f"<p>{head}</p>{self.pictures.value}{self.trajectory.value}<p>{self.message.value}</p>"

    def spec(self) -> SampleSpec:
        """What is asked for; a UserError if the template or the seeds are not valid."""
        template = self.template.value if self.prompt.value == OWN else self.prompt.value
        values = {name: control.value for name, control in self.parameters.items()}
        spec = self._sampled(self.strategy.value, template, **values)
        check_steps(len(spec.seeds), MOST_SEEDS, "the number of seeds")
        return spec

    def refresh(self, _change=None) -> None:
        """Show what is asked for, or a sentence that says what is wrong."""
        self.template.layout.display = "" if self.prompt.value == OWN else "none"
        try:
            spec = self.spec()
            if not self.tuned:
                raise UserError(f"{self.tuning.concept} is not fine-tuned yet: the button does it")
            if not self.studio.remembers(spec):
                self.message.value = sentence("sampling …")
            shown = self.studio(spec)
            beside = {name: self.studio(self._sampled(name, spec.prompts[0])) for name in COMPARED}
        except UserError as error:
            self.message.value = sentence(str(error), wrong=True)
            return
        self.pictures.value = _pictures(spec, shown, beside)
        self.trajectory.value = _trajectory(spec, shown, beside)
        self.message.value = sentence(
            f"{spec.strategy.name}: {shown.evaluations} network evaluations per image, {shown.seconds:.2f} s"
        )

    def choose_concept(self, _change=None) -> None:
        """Show references and prompts of the concept chosen, and the button where it is not fine-tuned."""
        concept = self.references
        self.button.layout.display = "none" if self.tuned else ""
        self.button.description = f"Fine-tune {self.tuning.concept} ({self.tuning.method})"
        images = concept.images if concept else ()
        words = f"reference of {self.tuning.concept}"
        self.shown_references.value = row(picture(image, alt=words, width=72) for image in images)
        kind = concept.kind if concept else None
        prompts = "live" if self.prompts == "auto" and kind is None else self.prompts
        options = (*load_prompts(prompts, kind), OWN)
        if options != self.prompt.options:
            elsewhere = [
                one
                for one in options
                if not any(context in one for context in (concept.contexts if concept else ()))
            ]
            self.prompt.options = options
            self.prompt.value = elsewhere[0]

    def choose_strategy(self, _change=None) -> None:
        """Controls for the strategy chosen, and its pictures."""
        self.parameters = parameter_controls(self.strategy.value, self.usual, self.num_steps)
        for control in self.parameters.values():
            control.observe(self.refresh, "value")
        self.parameter_box.children = list(self.parameters.values())
        self.refresh()

    def fine_tune(self, _button=None) -> None:
        """Fine-tune the concept chosen, with a progress bar, and show its pictures."""
        self.button.disabled = True
        try:
            with self.progress:
                finetune(self.tuning, self.references, self.studio.runtime)
        except UserError as error:
            self.message.value = sentence(str(error), wrong=True)
            return
        finally:
            self.button.disabled = False
            self.progress.clear_output()
        place = self.concept.value
        self.concept.options = self._choices()
        self.concept.value = place
        self.choose_concept()
        self.refresh()

    def _choices(self) -> list[tuple[str, int]]:
        """Labels and places of the fine-tunings."""
        done = [self.studio.runtime.store.find("finetune", tuning) for tuning in self.tunings]
        return [
            (f"{one.concept}, {one.method}, {one.num_steps} steps{'' if here else ' (not yet)'}", place)
            for place, (one, here) in enumerate(zip(self.tunings, done, strict=True))
        ]

    def _sampled(self, strategy: str, template: str, **parameters) -> SampleSpec:
        return sample_spec(strategy, [template], self.seeds.value, self.num_steps, self.tuning, **parameters)

    def _build(self, strategy: str, seeds: str) -> None:
        label = {"style": {"description_width": "80px"}, "layout": {"width": "auto"}}
        self.concept = widgets.Dropdown(options=self._choices(), value=0, description="concept", **label)
        self.button = widgets.Button(button_style="primary", layout={"width": "auto"})
        self.progress = widgets.Output()
        self.prompt = widgets.Dropdown(options=[OWN], description="prompt", **label)
        self.template = widgets.Text(
            "a photo of a {} in the snow", description="your own", continuous_update=False, **label
        )
        self.seeds = widgets.Text(seeds, description="seeds", continuous_update=False, **label)
        self.strategy = widgets.Dropdown(
            options=list_strategies(), value=strategy, description="strategy", **label
        )
        self.parameter_box = widgets.VBox()
        self.message, self.shown_references, self.pictures, self.trajectory = (
            widgets.HTML() for _ in range(4)
        )
        chosen = [self.concept, self.button, self.progress, self.prompt, self.template, self.seeds]
        panel = widgets.VBox(
            [*chosen, self.strategy, self.parameter_box],
            layout={"flex": "1 1 320px", "max_width": "440px", "min_width": "0"},
        )
        result = widgets.VBox(
            [self.shown_references, self.message, self.pictures, self.trajectory],
            layout={"flex": "2 1 320px", "max_width": "860px", "min_width": "0"},
        )
        super().__init__(
            [panel, result], layout={"display": "flex", "flex_flow": "row wrap", "grid_gap": "12px"}
        )

    def _watch(self) -> None:
        self.button.on_click(self.fine_tune)
        self.concept.observe(self.choose_concept, "value")
        self.strategy.observe(self.choose_strategy, "value")
        for control in (self.concept, self.prompt, self.template, self.seeds):
            control.observe(self.refresh, "value")


def fine_tunings(
    store: Store, own: Concept, backbone: str, method: str, loading: Mapping[str, Any] | None = None
) -> list[FineTuneSpec]:
    """List the finished fine-tunings of a backbone in the store, and the usual ones by `method`.

    Args:
        store: The store that is searched for finished fine-tunings.
        own: The user's concept; its fine-tunings come first, those that are done before others, the usual one before
            others.
        backbone: The backbone; finished fine-tunings of other weights than its current ones are left out.
        method: The method of the usual fine-tunings, one of `own` and one of each shipped concept.
        loading: What the backbone is loaded with, as in `Cell`.

    Returns:
        The specs, each once.
    """
    shipped = [load_concept(name) for name in list_concepts()]
    usual = [fine_tune_spec(concept, backbone, method, loading=loading) for concept in (own, *shipped)]
    finished = []
    for folder in store.finished("finetune"):
        with suppress(UserError):
            spec = read_spec(folder, FineTuneSpec)
            if (spec.backbone, spec.weights) == (usual[0].backbone, usual[0].weights):
                finished.append(spec)
    known = {spec.hash: spec for spec in (*finished, *usual)}
    ordinary = {spec.hash for spec in usual}
    return sorted(
        known.values(),
        key=lambda spec: (
            spec.concept != own.name, store.find("finetune", spec) is None, spec.hash not in ordinary,
            spec.concept, spec.method, spec.num_steps, spec.hash,
        ),
    )  # fmt: skip


def _pictures(spec: SampleSpec, shown: Shown, beside: dict[str, Shown]) -> str:
    """One row per seed: the strategy's image beside those it is compared with."""
    columns = {name: one.images for name, one in beside.items()} | {spec.strategy.name: shown.images}
    prompt = spec.prompts[0].replace("{}", f"{spec.token} {spec.class_name}")
    return "".join(
        row(
            picture(images[place], name, f"{name}, seed {seed}: {prompt}", width=230)
            for name, images in columns.items()
        )
        for place, seed in enumerate(spec.seeds)
    )


def _trajectory(spec: SampleSpec, shown: Shown, beside: dict[str, Shown]) -> str:
    """Distance of the latents to the runs beside, and the disagreement of concept and superclass branch."""
    away = {f"to {name}": _distance(shown.latents, one.latents) for name, one in beside.items()}
    mark = spec.parameters.get("switch_step")
    parts = [curves(away, [look(name)[0] for name in beside], title("latents"), mark)]
    color = [look(spec.strategy.name)[0]]
    for name, values in {"distance": shown.distance, "cosine": shown.cosine}.items():
        if not np.isnan(values).all():
            parts.append(curves({spec.strategy.name: values}, color, title(name), mark))
    if len(parts) == 1:
        parts.append(
            sentence(
                f"{spec.strategy.name} never predicts both branches at one step, so no distance between them is drawn."
            )
        )
    return row(parts, wrap=True)


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N + 1,): mean over pictures and pixels of the channel norm of the difference."""
    return np.linalg.norm(one.astype(np.float32) - other.astype(np.float32), axis=2).mean((0, 2, 3))
