"""The explorers without a browser: what they compute, remember, offer and refuse."""

import base64
import dataclasses
import io
import json
import re
import shlex
from argparse import ArgumentParser
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hostile import NAMES
from PIL import Image
from sample_run import noise
from tiny import save_pictures, tiny_pipeline

from persongen_lib import (
    Store,
    fine_tune_spec,
    list_strategies,
    load_backbone,
    load_concept,
    make_strategy,
    sample,
    sample_spec,
)
from persongen_lib.analysis.recommendation import Preferences, recommend
from persongen_lib.backbones import sampling_defaults
from persongen_lib.cli import recommend as recommend_cli
from persongen_lib.cli import sample as sample_cli
from persongen_lib.cli.arguments import parse_parameters
from persongen_lib.core.errors import UserError
from persongen_lib.core.parameters import Fraction, Scale, Steps, Total
from persongen_lib.core.runtime import Runtime
from persongen_lib.figures import look
from persongen_lib.finetune import finetune
from persongen_lib.sampling.engine.contact_sheets import open_picture, pack, picture_name
from persongen_lib.sampling.engine.run import run_sample
from persongen_lib.sampling.engine.specs import default_strategy
from persongen_lib.sampling.engine.strategy import STRATEGIES
from persongen_lib.sampling.strategies.base import Base
from persongen_lib.study.advice import sample_command
from persongen_lib.study.models import shared_backbone
from persongen_lib.trajectories import TrajectoryRecorder
from persongen_lib.widgets import (
    DecisionForm,
    ParetoExplorer,
    Plane,
    SamplingExplorer,
    Studio,
    gallery,
    slideshow,
    trajectory_viewer,
)
from persongen_lib.widgets.controls import parameter_controls
from persongen_lib.widgets.decision import YOURS, recommend_command
from persongen_lib.widgets.html import curves, sentence
from persongen_lib.widgets.sampling import fine_tunings
from persongen_lib.widgets.viewer import FILMS

SNOW = "a photo of a {} in the snow"
BEACH = "a photo of a {} on the beach"
STEPS = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny model, a folder of pictures, and a store with their fine-tuning of two steps."""
    folder = tmp_path_factory.mktemp("widgets")
    tiny_pipeline().save_pretrained(folder / "model")
    concept = load_concept(save_pictures(folder / "mine"), "dog")
    tuning = fine_tune_spec(concept, str(folder / "model"), "lora", num_steps=2, prior_weight=0)
    finetune(tuning, concept, Runtime(Store(folder / "runs"), "cpu"), validate=())
    return folder, tuning


@pytest.fixture
def rows(world):
    """Counts the network's rows."""
    folder, tuning = world
    network = shared_backbone(
        sample_spec("base", ["a {}"], 0, 1, tuning), Runtime.at(folder / "runs", "cpu")
    ).modules["network"]
    counted = []
    hook = network.register_forward_pre_hook(lambda module, args: counted.append(len(args[0])))
    yield counted
    hook.remove()


@pytest.fixture
def studio(world):
    return Studio(world[0] / "runs", "cpu", kept=2)


@pytest.fixture
def explorer(world, monkeypatch):
    monkeypatch.setattr("persongen_lib.widgets.sampling.list_concepts", lambda: ())
    folder, tuning = world
    return SamplingExplorer(
        str(folder / "mine"), [SNOW, BEACH], backbone=tuning.backbone, method="lora", class_name="dog",
        num_steps=STEPS, runs=folder / "runs", device="cpu",
    )  # fmt: skip


def decoded(html):
    """The pictures in some HTML, as arrays."""
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))), float) for one in found]


def close(one, other):
    return np.abs(one - np.asarray(other, float)).mean() < 6


