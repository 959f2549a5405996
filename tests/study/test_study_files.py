"""What a study file says: nothing counts twice, nothing has another type, and it includes study files only."""

import pickle
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny import save_pictures

from persongen_lib.core.errors import UserError
from persongen_lib.study.grid import load_study


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"concepts": ["dog", "dog"]}, "the concept 'dog' is given twice"),
        ({"concepts": ["dog", "./data/concepts/dog"]}, "'dog' and './data/concepts/dog' .* are the same"),
        ({"backbones": ["micro", "micro"]}, "the backbone 'micro' is given twice"),
        ({"backbones": ["MODEL", "MODEL/"]}, "the backbones .* are the same"),
        ({"prompts": ["a {}", "the {}", "a {}"]}, "the prompt 'a {}' is given twice"),
        (
            {"strategies": ["base", {"strategy": "base", "label": "base again"}]},
            "the strategies 'base' and 'base again' in .* are the same",
        ),
        (
            {"strategies": [{"strategy": "mixed", "grid": {"concept_scale": [1, 1.0]}}]},
            "'mixed concept_scale=1' and 'mixed concept_scale=1.0' .* are the same",
        ),
        ({"prompts": ["a {}", " a  {}"]}, "the prompt 'a {}' is given twice"),
        ({"seeds": [1, 1]}, "seeds must be distinct"),
        ({"seeds": "0-3,2"}, "seeds must be distinct"),
        ({"metrics": ["clip", "clip"]}, "the metric 'clip' is given twice"),
        ({"fine_tunings": [{}, {}]}, "the fine-tuning .* is given twice"),
        ({"fine_tunings": [{}, {"method": "dreambooth", "seed": 0}]}, "the fine-tuning .* is given twice"),
        (
            {"fine_tunings": [{"method": "lora"}, {"method": "lora", "parameters": {"rank": "RANK"}}]},
            r"two fine-tunings .* are the same \(lora, .* seed 0\)",
        ),
        (
            {"strategies": [{"strategy": "base", "label": "mixed"}]},
            "begins with the name of another strategy",
        ),
        ({"strategies": [{"strategy": "base", "label": "mixed, 2"}]}, "begins with the name of another"),
        (
            {"strategies": [{"strategy": "base", "label": 7}, {"strategy": "base", "label": "7"}]},
            "are called '7'",
        ),
        ({"strategies": [{"strategy": "base", "label": ""}]}, "label must be one line of text"),
        ({"strategies": [{"strategy": "base", "grid": {"guidance_scale": [3, 3]}}]}, "are called"),
        (
            {
                "strategies": [
                    {"strategy": "base", "parameters": {"guidance_scale": 1}, "grid": {"guidance_scale": [2]}}
                ]
            },
            "guidance_scale of base .* is in its grid and outside of it",
        ),
        (
            {"strategies": [{"strategy": "base", "num_steps": 5, "grid": {"num_steps": [5, 9]}}]},
            "num_steps of base .* is in its grid and outside of it",
        ),
        ({"strategies": ["base", {"strategy": "base", "num_steps": 3}]}, "are called 'base'"),
        ({"strategies": [{"strategy": "base", "num_steps": 0}]}, "steps"),
        (
            {"strategies": [{"strategy": "base", "grid": {name: list(range(50)) for name in "abc"}}]},
            "at most 100000",
        ),
        ({"strategies": [["base"]]}, "a strategy .* must be names with values"),
        ({"strategies": 7}, "strategies .* must be a list"),
        ({"fine_tunings": [{"seed": "0-3"}]}, "fine_tune_seed must be one whole number"),
        ({"fine_tunings": [{"seed": True}]}, "fine_tune_seed must be one whole number"),
        ({"fine_tunings": [{"seed": -1}]}, "the seed must be one whole number"),
        ({"fine_tunings": [{"method": ["lora"]}]}, "method must be the name"),
        ({"fine_tunings": [{"num_steps": 2.5}]}, "fine_tune_steps must be a whole number"),
        ({"fine_tunings": [{"parameters": [1]}]}, "method_parameters must be names with values"),
        ({"concepts": [7]}, "concepts .* must be texts, not 7"),
        ({"concepts": [" "]}, "concept must be the name or the folder"),
        ({"backbones": [["micro"]]}, "backbones .* must be texts"),
        ({"loading": ["fp16"]}, "loading must be names with values"),
        ({"loading": {"dtype": "fp16"}}, "unknown option of loading: dtype"),
        ({"prompts": 7}, "prompts must be a name, a file or a template"),
        ({"prompts": []}, "prompts must be"),
        ({"prompts": ["a {}", 7]}, "prompts must be"),
        ({"prompts": {"a {}": 1}}, "prompts must be"),
        ({"seeds": {"a": 1}}, "seeds must be"),
        ({"seeds": 1.5}, "seeds must be"),
        ({"num_steps": "3"}, "num_steps must be a whole number"),
        ({"num_steps": True}, "num_steps must be a whole number"),
        ({"clip_model": 7}, "models must be names with texts"),
        ({"description": ["x"]}, "the description .* must be a text"),
    ],
)
def test_wrong_values_are_refused(write_study, model, tmp_path, changes, message):
    from persongen_lib.finetune.engine.method import make_method

    named = {"MODEL": str(model), "MODEL/": f"{model.parent}/./{model.name}"}
    if "backbones" in changes:
        changes = {"backbones": [named.get(str(name), name) for name in changes["backbones"]]}
    for tuning in changes.get("fine_tunings", ()):
        if isinstance(tuning.get("parameters"), dict):
            tuning["parameters"] = {"rank": make_method("lora").rank}
    with pytest.raises(UserError, match=message) as told:
        load_study(write_study(**changes))
    assert "\n" not in str(told.value) and len(str(told.value)) < 600


