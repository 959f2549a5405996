"""The second judge: drawing styles, the views it is trained on, its network, and what is read from its folder."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.world.draw.dataset import Pictures, labels_of, render_dataset, scene_at, style_at
from persongen_lib.world.draw.scene import Scene, render
from persongen_lib.world.draw.styles import USUAL, Style
from persongen_lib.world.models.networks import JudgeNetwork, OracleNetwork
from persongen_lib.world.models.oracle import load_oracle
from persongen_lib.world.training import evaluators
from persongen_lib.world.training.evaluators import ReaderTask, Views, moved
from persongen_lib.world.training.export import export_reader
from persongen_lib.world.training.recipe import DATA_SEED, JUDGE_SEED, Recipe
from persongen_lib.world.training.trainer import Draws, Plan


def scene(**given) -> Scene:
    return Scene.draw(np.random.default_rng(1), class_name="vase", accessory=None, color=None, **given)


# styles


def test_wider_lines_cover_more_and_darker_ink_is_darker():
    masks = [render(scene(), style=Style(line=line))[1].sum() for line in (0.0, 1.0, 2.0)]
    assert masks[0] < masks[1] < masks[2]
    light = [render(scene(), style=Style(ink=ink))[0].astype(float).mean() for ink in (0.0, 0.28, 0.8)]
    assert light[0] < light[1] < light[2]


def test_shading_darkens_downward_and_slant_to_the_right():
    def halves(style: Style) -> tuple[float, float]:
        picture, mask = render(scene(context="fabric").with_(rotation=0.0, x=32.0), style=style)
        weights, light = mask > 0.99, picture.astype(float).mean(-1)
        columns, rows = np.meshgrid(np.arange(64), np.arange(64))
        middle = rows[weights].mean()
        down = light[weights & (rows > middle)].mean() - light[weights & (rows < middle)].mean()
        right = light[weights & (columns >= 32)].mean() - light[weights & (columns < 32)].mean()
        return down, right

    flat, steep = halves(Style(shading=0.0)), halves(Style(shading=0.4))
    assert steep[0] < flat[0] - 10
    left, right = halves(Style(shading=0.3, slant=-1.0)), halves(Style(shading=0.3, slant=1.0))
    assert right[1] < left[1] - 10


def test_a_third_of_a_turn_exchanges_the_primary_colors():
    colors = np.random.default_rng(0).uniform(0.3, 0.7, (5, 3)).astype(np.float32)
    turned = Style(hue=2 * np.pi / 3).graded(colors)
    np.testing.assert_allclose(turned, np.roll(colors, 1, axis=1), atol=1e-6)
    gray = Style(saturation=0.0).graded(colors)
    np.testing.assert_allclose(gray, np.repeat(colors.mean(1, keepdims=True), 3, 1), atol=1e-6)
    np.testing.assert_allclose(Style(gamma=2.0).graded(colors), colors**2, atol=1e-6)
    assert USUAL.graded(colors) is colors


def test_a_styled_data_set_mixes_the_usual_style_with_others(tmp_path, monkeypatch):
    monkeypatch.setattr("persongen_lib.world.draw.dataset.SHARD", 8)
    render_dataset(tmp_path, 16, seed=4, workers=1, styled=True)
    pictures, styles = Pictures(tmp_path), [style_at(k, 4) for k in range(16)]
    assert 3 <= styles.count(USUAL) <= 10 and len(set(styles)) == 17 - styles.count(USUAL)
    for row in range(16):
        assert np.array_equal(pictures[np.array([row])][0], render(scene_at(row, 4), style=styles[row])[0])
        assert tuple(pictures.labels[row]) == labels_of(scene_at(row, 4))
    assert JUDGE_SEED != DATA_SEED and evaluators.JUDGE_PLAN.seed != evaluators.ORACLE_PLAN.seed


# views


def test_images_are_moved_as_rolled_ones_with_repeated_edges():
    x = torch.randn(9, 3, 6, 8)
    by = torch.randint(-4, 5, (9, 2), generator=torch.Generator().manual_seed(0))
    padded = F.pad(x, (4, 4, 4, 4), mode="replicate")
    rolled = [torch.roll(one, tuple(shift.tolist()), (1, 2)) for one, shift in zip(padded, by, strict=True)]
    assert torch.equal(moved(x, by), torch.stack(rolled)[..., 4:-4, 4:-4])


@pytest.fixture
def few(tmp_path, monkeypatch):
    """A folder of 32 images, and a file of 8 decoded ones, all black."""
    monkeypatch.setattr("persongen_lib.world.draw.dataset.SHARD", 16)
    render_dataset(tmp_path / "pictures", 32, seed=4, workers=1, styled=True)
    np.save(tmp_path / "decoded.npy", np.zeros((8, 64, 64, 3), np.uint8))
    return str(tmp_path / "pictures"), str(tmp_path / "decoded.npy")


def test_views_are_rendered_or_decoded_and_the_same_from_disk_as_from_the_devices_memory(few, monkeypatch):
    rows = np.arange(32)
    for name in ("DECODED_SHARE", "BLURRED_SHARE"):
        monkeypatch.setattr(evaluators, name, {"DECODED_SHARE": 1.0, "BLURRED_SHARE": 0.0}[name])
    views = Views(*few, "cpu")
    x = views(rows, Draws(np.random.default_rng(0), torch.Generator().manual_seed(0)))
    assert x.shape == (32, 3, 64, 64)
    assert (x[:8].mean((1, 2, 3)) < -0.8).all() and (x[8:].mean((1, 2, 3)) > -0.8).all()
    kept = evaluators.held(views.pictures, "meta")(rows)
    assert kept.shape == (32, 64, 64, 3) and kept.dtype == torch.uint8


# the network and its folder


def test_the_judge_learns_and_is_read_from_its_folder_like_the_oracle(few, tmp_path):
    task = ReaderTask(JudgeNetwork, *few, "cpu")
    torch.manual_seed(0)
    model, losses = task.build(), []
    task.pairs_of = [np.arange(len(task.labels) // 2)]
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for step in range(24):
        draws = Draws(np.random.default_rng(step), torch.Generator().manual_seed(step))
        loss, values = task.loss(model, 16, draws)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5]) and set(values) == {"class", "context", "accessory"}
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()},
        tmp_path / "final.safetensors",
    )
    (tmp_path / "loss.csv").write_text("step,seconds,loss\n24,1,1.0\n")
    plan = {"plan": {"batch_size": 16}, "workers": 1}
    (tmp_path / "training.json").write_text(json.dumps(plan))
    export_reader(JudgeNetwork, tmp_path, tmp_path / "micro-judge")
    assert (tmp_path / "micro-judge" / "model.safetensors").stat().st_size < 1.3 * 2**20
    judge = load_oracle(tmp_path / "micro-judge")
    images = [Image.fromarray(picture) for picture in task.views.pictures[np.arange(6)]]
    seen = judge(images)
    model.eval()
    with torch.no_grad():
        x = torch.from_numpy(task.views.pictures[np.arange(6)]).permute(0, 3, 1, 2) / 127.5 - 1
        outputs = model(x)
    torch.testing.assert_close(seen.identity, outputs["identity"], atol=0.02, rtol=0)
    assert judge.features(images).shape == (6, JudgeNetwork.WIDTH)
    assert isinstance(judge.network, JudgeNetwork) and isinstance(load_oracle().network, OracleNetwork)


def test_weights_of_another_network_are_refused(tmp_path):
    shipped = DATA / "models/micro-oracle"
    (tmp_path / "config.json").write_bytes((shipped / "config.json").read_bytes())
    weights = load_file(shipped / "model.safetensors")
    weights["heads.class.bias"] = weights["heads.class.bias"][:-1].clone()
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="neither an oracle's nor a judge's"):
        load_oracle(tmp_path)
    with pytest.raises(UserError, match="no judge in .* train one with `persongen world train judge`"):
        load_oracle(tmp_path / "micro-judge")


def test_the_recipe_trains_and_exports_a_judge(tmp_path, monkeypatch):
    monkeypatch.setattr("persongen_lib.world.draw.dataset.SHARD", 256)
    monkeypatch.setattr(evaluators, "JUDGE_PLAN", Plan(2, 16, 1e-3))
    Recipe(tmp_path, tmp_path / "models", 256, workers=1, device="cpu", start_from=DATA / "models").train(
        "judge"
    )
    judge = load_oracle(tmp_path / "models/micro-judge")
    assert isinstance(judge.network, JudgeNetwork)
    assert (tmp_path / "models/micro-judge/training/judge.csv").exists()
    assert not (tmp_path / "pictures").exists()


def test_training_the_judge_needs_no_library_of_other_evaluators():
    program = (
        f"import sys; import {Recipe.__module__}; from {JudgeNetwork.__module__} import JudgeNetwork; "
        "JudgeNetwork(); sys.exit(bool({'open_clip', 'timm', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