def test_the_studios_pictures_are_those_of_sample(world, studio):
    folder, tuning = world
    spec = sample_spec("mixed", [SNOW], "3-4", STEPS, tuning, concept_scale=2.5)
    shown = studio(spec)
    backbone = load_backbone(
        tuning.backbone, adapter=Store(folder / "runs").find("finetune", tuning), device="cpu"
    )
    alone = sample(backbone, make_strategy("mixed", **spec.parameters), SNOW, "sks", "dog", STEPS, "3-4")
    assert all(np.array_equal(a, b) for a, b in zip(shown.images, alone.images, strict=True))
    np.testing.assert_allclose(shown.latents[:, -1], alone.latents, atol=2e-2)
    assert shown.evaluations == alone.evaluations == 3 * STEPS


def test_curves_agree_with_the_recorder_of_trajectories(world, studio):
    folder, tuning = world
    spec = sample_spec("mixed", [SNOW], [3], STEPS, tuning)
    shown = studio(spec)
    backbone, strategy = studio._encoder.backbone, make_strategy("mixed", **spec.parameters)
    recorder = TrajectoryRecorder(backbone, strategy, frames=2)
    sample(backbone, strategy, SNOW, "sks", "dog", STEPS, [3], recorders=[recorder])
    recorded = recorder.result()[0]
    np.testing.assert_allclose(shown.distance, recorded.distance, rtol=1e-4)
    np.testing.assert_allclose(shown.cosine, recorded.cosine, rtol=1e-4)
    np.testing.assert_allclose(shown.latents[0], recorded.latents, atol=1e-2)


def test_what_is_remembered_is_not_sampled_again_and_the_oldest_is_forgotten(world, studio, rows):
    specs = [sample_spec("switching", [SNOW], [0], STEPS, world[1], switch_step=step) for step in range(3)]
    first = studio(specs[0])
    assert sum(rows) == 2 * STEPS
    assert studio(specs[0]) is first and sum(rows) == 2 * STEPS
    studio(specs[1])
    studio(specs[0])
    studio(specs[2])
    assert [studio.remembers(spec) for spec in specs] == [True, False, True]
    assert sum(rows) == 3 * 2 * STEPS


def test_curves_cost_nothing_and_have_gaps_where_a_branch_was_not_asked(world, studio, rows):
    shown = studio(sample_spec("multistage", [SNOW], [0], STEPS, world[1], switch_step=1))
    assert sum(rows) == shown.evaluations == 2 + 3 * (STEPS - 1)
    assert np.isnan(shown.distance).tolist() == [True, False, False]
    assert np.isnan(studio(sample_spec("base", [SNOW], [0], STEPS, world[1])).cosine).all()


@pytest.mark.parametrize("backbone", ["micro", "sdxl"])
@pytest.mark.parametrize("name", list_strategies())
def test_every_strategy_has_a_control_for_each_parameter_at_its_usual_value(name, backbone):
    usual = sampling_defaults(backbone)
    controls = parameter_controls(name, usual, usual["num_steps"])
    values = {parameter: control.value for parameter, control in controls.items()}
    assert make_strategy(name, **values) == default_strategy(name, usual)
    assert set(values) == set(make_strategy(name).parameters())


def test_a_strategy_that_names_no_model_has_controls_at_the_models_scale_and_steps(monkeypatch):
    fields = [("scale", Scale, Total(0.5)), ("begin", Steps, Fraction(0.2)), ("count", int, 2)]
    faint = dataclasses.make_dataclass("Faint", fields, bases=(Base,), frozen=True, kw_only=True)
    monkeypatch.setitem(STRATEGIES._classes, "faint", faint)
    monkeypatch.setitem(STRATEGIES._orders, "faint", 0)
    controls = parameter_controls("faint", sampling_defaults("micro"), 10)
    assert {name: (one.value, one.max) for name, one in controls.items()} == {
        "guidance_scale": (3.5, 7.0), "scale": (1.75, 7.0), "begin": (2, 10), "count": (2, 4),
    }  # fmt: skip