@pytest.mark.parametrize("text", ["prompts: null", "seeds:", "metrics: ~", "description:"])
def test_values_that_are_missing_are_refused(write_study, text):
    path = write_study()
    path.write_text(
        "\n".join(line for line in path.read_text().splitlines() if not line.startswith("seeds"))
        + f"\n{text}\n"
    )
    with pytest.raises(UserError, match="a value is missing|is given twice"):
        load_study(path)


def test_four_seeds_of_a_fine_tuning_are_four_fine_tunings(write_study):
    study = load_study(write_study(fine_tunings=[{"seed": seed} for seed in range(4)]))
    assert [job.fine_tune.seed for job in study.jobs] == [0, 1, 2, 3]
    assert len({job.fine_tune.hash for job in study.jobs}) == 4


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ("[all.yaml]", "which includes studies itself"),
        ("[other.yaml]", "which includes studies itself"),
        ("[../small.yaml]", "give a name from .*, or a .yaml file in its folder"),
        ("[/etc/passwd]", "give a name from"),
        ("[secret.txt]", "give a name from"),
        ("[none.yaml]", "there is no study"),
        ("[full]", "which includes studies itself"),
        ("[small.yaml, small.yml]", "have one name"),
        ("[small.yaml, small.yaml]", "is given twice"),
        ("[7]", "include .* must be texts"),
        ("small.yaml", "include .* must be a list"),
    ],
)
def test_a_study_includes_study_files_only(write_study, tmp_path, include, message):
    shutil.copy(write_study(), tmp_path / "small.yml")
    (tmp_path / "secret.txt").write_text("password: 7")
    (tmp_path / "other.yaml").write_text("include: [all.yaml]")
    (tmp_path / "all.yaml").write_text(f"include: {include}")
    with pytest.raises(UserError, match=message) as told:
        load_study(tmp_path / "all.yaml")
    assert "password" not in str(told.value)


@pytest.mark.parametrize("name", ["none", "a\0b", "x" * 5000, ".", 7, None])
def test_what_names_no_study_is_refused(name):
    with pytest.raises(UserError, match=r"there is no study|a study is a name or a file"):
        load_study(name)


def test_a_job_holds_no_pixels(write_study, tmp_path):
    """It is measured as ray sends it; nothing is read back."""
    folder = save_pictures(tmp_path / "large", 0)
    for at in range(5):
        shade = Image.fromarray(np.full((1500, 1500, 3), 40 * at, np.uint8))
        shade.save(folder / f"{at}.jpg")
        (folder / "masks").mkdir(exist_ok=True)
        Image.new("L", (1500, 1500), 255).save(folder / "masks" / f"{at}.png")
    (folder / "concept.json").write_text('{"class_name": "dog", "kind": "live"}')
    (job,) = load_study(write_study(concepts=[str(folder)])).jobs
    assert len(pickle.dumps(job)) < 20_000
    assert [image.size for image in job.concept.images] == 5 * [(1500, 1500)]
    assert [mask.size for mask in job.concept.masks] == 5 * [(1500, 1500)]
    assert len(pickle.dumps(job)) < 20_000


def test_pictures_that_change_after_a_study_is_read_are_refused(write_study, tmp_path):
    (job,) = load_study(write_study()).jobs
    Image.new("RGB", (20, 20)).save(tmp_path / "rex" / "0.png")
    with pytest.raises(UserError, match="rex changed since they were first read"):
        list(job.concept.images)
    (tmp_path / "rex" / "0.png").unlink()
    with pytest.raises(UserError, match="rex are gone"):
        list(job.concept.images)


def test_the_cells_of_a_study_load_what_it_says(write_study, model):
    plain, other = load_study(write_study()), load_study(write_study(loading={"original": str(model)}))
    assert [job.fine_tune.loading for job in (*plain.jobs, *other.jobs)] == [{}, {"original": str(model)}]
    assert plain.jobs[0].fine_tune.hash != other.jobs[0].fine_tune.hash


def test_the_number_of_steps_may_be_a_strategys_own(tmp_path):
    file = tmp_path / "steps.yaml"
    entries = "[base, {strategy: base, grid: {num_steps: [7, 9]}}, {strategy: mixed, num_steps: 5}]"
    file.write_text(f"concepts: [dog]\nnum_steps: 3\nstrategies: {entries}\n", encoding="utf-8")
    found = {job.cell.label: job.sample.num_steps for job in load_study(file).jobs}
    assert found == {"base": 3, "base num_steps=7": 7, "base num_steps=9": 9, "mixed": 5}
