"""Trajectories: the numbers, batches, costs, kills, and what is told from them."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from tiny import tiny_pipeline

from persongen_lib.backbones import load_backbone
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.store import Store
from persongen_lib.sampling import Prompts, make_strategy, picture_name, run_sample, sample, sample_spec
from persongen_lib.sampling.engine.loop import trajectory
from persongen_lib.sampling.engine.predictions import Encoder
from persongen_lib.sampling.strategies.base import Base
from persongen_lib.trajectories import (
    Trajectory,
    TrajectoryRecorder,
    TrajectoryWriter,
    decided,
    latent_distance,
    latent_distances,
    load_trajectories,
    power_spectrum,
    run_trajectories,
)
from persongen_lib.trajectories.run import TrajectorySpec

TEMPLATE = "a photo of {} in the snow"
STEPS = 5


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline().save_pretrained(folder)
    return load_backbone(folder, device="cpu")


def run(backbone, strategy, pictures=(), seeds=range(8), **options):
    recorders = [TrajectoryRecorder(backbone, strategy, pictures, frames=3)] if pictures else []
    return sample(
        backbone, strategy, TEMPLATE, "sks", "dog", STEPS, seeds, output="latents", recorders=recorders, **options
    )  # fmt: skip


def alike(one: Trajectory, other: Trajectory):
    for name, values in vars(one).items():
        if values is None or values.dtype == bool:
            continue
        theirs = getattr(other, name).astype(np.float64)
        tolerance = 1 if name.startswith("film") else 2e-3 * np.abs(theirs).max()
        np.testing.assert_allclose(values.astype(np.float64), theirs, atol=tolerance, err_msg=name)


@torch.no_grad()
def test_every_quantity_is_what_the_predictions_say(backbone):
    strategy, noise = make_strategy("base", guidance_scale=7), torch.randn(1, *backbone.latent_shape)
    kept = run(backbone, strategy, [0], None, latents=noise).records["trajectory"][0]
    prompts = [Prompts(TEMPLATE, "sks", "dog")]
    assert list(kept.frames) == [0, 2, 4]
    for record in trajectory(Encoder(backbone), strategy, prompts, backbone.solver("ddim", STEPS), noise):
        at = record.index
        u, c, s = (one[0].double().numpy() for one in record.predict("null", "concept", "superclass"))
        norms = np.sqrt(((c - s) ** 2).sum(0))
        cosine = ((c - u) * (s - u)).sum() / np.sqrt(((c - u) ** 2).sum() * ((s - u) ** 2).sum())
        x0 = record.step.clean(record.guided, record.latents)
        assert kept.timesteps[at] == record.timestep
        assert kept.distance[at] == pytest.approx(norms.mean(), rel=1e-4)
        assert kept.cosine[at] == pytest.approx(cosine, rel=1e-4)
        for values, expected in (
            (kept.distance_maps[at], norms), (kept.latents[at], record.latents[0]), (kept.clean[at], x0[0]),
            (kept.latents[at + 1], record.next_latents[0]),
        ):  # fmt: skip
            np.testing.assert_allclose(values, expected, rtol=2e-3, atol=1e-3)
        for spectrum, field in ((kept.spectrum_guided, record.guided), (kept.spectrum_clean, x0)):
            assert spectrum[at, 0] == pytest.approx(float((field[0].mean((1, 2)) ** 2).mean() * 64), rel=1e-3)
        if at in kept.frames:
            frame = list(kept.frames).index(at)
            film = np.asarray(backbone.decode(x0)[0], int)
            assert np.abs(kept.film_guided[frame] - film).max() <= 1
            attention = record.predict.attention(("concept", "personalized"))[0]
            np.testing.assert_allclose(kept.attention[frame], attention, atol=1e-3)


def test_a_spectrum_is_numpys_by_rings():
    fields = torch.randn(2, 3, 8, 8)
    power = (np.abs(np.fft.fft2(fields.numpy())) ** 2 / 64).mean(1)
    count, total = np.zeros(7), np.zeros((2, 7))
    for y in range(8):
        for x in range(8):
            ring = round(np.hypot(min(y, 8 - y), min(x, 8 - x)))
            count[ring] += 1
            total[:, ring] += power[:, y, x]
    spectrum = power_spectrum(fields).numpy()
    np.testing.assert_allclose(spectrum, total / count, rtol=1e-4)
    np.testing.assert_allclose((spectrum * count).sum(1), (fields**2).sum((1, 2, 3)) / 3, rtol=1e-4)
    assert power_spectrum(torch.randn(1, 400, 16, 16)).numpy() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", ["base", "superclass", "masked", "photoswap", "profusion"])
def test_recorded_in_a_batch_or_alone_and_no_picture_changes(backbone, name):
    strategy = make_strategy(name)
    plain, followed = run(backbone, strategy), run(backbone, strategy, [1, 6])
    assert torch.equal(plain.latents, followed.latents) and plain.evaluations == followed.evaluations
    kept = followed.records["trajectory"]
    assert list(kept) == [1, 6]
    for number, one in kept.items():
        alike(one, run(backbone, strategy, [0], [number]).records["trajectory"][0])
        assert (one.masks is None) == (name != "masked")
        np.testing.assert_allclose(one.latents[-1], plain.latents[number], rtol=2e-3, atol=2e-3)
    if name == "masked":
        assert kept[1].masks.mean((1, 2)) == pytest.approx(0.3, abs=0.02)


def test_the_mask_of_any_strategy_is_recorded(backbone):
    @dataclass(frozen=True, kw_only=True)
    class LeftHalf(Base):
        """The concept guides on the left."""

        def mask(self, predict):
            mask = torch.zeros(len(predict.latents), 1, *predict.latents.shape[2:], dtype=torch.bool)
            mask[..., : mask.shape[-1] // 2] = True
            return mask

    masks = run(backbone, LeftHalf(), [2]).records["trajectory"][2].masks
    assert masks.shape[0] == 3 and masks[..., :4].all() and not masks[..., 4:].any()


@pytest.mark.parametrize(
    ("name", "extra", "frame"),
    [("base", 1, 1), ("superclass", 1, 1), ("mixed", 0, 1), ("masked", 0, 2)],
)
def test_only_what_is_followed_is_evaluated_in_addition(backbone, name, extra, frame):
    rows = []
    handle = backbone.modules["network"].register_forward_hook(
        lambda _, inputs, output: rows.append(len(inputs[0]))
    )
    strategy = make_strategy(name, **({"initial_concept_scale": 1.0} if name == "masked" else {}))
    run(backbone, strategy, batch_size=4)
    without = sum(rows)
    rows.clear()
    run(backbone, strategy, [1, 6], batch_size=4)
    handle.remove()
    assert sum(rows) - without == 2 * (STEPS * extra + 3 * frame)


def test_pictures_of_several_batches_and_pictures_that_are_not_there(backbone):
    strategy = make_strategy("base")
    kept = run(backbone, strategy, [0, 3, 7], batch_size=3).records["trajectory"]
    together = run(backbone, strategy, [0, 3, 7]).records["trajectory"]
    for number in (0, 3, 7):
        alike(kept[number], together[number])
    with pytest.raises(UserError, match="no image 8"):
        run(backbone, strategy, [0, 8])


def test_what_is_recorded_is_on_disk_at_once(backbone, tmp_path):
    strategy = make_strategy("base")

    class Stop(TrajectoryWriter):
        def record(self, record):
            super().record(record)
            if record.index == 2 and 4 in record.pictures:
                raise KeyboardInterrupt

    files = {number: tmp_path / f"p{number}.npz" for number in (1, 4)}
    recorder = Stop(backbone, strategy, files)
    with pytest.raises(KeyboardInterrupt):
        sample(
            backbone, strategy, TEMPLATE, "sks", "dog", STEPS, range(8), batch_size=4, recorders=[recorder]
        )
    assert files[1].exists() and not files[1].with_suffix(".partial").exists() and not files[4].exists()
    expected = run(backbone, strategy, [4]).records["trajectory"][4]
    written = np.load(files[4].with_suffix(".partial") / "distance.npy")
    np.testing.assert_allclose(written[:3], expected.distance[:3], rtol=1e-4)

    recorder = TrajectoryWriter(backbone, strategy, files, frames=3)
    result = sample(backbone, strategy, TEMPLATE, "sks", "dog", STEPS, range(8), recorders=[recorder])
    assert result.records["trajectory"] == files and sorted(tmp_path.iterdir()) == list(files.values())
    with np.load(files[4], allow_pickle=False) as arrays:
        alike(Trajectory(**arrays), expected)


@pytest.fixture
def make_spec(backbone):
    def make(strategy="base", num_steps=STEPS, **parameters):
        return sample_spec(
            strategy, ["a photo of {}", TEMPLATE, "a {} on the beach"], "0-3", num_steps,
            backbone=backbone.name, class_name="dog", **parameters,
        )  # fmt: skip

    return make


def test_trajectories_of_a_runs_pictures(backbone, make_spec, tmp_path):
    store = Store(tmp_path / "runs")

    def follow(strategy, **parameters):
        spec = make_spec(strategy, 12, **parameters)
        found = load_trajectories(run_trajectories(spec, Runtime(store), [(0, 2)], backbone=backbone))
        assert list(found) == [(0, 2)]
        return spec, found

    spec, base = follow("base")
    one = base[0, 2]
    assert one.distance.shape == one.cosine.shape == one.timesteps.shape == (12,)
    assert one.distance_maps.shape == (12, 8, 8) and one.latents.shape == (13, 4, 8, 8)
    assert one.clean.shape == (12, 4, 8, 8) and one.attention.shape == (6, 8, 8)
    assert one.spectrum_guided.shape == one.spectrum_clean.shape == (12, 7)
    assert one.film_guided.shape == one.film_concept.shape == one.film_superclass.shape == (6, 16, 16, 3)
    assert one.frames[0] == 0 and one.frames[-1] == 11 and (np.diff(one.timesteps) < 0).all()

    from PIL import Image

    saved = Image.open(run_sample(spec, Runtime(store), backbone=backbone) / picture_name(0, 2))
    final = backbone.decode(torch.from_numpy(one.latents[-1:].astype(np.float32)))[0]
    assert np.abs(np.asarray(final, int) - np.asarray(saved, int)).max() <= 2

    _, switching = follow("switching", switch_step=5)
    _, superclass = follow("superclass")
    apart = latent_distance(switching[0, 2], superclass[0, 2])
    assert (apart[:6] == 0).all() and (apart[6:] > 0).all()
    table = latent_distances(switching, {"superclass": superclass, "base": base})
    assert list(table["latents"][:13]) == list(apart) and set(table["label"]) == {"superclass", "base"}
    assert set(table["picture"]) == {"prompt 0, seed 2"} and list(table["step"]) == 2 * list(range(13))
    with pytest.raises(UserError, match="not followed in 'base'"):
        latent_distances(switching, {"base": {}})


def test_any_set_of_pictures_and_only_what_is_missing(backbone, make_spec, tmp_path, monkeypatch):
    spec, store, calls = make_spec(), Store(tmp_path / "runs"), []
    wanted = [(2, 1), (0, 3), (1, 0), (0, 0), (2, 0), (1, 3)]

    def counted(*args, **options):
        calls.append((args[2], args[6]))
        return sample(*args, **options)

    monkeypatch.setattr("persongen_lib.trajectories.run.sample", counted)
    folder = run_trajectories(spec, Runtime(store), wanted, backbone=backbone)
    found = load_trajectories(folder)
    assert list(found) == sorted(wanted)
    assert [(len(prompts), seeds) for prompts, seeds in calls] == [(2, (0, 3)), (1, (0, 1))]
    pictures = sample(
        backbone, make_strategy("base"), spec.prompts[2], "sks", "dog", STEPS, [1], output="latents"
    )
    np.testing.assert_allclose(found[2, 1].latents[-1], pictures.latents[0], rtol=2e-3, atol=2e-3)
    assert (
        run_trajectories(spec, Runtime(store), wanted[::-1], backbone=backbone) == folder and len(calls) == 2
    )

    calls.clear()
    (folder / "DONE").unlink()
    (folder / "p01_s0003.npz").unlink()
    folder.rename(folder.with_suffix(".partial"))
    again = load_trajectories(run_trajectories(spec, Runtime(store), wanted, backbone=backbone))
    assert calls == [([TEMPLATE], (3,))]
    alike(again[1, 3], found[1, 3])


def test_wrong_pictures_are_refused(make_spec, tmp_path):
    for pictures, said in (
        ([(3, 1)], "no image of prompt 3"),
        ([(0, 9)], "seed 9"),
        ([], "no image given"),
    ):
        with pytest.raises(UserError, match=said):
            run_trajectories(make_spec(), Runtime(Store(tmp_path)), pictures)


def still(clean, final):
    """A trajectory of which only the x0 and the final latents matter."""
    empty = dict.fromkeys(Trajectory.__dataclass_fields__)
    return Trajectory(**{**empty, "clean": clean, "latents": np.stack([final, final])})


def test_bands_are_decided_one_after_the_other():
    place = 2 * np.pi * np.arange(16) / 16
    waves = [np.ones((16, 16)), *(np.cos(k * place)[None] + np.zeros((16, 1)) for k in (1, 4, 7))]
    clean = np.stack([sum(waves[: step + 1]) for step in range(4)])[:, None]
    table = decided({(1, 0): still(clean, clean[-1])})
    shares = table.pivot(index="step", columns="band", values="share")[list(table["band"].unique())]
    np.testing.assert_allclose(shares, np.tril(np.ones((4, 4))), atol=1e-6)
    assert list(shares.columns) == ["overall color", "layout (1–2)", "shapes (3–5)", "detail (over 5)"]
    assert set(table["picture"]) == {"prompt 1, seed 0"}
    half = decided({(1, 0): still(clean[-1:] / 2, clean[-1])})
    np.testing.assert_allclose(half["share"], 0.75, atol=1e-6)
    with pytest.raises(UserError, match="1 <= layout < shapes"):
        decided({(1, 0): still(clean, clean[-1])}, layout=5)


def test_strategies_with_the_same_numbers_are_different_trajectories(make_spec):
    base, superclass = (
        TrajectorySpec(replace(make_spec(), strategy=make_strategy(name, guidance_scale=5.0)), ((0, 1),))
        for name in ("base", "superclass")
    )
    assert base.hash != superclass.hash
    assert TrajectorySpec.from_dict(base.to_dict()) == base