def test_a_moved_slider_changes_the_picture_and_only_that_is_sampled(explorer, rows):
    explorer.strategy.value = "mixed"
    before, sampled = decoded(explorer.pictures.value), sum(rows)
    explorer.parameters["concept_scale"].value = 6.0
    after = decoded(explorer.pictures.value)
    assert sum(rows) - sampled == 3 * STEPS
    assert [np.array_equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, False]
    spec = explorer.spec()
    assert spec.parameters["concept_scale"] == 6.0
    shown = explorer.studio(spec)
    assert (
        close(after[2], shown.images[0])
        and f"{shown.evaluations} network evaluations" in explorer.message.value
    )


def test_without_a_kernel_the_explorer_is_its_pictures_and_what_they_are_of(explorer):
    explorer.prompt.value, explorer.strategy.value = SNOW, "mixed"
    page = explorer._repr_mimebundle_()["text/html"]
    assert len(decoded(page)) == len(decoded(explorer.pictures.value)) == 3
    assert "in the snow; mixed with <code>" in page and "concept_scale=" in page
    assert page.endswith(
        "<p>Run this notebook to choose other strategies, parameters, prompts and seeds.</p>"
    )
    explorer.seeds.value = "0-x"
    assert "seeds must be distinct" in explorer._repr_mimebundle_()["text/html"]


def test_switching_at_the_ends_is_base_and_superclass(explorer):
    explorer.strategy.value = "switching"
    for step, twin in ((0, 0), (STEPS, 1)):
        explorer.parameters["switch_step"].value = step
        pictures = decoded(explorer.pictures.value)
        assert np.array_equal(pictures[2], pictures[twin])


@pytest.mark.parametrize(
    ("control", "value", "words"),
    [
        ("seeds", "0-x", "seeds must be distinct"),
        ("seeds", "0-20", "from 1 to 8"),
        ("template", "no place", "exactly one"),
    ],
)
def test_a_wrong_value_is_told_in_one_sentence_and_mended(explorer, control, value, words):
    explorer.prompt.value = explorer.prompt.options[-1]
    right, pictures = getattr(explorer, control).value, explorer.pictures.value
    getattr(explorer, control).value = value
    assert words in explorer.message.value and 'role="alert"' in explorer.message.value
    assert explorer.pictures.value == pictures
    getattr(explorer, control).value = right
    assert "alert" not in explorer.message.value


def test_a_concept_that_is_not_fine_tuned_has_a_button_that_does_it(explorer):
    explorer.concept.value = 1
    assert "not fine-tuned yet" in explorer.message.value and explorer.button.layout.display != "none"
    explorer.tunings[1] = dataclasses.replace(explorer.tunings[0], num_steps=3)
    explorer.button.click()
    assert explorer.tuned and explorer.button.layout.display == "none"
    assert "evaluations" in explorer.message.value and "not yet" not in explorer.concept.options[1][0]


@pytest.mark.filterwarnings("ignore:.*does not know the word", "ignore:.*it leaves out all from word")
def test_what_a_user_writes_is_never_markup(explorer):
    explorer.prompt.value = explorer.prompt.options[-1]
    explorer.template.value = 'a {} <img src=x onerror="alert(1)">'
    assert "<img src=x" not in explorer.pictures.value and "&lt;img" in explorer.pictures.value


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_are_text_in_every_piece_of_html(name):
    drawn = curves({name: np.ones(3)}, ["#000000"], name, xlabel=name)
    found = Tags(gallery([noise(0)], [name]) + sentence(name, wrong=True) + drawn)
    assert set(found.tags) <= {"div", "figure", "img", "figcaption", "b", "svg", "path", "text", "polyline"}
    assert not any(key.startswith("on") or value.startswith("javascript:") for key, value in found.attributes)
    assert found.texts.count(name) == 5
    assert {("alt", name), ("aria-label", name)} <= set(found.attributes)


@pytest.mark.parametrize("name", NAMES)
def test_hostile_labels_are_text_on_the_plane(world, table, name):
    explorer = make_pareto(world, table.assign(label=table["label"].replace("mixed", name)))
    html = "".join(
        part.value
        for part in (explorer.children[0].children[0], explorer.children[2], *explorer.cards.children)
    )
    assert {"script", "img", "td"}.isdisjoint(Tags(html).tags)


