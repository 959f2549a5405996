"""Diagrams show what strategies do: coefficients known from their formulas, counts known from sampling."""

from dataclasses import dataclass, replace

import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from originals import with_original
from tiny import tiny_backbone

from persongen_lib import figures, list_strategies, make_strategy
from persongen_lib.core.errors import UserError
from persongen_lib.core.parameters import Scale
from persongen_lib.figures.diagrams import BRANCH_COLORS
from persongen_lib.sampling import sample
from persongen_lib.sampling.engine.steps import guided_steps
from persongen_lib.sampling.engine.strategy import Strategy

C, S = ("concept", "personalized"), ("superclass", "personalized")
ORIGINAL = ("superclass", "original")
N = 5


def resolved(name, **parameters):
    return make_strategy(name, **parameters).resolved(4.0, N)


def texts(figure):
    return " ".join(
        text.get_text() for text in (*figure.texts, *(text for axis in figure.axes for text in axis.texts))
    )


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("base", {"guidance_scale": 3}, [{C: 3}] * N),
        ("superclass", {"guidance_scale": 3, "superclass_weights": "original"}, [{ORIGINAL: 3}] * N),
        ("switching", {"guidance_scale": 3, "switch_step": 2}, [{S: 3}] * 2 + [{C: 3}] * 3),
        ("mixed", {"concept_scale": 2.5, "superclass_scale": 1}, [{C: 2.5, S: 1}] * N),
        ("mixed", {"concept_scale": [1, 2, 3, 4, 5], "superclass_scale": 0}, [{C: k} for k in (1, 2, 3, 4, 5)]),
        ("mixed", {"concept_scale": 1, "superclass_scale": -0.5}, [{C: 1, S: -0.5}] * N),
        (
            "multistage",
            {"concept_scale": 2, "superclass_scale": 1, "switch_step": 1},
            [{S: 3}] + [{C: 2, S: 1}] * 4,
        ),
        ("domain", {"guidance_scale": 3}, [{C: 3, ("null", "original"): -2}] * N),
        ("mixed", {"concept_scale": 2, "superclass_weights": "original"}, [{C: 2, ORIGINAL: 2}] * N),
    ],
)  # fmt: skip
def test_the_scales_of_every_step_are_those_of_the_formula(name, parameters, expected):
    steps = guided_steps(resolved(name, **parameters), N)
    assert [step.inside for step in steps] == expected
    assert all(step.outside is None and not step.refinements and not step.copied for step in steps)


def test_a_mask_has_an_inside_and_an_outside():
    first, *rest = guided_steps(resolved("masked", concept_scale=3, superclass_scale=1, switch_step=1), N)
    assert (first.inside, first.outside) == ({S: 4}, None)
    assert {(tuple(one.inside.items()), tuple(one.outside.items())) for one in rest} == {
        (((S, 1.0), (C, 3.0)), ((S, 4.0),))
    }


def test_refinements_and_copied_attention_are_told():
    fused = guided_steps(resolved("profusion", refine_steps=2, refine_guidance_scale=5), N)
    assert all(step.refinements == ({C: 5},) * 2 and step.inside == {C: 2, S: 2} for step in fused)
    limits = {"self_attention_output_steps": 1, "cross_attention_map_steps": 2, "self_attention_map_steps": 3}
    swapped = guided_steps(resolved("photoswap", **limits), N)
    assert [len(step.copied) for step in swapped] == [3, 2, 1, 0, 0]
    assert swapped[2].copied == ("self-attention maps",) and all(step.inside == {C: 4} for step in swapped)


def test_evaluations_are_those_that_sampling_counts():
    backbone = tiny_backbone()
    for name in list_strategies():
        strategy = resolved(name)
        with with_original(backbone, strategy):
            counted = sample(
                backbone, strategy, "a photo of {}", "sks", "dog", N, 0, scheduler="ddim", output="latents"
            ).evaluations
        assert sum(step.evaluations for step in guided_steps(strategy, N)) == counted, name


@dataclass(frozen=True, kw_only=True)
class Longest(Strategy):
    """The longer of the two predictions."""

    guidance_scale: Scale = 1.0

    def __call__(self, latents, step, predict):
        u, c = predict("null", "concept")
        return torch.where(u.norm() > c.norm(), u, c) + 0.1 * c**2


def test_what_is_no_mixture_is_said_to_be_none():
    steps = guided_steps(Longest(), N)
    assert all(step.inside is None and step.evaluations == 2 for step in steps)
    assert "no fixed mixture" in texts(figures.strategy_diagram(Longest(), N))


def test_the_formula_names_the_null_prediction_of_the_same_weights():
    mixed = resolved("mixed", superclass_weights="original")
    assert "ε̂ = u + 2 (c−u) + 2 (s⁰−u⁰)" in texts(figures.strategy_diagram(mixed, N))
    domain = resolved("domain", guidance_scale=3)
    assert "ε̂ = u + 3 (c−u) − 2 (u⁰−u)" in texts(figures.strategy_diagram(domain, N))


def test_relative_and_unfitting_parameters_are_refused():
    with pytest.raises(UserError, match="must be numbers"):
        guided_steps(make_strategy("mixed"), N)
    with pytest.raises(UserError, match="at most the number of steps"):
        guided_steps(resolved("switching", switch_step=N + 1), N)
    with pytest.raises(UserError, match="at least one strategy"):
        figures.time_bars({}, N)


def columns(figure):
    """The boxes of the time bar by their step: (color, height), from the foot up."""
    found = {}
    for box in figure.axes[-1].patches:
        if isinstance(box, Rectangle):
            look = to_hex(box.get_facecolor()).upper(), round(box.get_height(), 3)
            found.setdefault(round(box.get_x()), []).append((box.get_y() + box.get_height(), *look))
    return {step: [look for _, *look in sorted(boxes, reverse=True)] for step, boxes in found.items()}


def test_the_bar_has_a_box_for_every_scale():
    orange, gray = BRANCH_COLORS["concept"], BRANCH_COLORS["superclass"]
    bar = columns(figures.time_bars({"mine": resolved("switching", switch_step=2)}, N))
    assert [bar[step][0][0] for step in range(N)] == [gray] * 2 + [orange] * 3
    assert {box[1] for boxes in bar.values() for box in boxes} == {0.5}
    bar = columns(figures.time_bars({"mine": resolved("mixed", concept_scale=3, superclass_scale=1)}, N))
    assert all(boxes == [[orange, 0.375], [gray, 0.125]] for boxes in bar.values())


@pytest.mark.parametrize("name", list_strategies())
def test_every_strategy_has_a_diagram(name):
    shown = texts(figures.strategy_diagram(resolved(name), N))
    assert ("ε̂ = u" in shown) != ("no fixed mixture" in shown)
    inside = {"tea": "text of the concept prompt moved", "mindiff": "suppressed beside the subject"}
    for word, owner in {"mask": "masked", "refinement": "profusion", "copied": "photoswap"}.items():
        assert (word in shown) == (name == owner)
    for owner, words in inside.items():
        assert (words in shown) == (name == owner) and (name != owner or "c*" in shown)


def test_a_long_schedule_shows_its_first_and_its_last_mixture():
    strategy = replace(resolved("mixed"), concept_scale=(1.0, 2.0, 3.0, 4.0, 5.0))
    shown = texts(figures.strategy_diagram(strategy, N))
    assert "step 0" in shown and "step 4" in shown and "step 2" not in shown
