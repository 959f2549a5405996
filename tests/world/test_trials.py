"""Trials of metrics say what their pictures show: checked by the trained oracle, which never saw their labels."""

import numpy as np
import pandas as pd
import pytest

from persongen_lib.evaluation.validity import QUESTIONS, answers, trial_scores, validity
from persongen_lib.world.draw.scene import CLASSES
from persongen_lib.world.draw.trials import TRUTHS, trials
from persongen_lib.world.models.oracle import load_oracle


@pytest.fixture(scope="module")
def some():
    return list(trials(2))


def test_trials_are_the_same_every_time_and_cover_every_class(some):
    again = next(iter(trials(1)))
    assert [p.tobytes() for p in again.pictures] == [p.tobytes() for p in some[0].pictures]
    assert [trial.concept.class_name for trial in some] == [name for name in CLASSES for _ in range(2)]
    names = [trial.concept.name for trial in some]
    assert len(set(names)) == len(names)


def test_every_truth_has_both_answers_and_is_asked_only_where_the_prompt_asks(some):
    table = pd.concat([trial.truth for trial in some])
    for name in TRUTHS:
        assert set(table[name].dropna()) == {0.0, 1.0}
    for trial in some:
        for template, row in zip(trial.templates, trial.truth.to_dict("records"), strict=True):
            assert (" on " in template or " in the " in template or " at " in template) == (
                not np.isnan(row["context_right"])
            )
            assert (" with " in template or " wearing " in template) == (not np.isnan(row["accessory_right"]))


def test_the_oracle_sees_what_the_truth_says(some):
    oracle, agreed = load_oracle(), []
    for trial in some:
        seen = oracle.classify(list(trial.pictures))
        for context, class_name, row in zip(
            seen["context"], seen["class"], trial.truth.to_dict("records"), strict=True
        ):
            agreed.append((class_name == trial.concept.class_name) == (row["class_right"] == 1))
            if not np.isnan(row["leak"]):
                agreed.append((context == trial.concept.context) == (row["leak"] == 1))
    assert np.mean(agreed) > 0.97


def test_a_copy_is_nearer_to_a_reference_than_any_other_picture(some):
    def distance(picture, trial):
        pixels = np.asarray(picture, float)
        return min(np.abs(pixels - np.asarray(reference, float)).mean() for reference in trial.concept.images)

    nearest = 0
    for trial in some:
        distances = [distance(picture, trial) for picture in trial.pictures]
        nearest += trial.truth["copy"].to_numpy()[int(np.argmin(distances))] == 1
    assert nearest >= 0.9 * len(some)


def test_an_answer_is_who_of_the_pair_is_above():
    kinds = sorted({kind for question in QUESTIONS for kind in (question.right, question.wrong)})
    scores = pd.DataFrame({"concept": "rex", "kind": kinds, "identity": 0.5, "leak": None, "clip_text": None})
    scores.loc[scores["kind"] == "same, as asked", ["identity", "leak"]] = 0.9, 0.0
    scores.loc[scores["kind"] == "same, elsewhere", ["identity", "leak"]] = 0.9, 0.0
    scores.loc[scores["kind"] == "same, at home", ["identity", "leak"]] = 0.95, 1.0
    found = answers(scores).set_index(["question", "column"])["value"]
    assert found["individual", "identity"] == 1
    assert found["background", "identity"] == 0.5 == found["background", "leak"]
    assert found["no leak", "identity"] == 0
    assert found["no leak", "leak"] == 1
    assert not {"clip_text"} & set(found.index.get_level_values("column"))
    assert ("copy", "leak") not in found


@pytest.fixture(scope="module")
def trusted(some):
    return validity(trial_scores(some)).set_index(["question", "column"])["mean"]


def test_the_truth_can_be_trusted(trusted):
    for question, column in (
        ("individual", "identity"),
        ("individual or background", "identity_subject"),
        ("class", "class_right"),
        ("background", "context_right"),
        ("no leak", "leak"),
        ("accessory", "accessory_right"),
        ("color", "color_right"),
        ("copy", "copying"),
    ):
        assert trusted[question, column] > 0.85, (question, column)


def test_similarity_of_whole_pictures_rewards_the_background(trusted):
    question = "individual or background"
    assert trusted[question, "clip_image"] < 0.5 < trusted[question, "clip_image_subject"]