class Tags(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attributes]

    def handle_data(self, data):
        self.texts.append(data)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Studio(kept=0), "results that are remembered"),
        (lambda: Studio(kept=-1), "results that are remembered"),
        (lambda: Studio(device="nowhere"), "device 'nowhere'"),
        (lambda: SamplingExplorer(strategy="nosuch"), "unknown strategy: nosuch"),
        (lambda: SamplingExplorer(seeds=-1), "seeds must be"),
        (lambda: SamplingExplorer(seeds="0-99"), "the number of seeds"),
        (lambda: SamplingExplorer(num_steps=0), "the number of steps"),
        (lambda: SamplingExplorer(device="nowhere"), "device 'nowhere'"),
        (lambda: gallery([noise(0)], []), "one caption per image"),
        (lambda: slideshow({}), "at least one page"),
        (lambda: slideshow({"a": "b"}, start=1), "at least one page"),
        (lambda: slideshow({"a": "b"}, start="a"), "at least one page"),
        (lambda: trajectory_viewer("film"), "needs a Trajectory"),
    ],
)
def test_wrong_values_of_widgets_are_one_sentence(make, said):
    with pytest.raises(UserError, match=said):
        make()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"seed": -1}, "seeds must be"),
        ({"seed": "0-3"}, "one seed"),
        ({"scores": ("identity",)}, "two scores"),
        ({"scores": ("identity", "beauty")}, "no column beauty"),
    ],
)
def test_wrong_values_of_the_plane_are_one_sentence(world, table, more, said):
    with pytest.raises(UserError, match=said):
        make_pareto(world, table, **more)


def test_the_viewers_frames_are_the_trajectorys_film(world, studio):
    studio(sample_spec("base", [SNOW], [0], STEPS, world[1]))
    strategy, backbone = make_strategy("masked", switch_step=1), studio._encoder.backbone
    recorder = TrajectoryRecorder(backbone, strategy, frames=3)
    sample(backbone, strategy, SNOW, "sks", "dog", STEPS, [0], recorders=[recorder])
    one = recorder.result()[0]
    patches = np.random.default_rng(0).integers(0, 256, (3, 3, 2, 2, 3), dtype=np.uint8)
    films = dict(zip(FILMS, patches.repeat(8, axis=2).repeat(8, axis=3), strict=True))
    one = dataclasses.replace(one, **films)
    viewer = trajectory_viewer(one, {"base": one})
    slider, stack = viewer.children[0].children[1], viewer.children[1]
    assert slider.options == ("step 0", "step 1", "step 2") and len(stack.children) == 3
    for index, page in enumerate(stack.children):
        *pictures, attention, mask = decoded(page.value)
        assert all(close(a, film[index]) for a, film in zip(pictures, films.values(), strict=True))
        assert np.array_equal(mask.mean(2) > 127, one.masks[index])
        assert attention.shape[:2] == one.attention.shape[1:]
        assert f"step {one.frames[index]}" in page.value


def test_curves_leave_gaps_and_mark_the_step():
    svg = curves({"a": np.array([1.0, np.nan, 2.0, 3.0])}, ["#000000"], "t", mark=2)
    first, second = re.findall(r'polyline points="([^"]+)"', svg)
    assert len(first.split()) == 1 and len(second.split()) == 2
    assert f"M{second.split()[0].split(',')[0]} " in svg


@pytest.fixture
def table():
    """Two strategies of the study, of one concept that this store does not have."""
    study = pd.read_parquet("data/results/phenomenon.parquet")
    return study[study["label"].isin(["base", "mixed"])]


def make_pareto(world, table, **more):
    folder, tuning = world
    return ParetoExplorer(
        table, str(folder / "mine"), [SNOW, BEACH], num_steps=STEPS, backbone=tuning.backbone, method="lora",
        class_name="dog", runs=folder / "runs", device="cpu", **more,
    )  # fmt: skip


