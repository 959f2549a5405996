"""Trials of generators: agreement of two readers, identity of base samples, questions for a stranger, and the cards."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageChops, ImageStat

from persongen_lib import load_backbone
from persongen_lib.cli.main import main
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.core.runtime import Runtime
from persongen_lib.data import load_concept
from persongen_lib.finetune import fine_tune_spec, finetune
from persongen_lib.trials import portraits as portraits_module
from persongen_lib.trials.answers import score
from persongen_lib.trials.portraits import CONCEPTS, Portraits, choices, chosen, kept, portraits
from persongen_lib.trials.sheets import LABEL, TILE, write_choices, write_namings
from persongen_lib.trials.trial import choice_figures, kept_figures, trial
from persongen_lib.world.draw.concepts import world_concepts
from persongen_lib.world.draw.scene import CLASSES, Identity, Scene, render
from persongen_lib.world.models.oracle import Seen, load_oracle
from persongen_lib.world.training.agreement import agreement, kappa
from persongen_lib.world.training.cards import write_cards
from persongen_lib.world.training.wishes import superclass_wishes

FEW = {"micro": {"training": {"num_class_images": 2, "class_num_steps": 2, "num_steps": 2, "batch_size": 2}}}
"""Defaults of a fine-tuning that ends at once."""

# agreement


def test_kappa_is_the_agreement_beyond_chance():
    # Cohen's own form: 20 both yes, 5 + 10 differ, 15 both no; observed .7, by chance .5
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert kappa(first, second) == pytest.approx(0.4)
    assert kappa(first, first) == 1 == kappa(["a"] * 3, ["a"] * 3)
    assert kappa(["a", "b"], ["b", "a"]) == pytest.approx(-1)


def test_readers_agree_on_identity_if_they_rank_pairs_of_a_group_alike():
    angles = torch.tensor([0.0, 0.2, 0.7, 1.5, 0.1, 1.1])
    groups = ["a", "a", "a", "a", "b", "b"]
    words = {name: ["x"] * 6 for name in ("class", "context", "accessory")}

    def seen(angles: torch.Tensor) -> Seen:
        return Seen(words, torch.stack([angles.cos(), angles.sin()], 1))

    def correlation(other: torch.Tensor) -> float:
        return agreement(seen(angles), seen(other), groups)["identity"]["rank_correlation"]

    assert correlation(angles * 2) == pytest.approx(1)
    turned = torch.cat([angles[:4], angles[4:] + 1.0])  # another group turned as a whole: no pair lies across
    assert correlation(turned) == pytest.approx(1)
    assert correlation(angles[[2, 0, 3, 1, 4, 5]]) < 0.9
    assert agreement(seen(angles), seen(angles), groups)["class"] == {"equal": 1.0, "kappa": 1.0}


# identity of base samples


def pictures(identity: Identity, count: int, seed: int) -> tuple[Image.Image, ...]:
    scenes = [
        Scene.draw(np.random.default_rng((seed, k)), identity=identity, accessory=None, color=None)
        for k in range(count)
    ]
    return tuple(Image.fromarray(render(scene)[0]) for scene in scenes)


@pytest.fixture(scope="module")
def oracle():
    return load_oracle()


@pytest.fixture(scope="module")
def shown() -> list[Portraits]:
    """Two concepts: renders of themselves at home, of themselves (boot) or of another one (clock) elsewhere."""
    known = {concept.name: concept for concept in world_concepts()}
    stranger = Identity.draw("clock", np.random.default_rng(0))
    own = {name: pictures(known[name].identity, 3, k) for k, name in enumerate(("boot", "clock"))}
    other = {"boot": own["boot"], "clock": pictures(stranger, 3, 2)}
    return [Portraits(load_concept(name), own[name], other[name]) for name in own]


def test_an_individual_keeps_its_identity_and_a_stranger_does_not(shown, oracle):
    same, changed = (kept(one, oracle) for one in shown)
    assert same["home"] > 0.9 and same["elsewhere"] == pytest.approx(same["home"])
    assert changed["home"] > 0.9 and changed["elsewhere"] < 0.7
    features = oracle.identity(list(shown[0].concept.images)).double()
    cosines = [float(features[i] @ features[j]) for i in range(5) for j in range(5) if i != j]
    assert same["references"] == pytest.approx(np.mean(cosines), abs=1e-5)
    figures = kept_figures(shown, {"oracle": oracle})["readers"]["oracle"]
    assert figures["elsewhere"] == pytest.approx((same["elsewhere"] + changed["elsewhere"]) / 2)


def test_the_choice_is_between_the_individual_and_another_one_in_the_same_scene(shown, oracle):
    questions = choices(shown[:1], 3)
    assert [question.right for question in choices(shown, 6)] == [q.right for q in choices(shown, 6)]
    for k, question in enumerate(questions):
        reference = shown[0].concept.images[k]
        difference = ImageChops.difference(question.pair[question.right], reference)
        assert max(high for _, high in difference.getextrema()) <= 1
        other = np.asarray(question.pair[1 - question.right], int) - np.asarray(reference, int)
        changed = np.abs(other).max(-1) > 2
        assert 0 < changed.mean() < 0.6 and not changed[:, :2].any()
    assert chosen(oracle, questions) == [question.right for question in questions]
    assert choice_figures(questions, {"oracle": oracle}) == {"questions": 3, "readers": {"oracle": 1.0}}
    assert {question.right for question in choices(shown, 6)} == {0, 1}
    with pytest.raises(UserError, match="7 questions need as many samples"):
        choices(shown, 7)


def test_the_concepts_are_those_of_the_sweep_one_of_each_class():
    study = yaml.safe_load((DATA / "studies/sweep.yaml").read_text())
    assert set(CONCEPTS) == set(study["concepts"])
    assert {load_concept(name).class_name for name in CONCEPTS} == set(CLASSES)


def test_base_samples_of_a_fine_tuned_concept_ask_for_its_place_and_for_others(tmp_path, monkeypatch, oracle):
    monkeypatch.setattr("persongen_lib.finetune.engine.defaults._overrides", lambda: FEW)
    concept, runtime = load_concept("boot"), Runtime.at(tmp_path, "cpu")
    spec = fine_tune_spec(concept, "micro")
    adapter = finetune(spec, concept, runtime, validate=())
    backbone = load_backbone("micro", device="cpu")
    asked = []

    def sample(*args, **kwargs):
        asked.extend(args[2])
        return original(*args, num_steps=4, **kwargs)

    original = portraits_module.sample
    monkeypatch.setattr(portraits_module, "sample", sample)
    made = portraits(backbone, adapter, concept, count=2)
    assert len(made.home) == len(made.elsewhere) == 2 and backbone.adapter is None
    assert concept.context in asked[0].split() and asked[0] == asked[1]
    assert len(set(asked)) == 3 and all(template.count("{}") == 1 for template in asked)
    assert not any(concept.context in template.split() for template in asked[2:])


# questions


def test_sheets_show_every_picture_and_answers_are_scored_with_the_key(tmp_path, shown):
    questions = choices(shown, 6)
    folder, key = tmp_path / "choice", tmp_path / "key.json"
    write_choices(folder, key, "micro-sd", questions)
    assert sorted(path.name for path in folder.iterdir()) == ["01.png", "instructions.txt"]
    sheet = Image.open(folder / "01.png")
    left, top = 12 + TILE, 12 + LABEL + 2
    shown_a = sheet.crop((left, top, left + TILE - 4, top + TILE - 4))
    for picture, near in ((questions[0].pair[0], True), (questions[0].pair[1], False)):
        large = picture.resize((TILE - 4, TILE - 4), Image.Resampling.BICUBIC)
        assert (max(ImageStat.Stat(ImageChops.difference(shown_a, large)).mean) < 1) == near
    right = ["AB"[question.right] for question in questions]
    answers = tmp_path / "answers.txt"
    answers.write_text("# mine\n" + "".join(f"{k}: {word}\n" for k, word in enumerate(right, 1)))
    assert score(key, answers) == ("micro-sd", "choice", {"questions": 6, "right": {"individual": 1.0}})
    flipped = ["BA"["AB".index(right[0])], *right[1:]]
    answers.write_text("".join(f"{k} {word}\n" for k, word in enumerate(flipped, 1)))
    assert score(key, answers)[2]["right"]["individual"] == pytest.approx(5 / 6)


def test_namings_are_scored_word_by_word(tmp_path, shown):
    wishes = superclass_wishes(24)
    images = [shown[0].home[0]] * 24
    folder, key = tmp_path / "naming", tmp_path / "key.json"
    write_namings(folder, key, "micro-sd", wishes, images)
    assert "umbrella" in (folder / "instructions.txt").read_text()
    assert not set(json.loads(key.read_text())["answers"]["1"]) - {*CLASSES, wishes[0].context, "none"}
    rows = [[wish.class_name, wish.context, wish.accessory or "none"] for wish in wishes]
    rows[0][2], rows[1][0] = ("hat" if rows[0][2] == "none" else "none"), rows[0][0]
    answers = tmp_path / "answers.txt"
    answers.write_text("\n".join(f"{k}, {', '.join(row)}" for k, row in enumerate(rows, 1)))
    found = score(key, answers)[2]["right"]
    assert found == pytest.approx({"class": 23 / 24, "context": 1.0, "accessory": 23 / 24})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 A\n2 B\n", "no answer to question 3"),
        ("1 A\n2 B\n3 C\n", "unknown individual"),
        ("1 A\n2 B\n2 A\n3 A\n", "given twice"),
        ("1 A\n2 B\n3\n", "written as '1 A'"),
        ("1 A\n2 B\n3 A\n4 A\n", "unknown question"),
    ],
)
def test_answers_that_do_not_fit_are_refused(tmp_path, shown, text, message):
    write_choices(tmp_path / "choice", tmp_path / "key.json", "micro-sd", choices(shown, 3))
    (tmp_path / "answers.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        score(tmp_path / "key.json", tmp_path / "answers.txt")
    with pytest.raises(UserError, match="is no key"):
        score(tmp_path / "answers.txt", tmp_path / "key.json")


def test_a_key_beside_its_questions_is_refused(tmp_path, shown):
    with pytest.raises(UserError, match="beside the questions"):
        write_choices(tmp_path, tmp_path / "key.json", "micro-sd", choices(shown, 1))


# all of it


@pytest.fixture(scope="module")
def tried(tmp_path_factory, oracle):
    """A trial of one concept after two steps of fine-tuning: its folder and its figures."""
    folder = tmp_path_factory.mktemp("trial")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("persongen_lib.finetune.engine.defaults._overrides", lambda: FEW)
        found = trial(
            "micro", {"oracle": oracle, "judge": oracle}, Runtime.at(folder / "runs", "cpu"), folder / "sheets",
            ("boot",), 2, (2, 3),
        )  # fmt: skip
    return folder, found


def test_a_trial_measures_and_asks(tried):
    folder, found = tried
    assert found["concepts"]["concepts"] == 1 and found["concepts"]["samples"] == 2
    assert found["concepts"]["readers"]["oracle"] == found["concepts"]["readers"]["judge"]
    assert found["choice"]["questions"] == 2
    for kind, count in (("choice", 2), ("naming", 3)):
        key = json.loads((folder / f"sheets-{kind}-key.json").read_text())
        assert key["generator"] == "micro-sd" and len(key["answers"]) == count
        assert (folder / "sheets" / kind / "01.png").exists()


def test_scores_are_added_to_the_figures_and_the_card_says_them(tried, tmp_path, capsys):
    folder, found = tried
    figures = json.loads((DATA / "results/world-quality.json").read_text())
    quality = figures["generators"]["micro-sd"]
    best = quality["scales"][0] | {
        "judge": {"class": 0.91, "context": 0.92, "accessory": 0.93},
        "agreement": {name: {"equal": 0.94, "kappa": 0.87} for name in ("class", "context", "accessory")}
        | {"identity": {"rank_correlation": 0.765}},
    }
    figures["generators"]["micro-sd"] = quality | found | {"scales": [best]}
    file = tmp_path / "quality.json"
    file.write_text(json.dumps(figures))
    for kind in ("choice", "naming"):
        key = folder / f"sheets-{kind}-key.json"
        right = json.loads(key.read_text())["answers"]
        answers = tmp_path / f"{kind}.txt"
        answers.write_text("\n".join(f"{k} {' '.join(words)}" for k, words in right.items()))
        assert main(["world", "score", str(key), str(answers), "--figures", str(file)]) == 0
    assert main(["world", "score", str(key), str(answers), "--figures", str(tmp_path / "none.json")]) == 2
    assert "measure it first" in capsys.readouterr().err
    figures = json.loads(file.read_text())
    for name in ("micro-sd", *(f"micro-{kind}" for kind in ("oracle", "segmenter", "clip"))):
        shutil.copytree(DATA / "models" / name, tmp_path / name)
    figures["generators"] = {"micro-sd": figures["generators"]["micro-sd"]}
    write_cards(tmp_path, figures)
    card = (tmp_path / "micro-sd/README.md").read_text()
    for said in (
        "class 0.910, context 0.920", "0.940 (0.87)", "0.765", "After DreamBooth on 1 concepts", "Of 2 base samples",
        "1.000 of 2 samples attributed", "accessory 1.000 of 3 superclass",
    ):  # fmt: skip
        assert said in card, said
