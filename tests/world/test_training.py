"""Training of the micro-world's models: what stops it, what it leaves, and in which precision it computes."""

import csv
from functools import partial

import pytest
import torch
from line import Line
from safetensors.torch import load_file, save_file

from persongen_lib.core.errors import UserError
from persongen_lib.core.hashing import step_seed
from persongen_lib.world.training.export import trained
from persongen_lib.world.training.precision import mixed_precision
from persongen_lib.world.training.trainer import Plan, train


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path):
    plan = Plan(steps=200, batch_size=4, learning_rate=0.05, checkpoint_every=40, warmup=5)
    with pytest.raises(UserError, match=r"not finite at step 90.*the checkpoint of step 80 stays"):
        train(partial(Line, breaks=90), plan, tmp_path)
    assert all(value.isfinite().all() for value in load_file(tmp_path / "checkpoint.safetensors").values())
    assert trained(tmp_path).keys() == {"weight", "bias"}


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    save_file({"value.other": torch.zeros(1)}, tmp_path / "checkpoint.safetensors")
    plan = Plan(steps=8, batch_size=4, learning_rate=0.05)
    with pytest.raises(UserError, match="is the checkpoint of another training: remove it"):
        train(partial(Line, breaks=9), plan, tmp_path)


def test_the_loss_curve_is_means_of_fifty_steps_also_after_a_kill(tmp_path):
    plan = Plan(steps=120, batch_size=4, learning_rate=0.05, checkpoint_every=64, warmup=5)
    with pytest.raises(UserError):
        train(partial(Line, breaks=110, counts=True), plan, tmp_path)
    train(partial(Line, counts=True), plan, tmp_path)
    with (tmp_path / "loss.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "seconds", "loss", "z", "a"]
    assert [row["step"] for row in rows] == ["50", "100", "120"]
    first = sum(range(1, 51)) / 50
    second = (sum(range(51, 65)) + sum(range(1, 37))) / 50
    assert [float(row["a"]) for row in rows[:2]] == pytest.approx([first, second])
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_the_seed_of_a_step_depends_on_all_its_numbers_and_is_the_same_everywhere():
    assert step_seed(0, 1) == 101995378972165
    seeds = {step_seed(*numbers) for numbers in [(0, 1), (1, 0), (0, 1, 0), (0, 1, 1), (0, 11), (1, 1)]}
    assert len(seeds) == 6 and all(0 <= seed < 2**48 for seed in seeds)


@pytest.mark.parametrize(("amx", "avx512"), [(False, False), (True, False), (False, True)])
def test_a_cpu_computes_in_bfloat16_only_if_it_does_so_in_hardware(monkeypatch, amx, avx512):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    with mixed_precision("cpu"):
        assert layer(x).dtype == (torch.bfloat16 if amx or avx512 else torch.float32)


def test_what_a_worker_refuses_is_one_sentence(tmp_path):
    plan = Plan(steps=8, batch_size=4, learning_rate=0.05)
    with pytest.raises(
        UserError, match="^the loss is not finite at step 2: lower the learning rates"
    ) as error:
        train(partial(Line, breaks=2), plan, tmp_path, workers=2)
    assert "\n" not in str(error.value)