def test_the_plane_says_what_every_point_is_without_a_kernel():
    study = pd.read_parquet("data/results/phenomenon.parquet")
    plane = Plane(study, ("clip_text", "identity"))
    for label, card in zip(plane.buttons.options, plane.cards.children, strict=True):
        own = study[study["label"] == label]
        scores = [own.groupby("concept")[name].mean().mean() for name in ("clip_text", "identity")]
        assert f"<b>{label}</b>" in card.value and f"{own['evaluations'].mean():.0f} NFE" in card.value
        assert all(f"{score:.2f}" in card.value for score in scores)
        assert all(
            f"{name}={value}" in card.value for name, value in json.loads(own["parameters"].iloc[0]).items()
        )
    colors = plane.children[-1].value
    assert all(f'{look(name)[0]}">●</span> {name}<' in colors for name in study["strategy"].unique())
    with pytest.raises(UserError, match="two scores"):
        Plane(study, ("identity",))


@pytest.mark.parametrize("results", ["phenomenon", "sweep", "methods", "families"])
def test_a_label_of_the_plane_is_nearest_to_its_own_point(results):
    plane = Plane(pd.read_parquet(f"data/results/{results}.parquet"))
    drawn = plane.children[0].children[0].value
    places = re.findall(r"left:([\d.]+)%;top:([\d.]+)%", drawn)
    spots = np.array(places, float) / 100 * (480, 330)
    words = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" fill="#\w+">([^<]+)<', drawn)
    assert len(words) > 5
    for x, y, label in words:
        low = np.array([float(x), float(y) - 10])
        high = np.array([float(x) + 6.8 * len(label), float(y) + 2])
        away = np.linalg.norm(np.maximum(0, np.maximum(low - spots, spots - high)), axis=1)
        assert list(plane.buttons.options)[int(away.argmin())] == label


def test_a_point_that_is_chosen_shows_its_own_pictures(world, table, monkeypatch):
    folder, tuning = world
    monkeypatch.setattr("persongen_lib.widgets.pareto.fine_tune_spec", lambda *_, **__: tuning)
    explorer = make_pareto(world, table)
    assert [card.value == "" for card in explorer.cards.children] == [False, True]
    explorer.buttons.index = 1
    shown = decoded(explorer.cards.children[1].value)
    spec = sample_spec("mixed", [SNOW, BEACH], 0, STEPS, tuning, concept_scale=1.75, superclass_scale=1.75)
    assert all(close(a, b) for a, b in zip(shown, Studio(folder / "runs", "cpu")(spec).images, strict=True))
    whole = make_pareto(world, table, whole=True)
    assert decoded(whole.cards.children[1].value)[0].shape == shown[0].shape


def test_pictures_that_the_runs_hold_are_not_sampled(world, table, rows, monkeypatch):
    folder, tuning = world
    monkeypatch.setattr("persongen_lib.widgets.pareto.fine_tune_spec", lambda *_, **__: tuning)
    kept = np.uint8(np.arange(16 * 16 * 3).reshape(16, 16, 3) % 251)
    Image.fromarray(kept).save(folder / "runs" / "kept.png")
    rows.clear()
    here = table.assign(fine_tune=tuning.hash, picture="kept.png")
    explorer = make_pareto(world, here, whole=True)
    assert not rows
    assert all(np.array_equal(np.asarray(one), kept) for one in explorer.pictures(0))


def test_pictures_on_a_contact_sheet_are_not_sampled_again(world, table, rows, monkeypatch):
    folder, tuning = world
    monkeypatch.setattr("persongen_lib.widgets.pareto.fine_tune_spec", lambda *_, **__: tuning)
    store, parts, made = Store(folder / "runs"), [], {}
    for name in ("base", "mixed"):
        spec = sample_spec(name, [SNOW, BEACH], 0, STEPS, tuning)
        run = run_sample(spec, Runtime(store, "cpu"))
        made[name] = [open_picture(path) for path in sorted(run.glob("images/*.png"))]
        pack(run)
        files = {t: f"sample/{run.name}/{picture_name(k, 0)}" for k, t in enumerate(spec.prompts)}
        part = table[(table["label"] == name) & table["template"].isin(files)]
        parts.append(part.assign(picture=part["template"].map(files), fine_tune=tuning.hash))
    rows.clear()
    explorer = make_pareto(world, pd.concat(parts), whole=True)
    assert not rows
    for place, label in enumerate(explorer.points["label"]):
        shown = decoded(explorer.cards.children[place].value)
        assert len(shown) == 2 and all(close(*pair) for pair in zip(shown, made[label], strict=True))


