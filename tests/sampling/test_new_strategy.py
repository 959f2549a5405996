"""A strategy is one file: wherever strategies are listed, drawn, tested and studied, it is there."""

import importlib.util
import sys

import pytest
import yaml
from tiny import tiny_backbone

from persongen_lib.backbones import sampling_defaults
from persongen_lib.cli.main import main
from persongen_lib.core.paths import ROOT
from persongen_lib.figures import look
from persongen_lib.sampling import default_strategy, list_strategies, make_strategy, sample_spec, strategies
from persongen_lib.sampling.engine.strategy import STRATEGIES
from persongen_lib.study import load_study

FILE = '''"""Guidance in an interval of the steps: Kynkaanniemi et al., arXiv 2404.07724."""

from dataclasses import dataclass

from persongen_lib.core.parameters import Fraction, Scale, Steps, Total
from persongen_lib.sampling.engine.strategy import STRATEGIES, Strategy, combine, terms


@STRATEGIES.register("interval")
@dataclass(frozen=True, kw_only=True)
class Interval(Strategy):
    """`u + w (c - u)` between two steps, `c` alone before and after."""

    guidance_scale: Scale = Total(1)
    first_step: Steps = Fraction(0.1)
    last_step: Steps = Fraction(0.7)

    def __call__(self, latents, step, predict):
        inside = self.first_step <= step.index < self.last_step
        return combine(predict, terms(concept=self.guidance_scale if inside else 1.0))
'''


@pytest.fixture
def folder(tmp_path):
    """A folder with the strategy's file."""
    assert FILE.count("\n") <= 40
    place = tmp_path / "more_strategies"
    place.mkdir()
    (place / "interval.py").write_text(FILE)
    return place


@pytest.fixture
def interval(folder, monkeypatch):
    """The strategy, found in its folder."""
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(folder)])
    yield "interval"
    for known in (STRATEGIES._classes, STRATEGIES._orders):
        known.pop("interval", None)
    sys.modules.pop(f"{strategies.__name__}.interval", None)


def test_it_is_listed_after_the_others_and_in_the_help(interval, capsys):
    assert list_strategies()[-1] == interval and len(list_strategies()) == len(STRATEGIES._classes) == 19
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    assert interval in capsys.readouterr().out


@pytest.mark.parametrize(
    ("backbone", "values"),
    [("micro", (3.5, 3, 18)), ("sd2", (7, 5, 35)), ("sdxl", (5, 5, 35)), ("pixart", (4.5, 2, 14))],
)
def test_its_defaults_are_sensible_on_every_family(interval, backbone, values):
    spec = sample_spec(interval, ["a {}"], 0, backbone=backbone, class_name="dog")
    names = ("guidance_scale", "first_step", "last_step")
    assert spec.parameters == dict(zip(names, values, strict=True))
    assert default_strategy(interval, sampling_defaults(backbone)) == spec.strategy


def test_it_has_a_look_of_its_own_that_moves_no_other(monkeypatch, folder):
    before = {name: look(name) for name in list_strategies()}
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(folder)])
    try:
        assert "interval" in list_strategies()
        assert {name: look(name) for name in before} == before
        assert look("interval") not in before.values()
    finally:
        for known in (STRATEGIES._classes, STRATEGIES._orders):
            known.pop("interval", None)
        sys.modules.pop(f"{strategies.__name__}.interval", None)


def test_a_study_of_all_strategies_has_it(interval, tmp_path):
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump({"concepts": ["dog"], "strategies": "all", "num_steps": 25, "seeds": 0}))
    labels = [job.cell.name for job in load_study(path).jobs]
    assert labels == list(list_strategies()) and interval in labels


def test_the_tests_of_limits_batches_and_schedules_take_it_up(interval):
    found = importlib.util.spec_from_file_location("again", ROOT / "tests/sampling/test_strategies.py")
    tests = importlib.util.module_from_spec(found)
    found.loader.exec_module(tests)
    plain = make_strategy(interval).resolved(7, tests.STEPS)
    batches, schedules = (
        tests.test_a_picture_does_not_depend_on_its_batch,
        tests.test_a_constant_schedule_is_its_number,
    )
    assert all(interval in test.pytestmark[0].args[1] for test in (batches, schedules))
    for family in ("sd", "sd3"):
        backbone = tiny_backbone(family=family)
        batches(backbone, interval)
        schedules(backbone, lambda name, backbone=backbone: tests.run(backbone, plain), interval)
