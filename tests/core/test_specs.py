import json

import numpy as np
import pytest

from persongen_lib.core.checks import check_seed, check_steps, check_template, parse_seeds
from persongen_lib.core.errors import UserError
from persongen_lib.core.hashing import canonical_json
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.sampling.engine.specs import SampleSpec, sample_spec
from persongen_lib.sampling.engine.strategy import make_strategy

FINE_TUNE = FineTuneSpec(
    "micro", "dreambooth", "rex", "dog", "sks", "0" * 12, 450, 0, {"learning_rate": 1e-3}
)
STRATEGY = make_strategy("mixed", concept_scale=3.5, superclass_scale=2)
SAMPLE = SampleSpec(
    FINE_TUNE, "micro", STRATEGY, "sks", "dog", ("a photo of {}",), (0, 1), num_steps=50, scheduler="ddim"
)


def test_a_spec_survives_json_and_keeps_its_hash():
    again = SampleSpec.from_dict(SAMPLE.to_dict())
    assert again == SAMPLE
    assert again.hash == SAMPLE.hash and len(SAMPLE.hash) == 12


def test_equal_numbers_and_key_order_do_not_change_the_hash():
    assert canonical_json({"a": 7, "b": (1.0,)}) == canonical_json({"b": [1], "a": 7.0}) == '{"a":7,"b":[1]}'


def test_any_field_changes_the_hash():
    one = SAMPLE.to_dict()
    for name, value in {"seeds": [0, 2], "num_steps": 49, "weights": "x", "fine_tune": None}.items():
        assert SampleSpec.from_dict({**one, name: value}).hash != SAMPLE.hash


def test_a_spec_holds_numbers_alone():
    values = SAMPLE.to_dict()
    with pytest.raises(UserError, match="concept_scale of mixed is '50%'"):
        SampleSpec.from_dict({**values, "parameters": {**values["parameters"], "concept_scale": "50%"}})


def test_unknown_and_missing_keys_are_refused_with_their_names():
    with pytest.raises(UserError, match="sedes.*known:.*seeds"):
        SampleSpec.from_dict({**SAMPLE.to_dict(), "sedes": 1})
    with pytest.raises(UserError, match="lacks concept_digest"):
        FineTuneSpec.from_dict({k: v for k, v in FINE_TUNE.to_dict().items() if k != "concept_digest"})


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0-3", (0, 1, 2, 3)),
        ("0,5,7", (0, 5, 7)),
        ("4, 0-1", (4, 0, 1)),
        (3, (3,)),
        ([2, 1], (2, 1)),
        (np.int64(3), (3,)),
        (np.arange(2), (0, 1)),
    ],
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["", "a", "3-1", "-1", "1,1", "0-99999999999", [], [1.5], [True], None, True, [-1]]
)
def test_wrong_seeds(text):
    with pytest.raises(UserError, match="seeds must be"):
        parse_seeds(text)


@pytest.mark.parametrize("template", ["a photo", "{} and {}", "a {dog}", "a {} }", 3])
def test_wrong_templates(template):
    with pytest.raises(UserError, match="exactly one {}"):
        check_template(template)


@pytest.mark.parametrize("steps", [0, -1, 1001, 2.5, "5", True])
def test_wrong_steps(steps):
    with pytest.raises(UserError, match="number of steps"):
        SampleSpec.from_dict({**SAMPLE.to_dict(), "num_steps": steps})


@pytest.mark.parametrize("whole", [np.int64, np.int32, np.uint8])
def test_numbers_of_numpy_are_numbers(whole):
    def specs(number, real):
        tuned = FineTuneSpec("micro", "dreambooth", "rex", "dog", "sks", "", number(7), number(3))
        sampled = sample_spec(
            "masked", ["a {}"], number(2), number(5), tuned, height=number(64), width=number(64),
            guidance_rescale=real(0.5), switch_step=number(1), concept_scale=real(1.5),
        )  # fmt: skip
        return tuned, sampled

    plain, given = specs(int, float), specs(whole, np.float32)
    assert given == plain
    assert [json.dumps(one.to_dict()) for one in given] == [json.dumps(one.to_dict()) for one in plain]
    assert [one.hash for one in given] == [one.hash for one in plain]
    for value in (np.bool_(True), np.float64(2.0), np.int64(-1), np.array([1])):
        with pytest.raises(UserError, match="whole number"):
            check_steps(value)
        with pytest.raises(UserError, match="whole number"):
            check_seed(value)