def test_points_without_a_fine_tuning_say_so(world, table):
    explorer = make_pareto(world, table)
    assert "not fine-tuned yet" in explorer.cards.children[0].value


def test_the_form_ranks_as_recommend_does_and_its_commands_say_the_same():
    results = "data/results/phenomenon.parquet"
    form = DecisionForm(results, top=3)
    form.min_text.value = 0.9
    form.budget.value = form.budget.options[2][1]
    form.original.value = False
    form.method.value = "dreambooth"
    assert form.weight.disabled
    assert form.ranking.value in form._repr_mimebundle_()["text/html"]
    found = recommend(pd.read_parquet(results), form.preferences)
    body = form.ranking.value.split("<tbody>")[1]
    assert re.findall(r"<tr><td>([^<]+)</td>", body) == list(found["label"][:3])
    recommended = _parsed(recommend_cli, recommend_command(form.preferences, results))
    assert recommended.results == results and recommended.no_original_weights
    assert Preferences(
        min_text=recommended.min_text, max_evaluations=recommended.budget, original_weights=False,
        method=recommended.method,
    ) == form.preferences  # fmt: skip


@pytest.mark.parametrize(
    "parameters", [{}, {"quantile": 0.85, "superclass_weights": "original", "switch_step": 0}]
)
def test_the_command_samples_what_was_recommended(parameters):
    spec = sample_spec("masked", [SNOW], 0, class_name="dog", **parameters)
    option = pd.Series({"strategy": "masked", "parameters": pd.Series(spec.parameters).to_json()})
    asked = _parsed(sample_cli, sample_command(option, *YOURS))
    again = sample_spec(asked.strategy, [SNOW], 0, class_name="dog", **parse_parameters(asked.param))
    assert again == spec


def test_preferences_that_nothing_meets_is_told_in_one_sentence(tmp_path):
    table = pd.read_parquet("data/results/phenomenon.parquet")
    table.assign(needs_original=True).to_parquet(tmp_path / "table.parquet")
    form = DecisionForm(tmp_path / "table.parquet")
    form.original.value = False
    with pytest.raises(UserError) as error:
        recommend(form.table, form.preferences)
    assert str(error.value) in form.ranking.value


def _parsed(command, line):
    program, name, *arguments = shlex.split(line)
    assert (program, name) == ("persongen", command.__name__.split(".")[-1])
    parser = ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(arguments)


def test_explorers_begin_with_the_usual_fine_tuning_if_it_is_done(world, tmp_path):
    folder, tuning = world
    own, store = load_concept(folder / "mine", "dog"), Store(tmp_path)
    usual = fine_tune_spec(own, tuning.backbone, "lora")
    others = [dataclasses.replace(usual, num_steps=number) for number in (1, 2, 3, 4)]
    for done, first in ((others, [*others, usual]), ([usual], [usual, *others])):
        for spec in done:
            store.ensure("finetune", spec, lambda folder: {})
        assert fine_tunings(store, own, tuning.backbone, "lora")[:5] == first


def test_explorers_offer_the_model_as_it_is_loaded(world):
    folder, tuning = world
    tiny_pipeline(seed=3).save_pretrained(folder / "other")
    own, loading = load_concept(folder / "mine", "dog"), {"vae": str(folder / "other")}
    store = Store(folder / "runs")
    plain, other = (fine_tunings(store, own, tuning.backbone, "lora", given) for given in (None, loading))
    assert tuning in plain and tuning not in other
    assert {spec.loading.get("vae") for spec in plain} == {None}
    assert {spec.loading.get("vae") for spec in other} == {str(folder / "other")}
