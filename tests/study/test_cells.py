"""Every value of a cell has its type, before anything is read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import save_pictures, tiny_pipeline

from persongen_lib import load_backbone, sample
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.study.cell import Cell
from persongen_lib.study.job import resolve
from persongen_lib.study.run import run_cell

pytestmark = pytest.mark.usefixtures("short_strips")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"concept": 7}, "concept must be"),
        ({"concept": ""}, "concept must be"),
        ({"strategy": None}, "strategy must be"),
        ({"strategy": "mixd"}, "unknown strategy"),
        ({"strategy": ["mixed"]}, "strategy must be"),
        ({"backbone": Path("micro")}, "backbone must be"),
        ({"loading": "fp16"}, "loading must be names with values"),
        ({"loading": {"revision": "main"}}, "unknown option of loading: revision; known: original, variant"),
        ({"loading": {"variant": 16}}, "variant must be a name such as 'fp16', not 16"),
        ({"loading": {"vae": 7}}, "the vae must be the path of a folder, not 7"),
        ({"loading": {"guidance": -1}}, "guidance must be a number from 0"),
        ({"method": 7}, "method must be"),
        ({"parameters": "guidance_scale=3"}, "parameters must be names with values"),
        ({"parameters": {3: 4}}, "parameters must be names with values"),
        ({"parameters": {"guidance_scale": "high"}}, "guidance_scale"),
        ({"prompts": None}, "prompts must be"),
        ({"prompts": 7}, "prompts must be"),
        ({"prompts": []}, "prompts must be"),
        ({"prompts": ["a {}", "a {}"]}, "the prompt 'a {}' is given twice"),
        ({"seeds": {0: 1}}, "seeds must be"),
        ({"seeds": b"01"}, "seeds must be"),
        ({"seeds": None}, "seeds must be"),
        ({"num_steps": "3"}, "num_steps must be"),
        ({"class_name": 7}, "class_name must be"),
        ({"token": ""}, "token must be"),
        ({"method_parameters": [("rank", 4)]}, "method_parameters must be"),
        ({"fine_tune_steps": 1.5}, "fine_tune_steps must be"),
        ({"fine_tune_seed": "0-3"}, "fine_tune_seed must be one whole number"),
        ({"fine_tune_seed": [0, 1]}, "fine_tune_seed must be one whole number"),
        ({"label": "mixed"}, "begins with the name of another strategy"),
        ({"label": "one\ntwo"}, "label must be one line"),
        ({"metrics": "nosuch"}, "metrics must be a list of names"),
        ({"metrics": ["nosuch"]}, "unknown metric: nosuch; known: clip"),
        ({"metrics": []}, "metrics must be a list of names"),
        ({"metrics": ["clip", "clip"]}, "the metric 'clip' is given twice"),
        ({"models": "clip"}, "models must be names with texts"),
        ({"models": {"nosuch": "x"}}, "unknown metric with a model to choose"),
        ({"models": {"clip": 7}}, "models must be names with texts"),
    ],
)
def test_a_value_of_another_type_is_refused(tmp_path, values, message):
    cell = Cell(**{"concept": "dog", "strategy": "base", **values})
    with pytest.raises(UserError, match=message) as told:
        run_cell(cell, tmp_path / "runs", device="cpu")
    assert "\n" not in str(told.value) and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("value", ["dog", {"concept": "dog"}, None])
def test_what_is_no_cell_is_refused(value):
    with pytest.raises(UserError, match="give a Cell"):
        resolve(value)


def test_a_label_may_begin_with_its_own_strategy():
    named = Cell(concept="dog", strategy="mixed", label="mixed, strong")
    assert resolve(named).sample == resolve(Cell(concept="dog", strategy="mixed")).sample


def test_what_a_model_is_loaded_with_is_part_of_its_runs(model, tmp_path):
    from diffusers import StableDiffusionPipeline

    save_pictures(tmp_path / "rex")
    tiny_pipeline(seed=7).save_pretrained(tmp_path / "other")
    plain = Cell(
        concept=str(tmp_path / "rex"), class_name="dog", strategy="base", backbone=str(model), prompts="a {}",
        seeds=0, num_steps=2, fine_tune_steps=1, method="lora", method_parameters={"prior_weight": 0},
        metrics=["clip"], models={"clip": f"local-dir:{DATA / 'models' / 'micro-clip'}"},
    )  # fmt: skip
    assert replace(plain, loading={"vae": None}) != plain
    assert resolve(replace(plain, loading={"vae": None})).sample == resolve(plain).sample
    assert "loading" not in resolve(plain).sample.to_dict()
    other = replace(plain, loading={"vae": tmp_path / "other"})
    ours, theirs = (run_cell(cell, tmp_path / "runs", device="cpu") for cell in (plain, other))
    assert "loading" not in ours.table and set(theirs.table["loading"]) == {f'{{"vae":"{tmp_path}/other"}}'}
    assert ours.job.sample.hash != theirs.job.sample.hash
    pipe = StableDiffusionPipeline.from_pretrained(model)
    pipe.vae = type(pipe.vae).from_pretrained(tmp_path / "other" / "vae")
    result = sample(
        load_backbone(pipe, adapter=theirs.adapter), theirs.job.sample.strategy, "a {}", "sks", "dog", 2, [0]
    )
    found = np.asarray(Image.open(next((theirs.sample / "images").iterdir())), int)
    assert np.abs(found - np.asarray(result.images[0], int)).max() <= 1
    assert np.abs(found - np.asarray(Image.open(next((ours.sample / "images").iterdir())), int)).max() > 1
