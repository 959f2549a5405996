"""The usual values of every method on the backbones that have a short name."""

import json
from pathlib import Path

import pytest
from tiny import save_pictures

from persongen_lib.data import load_concept
from persongen_lib.finetune import fine_tune_spec
from persongen_lib.finetune.engine.defaults import _overrides

RECORDED = json.loads((Path(__file__).parent / "usual_parameters.json").read_text())
"""num_steps and parameters of "backbone method", recorded before the defaults became relative."""


@pytest.mark.parametrize("case", RECORDED)
def test_the_usual_parameters_are_the_recorded_ones(case, tmp_path):
    backbone, method = case.split()
    spec = fine_tune_spec(load_concept(save_pictures(tmp_path / "rex"), "dog"), backbone, method)
    assert {"num_steps": spec.num_steps, **spec.parameters} == RECORDED[case]


def test_class_pictures_follow_the_familys_sampling(tmp_path, monkeypatch):
    usual = {"num_steps": 31, "guidance_scale": 2.5}
    monkeypatch.setattr("persongen_lib.finetune.engine.defaults.sampling_defaults", lambda _: usual)
    concept = load_concept(save_pictures(tmp_path / "rex"), "dog")
    made = fine_tune_spec(concept, "sdxl", "lora").parameters
    assert (made["class_num_steps"], made["class_guidance_scale"]) == (31, 2.5)
    made = fine_tune_spec(concept, "micro", "lora").parameters
    assert (made["class_num_steps"], made["class_guidance_scale"]) == (31, 4.0)


def test_an_override_of_the_short_name_comes_before_that_of_the_family(tmp_path, monkeypatch):
    rates = {
        name: {"methods": {"lora": {"learning_rate": rate}}} for name, rate in [("sd", 0.5), ("sd2", 0.25)]
    }
    monkeypatch.setattr("persongen_lib.finetune.engine.defaults._overrides", lambda: rates)
    concept = load_concept(save_pictures(tmp_path / "rex"), "dog")
    found = [fine_tune_spec(concept, name, "lora").parameters["learning_rate"] for name in ("sd2", "micro")]
    assert found == [0.25, 0.5]


def test_overrides_name_only_what_exists():
    from persongen_lib.backbones import FAMILIES, list_backbones
    from persongen_lib.finetune import list_methods, make_method

    known = {*list_backbones(), *(family.family for family in FAMILIES.values())}
    assert set(_overrides()) <= known
    for about in _overrides().values():
        assert set(about) <= {"class_pictures", "training", "methods", "like"}
        assert about.get("like", "micro") in _overrides()
        shared = {**about.get("class_pictures", {}), **about.get("training", {})}
        make_method("dreambooth", **shared)
        assert set(about.get("methods", {})) <= set(list_methods())
        for method, values in about.get("methods", {}).items():
            parameters = {name: value for name, value in values.items() if name != "num_steps"}
            make_method(method, **{**shared, **parameters})
