"""How good the embedded models are, against the renderer's ground truth, and the measures themselves."""

import pytest
import torch

from persongen_lib.backbones.loading import load_backbone
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.world.draw.scene import CLASSES
from persongen_lib.world.language.captions import parse
from persongen_lib.world.language.vocabulary import clip_tokenizer
from persongen_lib.world.models.oracle import FOLDER, JUDGE, load_oracle
from persongen_lib.world.models.segmenter import load_segmenter
from persongen_lib.world.training import accuracy, held_out, measure, samples
from persongen_lib.world.training.samples import (
    frechet,
    frechet_of_renders,
    frechet_to_renders,
    sample_accuracy,
)
from persongen_lib.world.training.wishes import superclass_wishes


@pytest.fixture(scope="module")
def oracle():
    return load_oracle()


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("micro", device="cpu")


@pytest.fixture(scope="module", autouse=True)
def pictures_drawn_once():
    """What several readers read is drawn, and decoded, once."""
    found, draw = {}, held_out.pictures

    def pictures(scenes, through=None, **how):
        key = repr(scenes), through, *how.items()
        if key not in found:
            found[key] = (
                held_out.decoded(pictures(scenes, **how), through) if through else draw(scenes, **how)
            )
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_out, "pictures", pictures)
        yield


@pytest.fixture
def fewer_steps(monkeypatch):
    """Samples of 6 steps: what they must show is what those of the usual 25 must."""
    monkeypatch.setattr(samples, "STEPS", 6)


@pytest.fixture(scope="module", params=[FOLDER, JUDGE], ids=["oracle", "judge"])
def reader(request):
    return load_oracle(request.param)


def test_oracle_and_judge_read_held_out_renders_and_decoded_ones(reader, backbone):
    for through in (None, backbone):
        shares = accuracy.oracle_accuracy(reader, through, 200)
        assert shares["class"] >= 0.94 and shares["context"] >= 0.97 and shares["accessory"] >= 0.85


def test_the_identity_encoders_tell_individuals_apart(reader, backbone):
    assert accuracy.identity_auc(reader, None, 8)["auc"] >= 0.93
    assert accuracy.identity_auc(reader, backbone, 8)["auc"] >= 0.9


def test_the_judge_reads_other_styles_and_agrees_with_the_oracle(oracle, backbone):
    judge = load_oracle(JUDGE)
    shares = accuracy.oracle_accuracy(judge, None, 200, styled=True)
    assert shares["class"] >= 0.9 and shares["context"] >= 0.95 and shares["accessory"] >= 0.85
    agreed = accuracy.reader_agreement(oracle, judge, backbone, 200)
    assert all(agreed[head]["kappa"] > 0.85 for head in ("class", "context", "accessory"))
    assert agreed["identity"]["rank_correlation"] > 0.3


def test_the_segmenter_finds_subjects_and_their_color_words(backbone):
    for through in (None, backbone):
        found = accuracy.segmenter_accuracy(load_segmenter(), through, 200)
        assert found["iou"] >= 0.85 and found["color"] >= 0.85


def test_the_autoencoder_keeps_pictures(backbone):
    assert accuracy.autoencoder_psnr(backbone, 48)["psnr"] >= 28


def test_open_clip_loads_the_evaluator_and_it_names_pictures():
    shares = accuracy.clip_accuracy(DATA / "models" / "micro-clip", None, 120)
    assert shares["class"] >= 0.85 and shares["context"] >= 0.9


def test_the_generator_follows_prompts(oracle, backbone, fewer_steps):
    scores = sample_accuracy(backbone, oracle, oracle, load_segmenter(), 5.0, 48)
    assert scores["class"] >= 0.85 and scores["context"] >= 0.85
    assert scores["judge"] == {name: scores[name] for name in ("class", "context", "accessory")}
    assert scores["agreement"]["identity"]["rank_correlation"] == pytest.approx(1)


def test_the_generators_folder_speaks_the_worlds_language(backbone):
    text = "a photo of a red sks dog with an umbrella on blue fabric"
    assert backbone._pipeline.tokenizer(text).input_ids == clip_tokenizer()(text).input_ids


def test_prompts_ask_for_what_is_measured():
    for wish in superclass_wishes(96):
        told = parse(wish.template.format(wish.class_name))
        assert (told.class_name, told.context) == (wish.class_name, wish.context)
        assert (told.accessory, told.color) == (wish.accessory, wish.color)
    wishes = superclass_wishes(96)
    assert {wish.class_name for wish in wishes} == set(CLASSES)
    assert sum(wish.accessory is not None for wish in wishes) == 48
    assert sum(wish.color is not None for wish in wishes) == 24


def test_the_frechet_distance_of_normal_distributions_is_the_analytic_one():
    generator = torch.Generator().manual_seed(0)
    unit = torch.randn(200_000, 3, generator=generator, dtype=torch.float64)
    other = torch.randn(200_000, 3, generator=generator, dtype=torch.float64)
    deviations, shift = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([0.0, 3.0, 0.0])
    wanted = 9 + (deviations - 1).square().sum()
    assert frechet(unit, other * deviations + shift) == pytest.approx(float(wanted), rel=0.02)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    assert frechet(unit @ turn, (other * deviations + shift) @ turn) == pytest.approx(
        frechet(unit, other * deviations + shift)
    )
    assert frechet(unit, unit) == pytest.approx(0, abs=1e-6)


def test_broken_pictures_are_further_from_renders_than_good_ones(oracle):
    scenes = [held_out.scene(9, k) for k in range(64)]
    renders = oracle.features(held_out.pictures(scenes))
    others = oracle.features(held_out.pictures([held_out.scene(10, k) for k in range(64)]))
    broken = [image.resize((6, 6)).resize((64, 64)) for image in held_out.pictures(scenes)]
    assert frechet(renders, oracle.features(broken)) > 2 * frechet(renders, others)


def test_too_few_samples_are_refused():
    with pytest.raises(UserError, match="at least 48"):
        measure.measure(DATA / "models", [3.0], samples=12)


def test_samples_are_compared_with_renders_of_their_captions(oracle, backbone, fewer_steps):
    guided, unguided = frechet_to_renders(backbone, oracle, (3.0, 0.0), 10)
    assert 0 < guided < unguided


def test_more_renders_are_closer_to_each_other(oracle, backbone):
    """A set of renders differs from another one by chance alone."""
    assert frechet_of_renders(backbone, oracle, 64) < 0.6 * frechet_of_renders(backbone, oracle, 12)
