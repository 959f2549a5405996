"""Schedules that a search finds: limits in which they are other strategies, what they cost, and what is refused."""

import json

import pandas as pd
import pytest
import torch
from originals import with_original
from tiny import tiny_backbone

from persongen_lib.backbones.defaults import sampling_defaults
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.sampling import make_strategy, sample
from persongen_lib.sampling.engine.steps import guided_steps

STEPS = 5
C, S = ("concept", "personalized"), ("superclass", "personalized")
CONSTANT = {"concept_knots": [2.0], "superclass_knots": [1.5, 1.5, 1.5]}
FIRST = {"initial_concept_scale": 4, "initial_superclass_scale": 1}
MIXED = {"concept_scale": 2.0, "superclass_scale": 1.5}


@pytest.fixture(scope="module", params=["sd", "pixart"])
def backbone(request):
    backbone = tiny_backbone(family=request.param)
    with with_original(backbone, make_strategy("domain")):
        yield backbone


def run(backbone, name, **parameters):
    made = make_strategy(name, **parameters)
    return sample(
        backbone,
        made,
        "a photo of {} in the snow",
        "sks",
        "dog",
        STEPS,
        [0, 1],
        output="latents",
        scheduler="ddim",
    )


@pytest.mark.parametrize("more", [{}, {"superclass_weights": "original"}, {"reference_prompt": "empty"}])
@pytest.mark.parametrize(
    ("given", "limit", "its"),
    [
        (CONSTANT, "mixed", MIXED),
        ({"concept_knots": [3.0], "superclass_knots": [0.0]}, "base", {"guidance_scale": 3.0}),
        ({"concept_knots": [0.0], "superclass_knots": [3.0]}, "superclass", {"guidance_scale": 3.0}),
        (
            {"concept_knots": [3.0], "superclass_knots": [0.0], "switch_step": 2, "initial_superclass_scale": 3.0},
            "switching",
            {"guidance_scale": 3.0, "switch_step": 2},
        ),
        (
            {**CONSTANT, "switch_step": 2, "initial_superclass_scale": 3.5},
            "multistage",
            {**MIXED, "switch_step": 2},
        ),
        (
            {**CONSTANT, "switch_step": 2, "quantile": 0.7, "initial_superclass_scale": 3.5},
            "masked",
            {**MIXED, "switch_step": 2, "quantile": 0.7, "initial_superclass_scale": 3.5},
        ),
        (
            {**CONSTANT, **FIRST, "switch_step": "40%", "quantile": 0.5},
            "masked",
            {**MIXED, **FIRST, "switch_step": 2, "quantile": 0.5},
        ),
    ],
)  # fmt: skip
def test_limits(backbone, given, limit, its, more):
    ours = run(backbone, "searched", **given, **more)
    theirs = run(backbone, limit, **its, **({} if limit == "base" else more))
    torch.testing.assert_close(ours.latents, theirs.latents, rtol=1e-5, atol=1e-5)
    assert ours.evaluations == theirs.evaluations


def test_scales_are_straight_lines_between_the_knots(backbone):
    knots = {"concept_knots": [0.0, 4.0], "superclass_knots": [1.0, 3.0, 0.0]}
    schedule = {"concept_scale": [0, 1, 2, 3, 4], "superclass_scale": [1, 2, 3, 1.5, 0]}
    ours, theirs = run(backbone, "searched", **knots), run(backbone, "mixed", **schedule)
    torch.testing.assert_close(ours.latents, theirs.latents, rtol=1e-5, atol=1e-5)
    assert ours.evaluations == theirs.evaluations == 1 + 3 + 3 + 3 + 2


@pytest.mark.parametrize(
    "given",
    [
        {"concept_knots": [0, 0, 3], "superclass_knots": [3.0, 2.0, 0]},
        {"concept_knots": [0, 0, 3], "superclass_knots": [3.0, 2.0, 0], "quantile": 0.6},
        {"concept_knots": [2.0], "superclass_knots": [2.0, 0], "quantile": 0.6, "switch_step": 2},
        {"concept_knots": [2.0], "superclass_knots": [1.0, 0], "superclass_weights": "original"},
    ],
)
def test_what_has_no_weight_is_not_evaluated(given):
    backbone, rows = tiny_backbone(), []
    strategy = make_strategy("searched", **given).resolved(3.0, STEPS)
    with with_original(backbone, strategy):
        handle = backbone.modules["network"].register_forward_hook(
            lambda _, inputs, output: rows.append(len(output[0]))
        )
        spent = run(backbone, "searched", **{**given, "initial_superclass_scale": 3.0}).evaluations
        handle.remove()
    steps = guided_steps(strategy, STEPS)
    assert spent == sum(rows) / 2 == sum(step.evaluations for step in steps)
    for step in steps:
        parts = [{**step.inside, **(step.outside or {})}, step.inside]
        wanted = {branch for part in parts for branch, scale in part.items() if scale}
        nulls = {weights for _, weights in wanted}
        assert step.evaluations <= len(wanted) + len(nulls)


def test_a_schedule_does_not_depend_on_the_number_of_steps():
    made = make_strategy(
        "searched", concept_knots=["0%", "100%"], superclass_knots="1.5, 50%", switch_step="25%"
    )
    assert made.parameters()["concept_knots"] == ("0%", "100%")
    few, many = (guided_steps(made.resolved(4.0, steps), steps) for steps in (5, 9))
    assert [step.inside for step in few] == [step.inside for step in many[::2]]
    assert few[2].inside == {C: 2, S: 1.75} and few[0].inside == {S: 4}
    assert make_strategy("searched", **made.parameters()) == made
    assert not made.needs_original and make_strategy("searched", superclass_weights="original").needs_original


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"concept_knots": []}, "concept_knots of searched must be 1 to 16 numbers, or shares"),
        ({"concept_knots": ""}, "concept_knots of searched must be 1 to 16 numbers"),
        ({"superclass_knots": [1.0, float("nan")]}, "superclass_knots of searched must be 1 to 16 numbers"),
        ({"superclass_knots": [1.0, float("inf")]}, "superclass_knots of searched must be 1 to 16 numbers"),
        ({"superclass_knots": [[1.0], [2.0]]}, "superclass_knots of searched must be 1 to 16 numbers"),
        ({"superclass_knots": [1.0, True]}, "superclass_knots of searched must be 1 to 16 numbers"),
        ({"superclass_knots": "1, many"}, "superclass_knots of searched must be 1 to 16 numbers"),
        ({"superclass_knots": {"a": 1}}, "superclass_knots of searched must be 1 to 16 numbers"),
        ({"superclass_knots": [1.0] * 17}, "superclass_knots of searched must be 1 to 16 numbers"),
        ({"concept_knots": [1.0, 1001.0]}, "concept_knots of searched must be from -1000 to 1000"),
        ({"quantile": 1.5}, "quantile of searched must be a number from 0 to 1"),
        ({"switch_step": "120%"}, "switch_step of searched must be a whole number"),
    ],
)
def test_wrong_values_are_refused(parameters, why):
    with pytest.raises(UserError, match=why):
        make_strategy("searched", **parameters)


def test_the_defaults_of_micro_are_the_best_trial_of_the_shipped_search():
    trials = pd.read_parquet(DATA / "results" / "search.parquet")
    best = trials.loc[(trials["identity"] + trials["prompt_right"]).idxmax()]
    assert (
        best["front"]
        and json.loads(best["parameters"]) == sampling_defaults("micro")["strategies"]["searched"]
    )
