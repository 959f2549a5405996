"""A search keeps its budget, survives a kill, and refuses what it can't mean."""

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch
from tiny import save_pictures
from tiny_clip import save_tiny_clip
from tqdm.auto import tqdm

from persongen_lib.cli.main import main
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.store import Store
from persongen_lib.sampling import make_strategy
from persongen_lib.sampling.engine.steps import guided_steps
from persongen_lib.study import Cell, Search, run_search
from persongen_lib.study.search_space import STARTS, cost_of_base, longest_run, parameters_of, space
from persongen_lib.study.translation import translated

BUDGET = 8


@pytest.fixture(scope="module")
def search(tmp_path_factory, model):
    """A search on the folder `rex` with a tiny model, scored by a tiny CLIP."""
    folder = tmp_path_factory.mktemp("search")
    save_pictures(folder / "rex")
    save_tiny_clip(folder / "clip")
    cell = Cell(
        concept=str(folder / "rex"), class_name="dog", strategy="base", backbone=str(model),
        prompts="a photo of {} in the snow", seeds=0, method="lora", method_parameters={"prior_weight": 0},
        fine_tune_steps=1, metrics=["clip"], models={"clip": f"local-dir:{folder / 'clip'}"},
    )  # fmt: skip
    return Search(cells=(cell,), evaluations=BUDGET, text="clip_text", identity="clip_image")


def run(search, runs, trials):
    return pd.read_parquet(run_search(search, Runtime.at(runs, "cpu"), trials))


def test_a_killed_search_ends_with_the_same_trials(search, tmp_path):
    trials = len(STARTS) + 1
    whole = run(search, tmp_path / "whole", trials)
    shutil.copytree(tmp_path / "whole/finetune", tmp_path / "killed/finetune")

    def work():
        tqdm.set_lock(threading.RLock())  # forks share tqdm's own, which a killed one may hold
        torch.set_num_threads(1)
        run(search, tmp_path / "killed", trials)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    deadline = time.monotonic() + 60
    while len(Store(tmp_path / "killed").finished("sample")) < len(STARTS) and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (journal,) = tmp_path.glob("killed/search/*/journal.log")
    before = journal.read_bytes().count(b"num_steps")
    with open(journal, "ab") as file:
        file.write(b'{"op_code": 4, "st')  # a line that was cut off
    pd.testing.assert_frame_equal(run(search, tmp_path / "killed", trials), whole)
    assert len(STARTS) - 1 <= before < journal.read_bytes().count(b"num_steps") == trials
    assert whole["trial"].tolist() == list(range(trials)) and whole["parameters"].is_unique
    assert len(Store(tmp_path / "killed").finished("sample")) == trials
    for _, trial in whole.iterrows():
        made = make_strategy("searched", **json.loads(trial["parameters"])).resolved(7.0, trial["num_steps"])
        cost = sum(step.evaluations for step in guided_steps(made, trial["num_steps"]))
        assert trial["evaluations"] == cost and BUDGET - 4 < cost <= BUDGET
    text, identity, front = whole["clip_text"], whole["clip_image"], whole["front"]
    for k in whole.index:
        beaten = (text >= text[k]) & (identity >= identity[k]) & ((text > text[k]) | (identity > identity[k]))
        assert front[k] == (not beaten.any())
    for other in (replace(search, seed=1), replace(search, evaluations=9)):
        run(other, tmp_path / "whole", 1)
    assert len(list(tmp_path.glob("whole/search/*/search.parquet"))) == 3
    journal.write_text("{}\n")
    with pytest.raises(UserError, match=r"journal.log is damaged: remove it to search anew"):
        run(search, tmp_path / "killed", trials)


def test_every_choice_has_as_many_steps_as_the_budget_pays_for():
    import optuna

    def cost(point, num_steps):
        made = make_strategy("searched", **parameters_of(point)).resolved(3.5, num_steps)
        return sum(step.evaluations for step in guided_steps(made, num_steps))

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for point in (*STARTS, *(study.ask(space()).params for _ in range(2))):
        found = longest_run(parameters_of(point), 3.5, 12)
        assert cost(point, found) <= 12 < min(cost(point, more) for more in range(found + 1, 13))
    assert [longest_run(parameters_of(point), 3.5, 50) for point in STARTS] == [25, 16, 17, 25]
    with pytest.raises(UserError, match="1 network evaluations per image do not pay for one step"):
        longest_run(parameters_of(STARTS[0]), 3.5, 1)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cells": ("dog",)}, "give a Cell, such as"),
        ({"cells": ()}, "a search needs at least one concept, and one backbone"),
        ({"evaluations": 7}, "budget of network evaluations per image must be from 8 to 1000, not 7"),
        ({"evaluations": 1001}, "budget of network evaluations per image must be a whole number"),
        ({"evaluations": 8.5}, "budget of network evaluations per image must be a whole number"),
        ({"text": "nosuch"}, "unknown measure to search for: nosuch; known: prompt_right"),
        ({"text": "leak"}, "unknown measure to search for: leak"),
        ({"text": "clip_image"}, "for two measures, but both are clip_image"),
        ({"seed": -1}, "the seed must be one whole number"),
    ],
)
def test_wrong_searches_are_refused(search, changes, why):
    with pytest.raises(UserError, match=why):
        replace(search, **changes)


def test_knots_are_translated_to_another_model():
    given = {"concept_knots": [0.35, 3.5], "superclass_knots": [1.75], "switch_step": 5}
    option = {"label": "found", "strategy": "searched", "parameters": json.dumps(given), "num_steps": 25}
    where = {"concept": "dog", "template": "a photo of a {}", "backbone": "micro"}
    table = pd.DataFrame([{**option, **where, "evaluations": 75}])
    found = json.loads(translated(table, "sd2")["parameters"].iloc[0])
    assert (found["concept_knots"], found["superclass_knots"]) == ([0.7, 7.0], [3.5])
    assert found["switch_step"] == 10


def test_cells_that_do_not_belong_together_are_refused(search):
    (cell,) = search.cells
    with pytest.raises(UserError, match="the concept .* is given twice"):
        replace(search, cells=(cell, cell))
    with pytest.raises(UserError, match="one backbone for all of them"):
        replace(search, cells=(cell, replace(cell, concept="cat2", backbone="micro")))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--trials", "0"], "the number of trials must be a whole number from 1"),
        (["--evaluations", "3"], "must be from 8 to 1000, not 3"),
        (["--concepts", "nobody"], "unknown concept 'nobody'"),
        (["--concepts", "dog", "dog"], "the concept 'dog' is given twice"),
        (["--prompts", "nowhere"], "no prompts in 'nowhere'"),
        (["--param", "prior_weight"], "name=value"),
        (["--output", "table.txt"], "must end with .csv or .parquet"),
        (["--storage", "sqlite:///x.db"], "unrecognized arguments"),
    ],
)
def test_wrong_options_are_one_sentence(tmp_path, capsys, options, why):
    assert main(["search", "--runs", str(tmp_path / "runs"), "--device", "cpu", *options]) == 2
    error = capsys.readouterr().err
    assert why in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("backbone", "evaluations"), [("micro", 50), ("sd2", 100), ("flux-schnell", 4)])
def test_the_usual_budget_is_what_base_sampling_costs(backbone, evaluations):
    assert cost_of_base(backbone) == evaluations
