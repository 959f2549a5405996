import json

import pandas as pd
import pytest
import torch
from tiny import tiny_backbone, tiny_pipeline

from persongen_lib.backbones import FAMILIES
from persongen_lib.backbones.random import _known, list_random_models, make_component, random_backbone
from persongen_lib.benchmark import CLOCKS, PIPELINE, benchmark, pipeline_sampler, summarize, to_text
from persongen_lib.cli.main import main
from persongen_lib.core.errors import UserError
from persongen_lib.sampling import Prompts, initial_noise, make_strategy, sample

PROMPT = ("a photo of {} in the snow", "sks", "dog")
QUICK = {"masked": {"switch_step": 1}, "photoswap": {}, "switching": {"switch_step": 1}}


@pytest.fixture(scope="module")
def table():
    strategies = [make_strategy(name, **parameters) for name, parameters in QUICK.items()]
    return benchmark(tiny_backbone(), strategies, pictures=2, num_steps=3, repeats=2)


def test_every_contestant_is_in_every_repeat(table):
    for _, repeat in table.groupby("repeat"):
        assert sorted(repeat["strategy"]) == sorted([PIPELINE, "base", *QUICK])
        assert sorted(repeat["place"]) == list(range(len(repeat)))
    assert (table[["seconds", "cpu_seconds", "peak_memory", "model_memory"]] > 0).all().all()
    assert table["git_commit"].nunique() <= 1 and table["torch"].unique().tolist() == [torch.__version__]
    assert table["dtype"].unique().tolist() == ["float32"] and (table["rows_per_second"] > 0).all()


def test_evaluations_are_those_of_sample(table):
    counted = table.groupby("strategy")["evaluations"].unique()
    for name, parameters in QUICK.items():
        strategy = make_strategy(name, **parameters).resolved(7, 3)
        assert (
            json.loads(table.set_index("strategy").loc[name, "parameters"].iloc[0]) == strategy.parameters()
        )
        result = sample(tiny_backbone(), strategy, *PROMPT, num_steps=3, seeds="0-1", output="latents")
        assert counted[name].tolist() == [result.evaluations]
    assert counted[PIPELINE].tolist() == counted["base"].tolist() == [6]


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_pipeline_does_the_same_work_as_base(prediction_type):
    backbone, rows = tiny_backbone(prediction_type), []
    own_scheduler = backbone._pipeline.scheduler
    backbone.modules["network"].register_forward_pre_hook(lambda network, given: rows.append(len(given[0])))
    noise = initial_noise([3, 4], backbone.latent_shape)
    own = pipeline_sampler(backbone, Prompts(*PROMPT)["concept"], noise, 5, 7.0)()
    calls, rows[:] = list(rows), []
    ours = sample(backbone, make_strategy("base"), *PROMPT, num_steps=5, latents=noise, output="latents")
    assert torch.allclose(own.latents, ours.latents, atol=1e-3, rtol=1e-3)
    assert calls == rows and sum(calls) == 2 * own.evaluations
    assert backbone._pipeline.scheduler is own_scheduler


@pytest.mark.parametrize("family", ["sd3", "flux"])
def test_models_of_flow_matching_are_benchmarked_by_eulers_solver(family):
    backbone, rows = tiny_backbone(family=family), []
    table = benchmark(backbone, [make_strategy("mixed")], pictures=2, num_steps=3, repeats=1)
    assert set(table["strategy"]) == {PIPELINE, "base", "mixed"}
    backbone.modules["network"].register_forward_pre_hook(
        lambda network, given, named: rows.append(len((*given, *named.values())[0])), with_kwargs=True
    )
    noise = initial_noise([3, 4], backbone.latent_shape)
    own = pipeline_sampler(backbone, Prompts(*PROMPT)["concept"], noise, 5, 7.0)()
    calls, rows[:] = sum(rows), []
    base = make_strategy("base", guidance_scale=7)
    ours = sample(backbone, base, *PROMPT, 5, latents=noise, output="latents", scheduler="flow-euler")
    assert own.latents.shape == noise.shape
    assert torch.allclose(own.latents, ours.latents, atol=1e-3, rtol=1e-3)
    assert calls == sum(rows) == 2 * own.evaluations


def test_the_summary_by_hand():
    about = {"backbone": "b", "device": "cpu", "dtype": "float32", "compile": False, "num_steps": 2}
    about |= {"pictures": 2, "date": "today", "peak_memory": 2**20, "evaluations": 4}
    seconds = {PIPELINE: [2.0, 4.0, 6.0], "base": [2.0, 3.0, 6.0], "mixed": [3.0, 6.0, 6.0]}
    rows = [
        {**about, "strategy": name, "repeat": repeat, "seconds": value, "cpu_seconds": 1.0}
        for name, values in seconds.items()
        for repeat, value in enumerate(values)
    ]
    table = pd.DataFrame(rows)
    summary = summarize(table).set_index("strategy")
    assert summary["seconds_per_picture"].to_dict() == {"base": 1.5, PIPELINE: 2.0, "mixed": 3.0}
    assert summary["ratio_to_diffusers"].to_dict() == {"base": 1.0, PIPELINE: 1.0, "mixed": 1.5}
    assert summary["ratio_to_base"].to_dict() == {"base": 1.0, PIPELINE: 1.0, "mixed": 1.5}
    mixed = summary.loc["mixed"]
    assert 1.0 <= mixed["ratio_to_base_low"] <= 1.5 <= mixed["ratio_to_base_high"] <= 2.0
    assert (summarize(table, "cpu")["ratio_to_base"] == 1).all()
    text = to_text(summarize(table)).splitlines()
    assert len(text) == 4 and text[1].startswith("base") and "1.0 MiB" in text[1]
    two = pd.concat([table, table.assign(backbone="c")])
    assert len(summarize(two)) == 6
    with pytest.raises(UserError, match="wall, cpu"):
        summarize(table, "sun")
    assert set(CLOCKS) == {"wall", "cpu"}


def test_strategies_are_checked():
    for strategies, said in (
        (["base", "base"], "only once"),
        (["mixed", "mixed"], "only once"),
    ):
        with pytest.raises(UserError, match=said):
            benchmark(tiny_backbone(), [make_strategy(name) for name in strategies])
    for scale in (1, [7, 7]):
        with pytest.raises(UserError, match="above 1"):
            benchmark(tiny_backbone(), [make_strategy("base", guidance_scale=scale)], num_steps=2)


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_pipeline().save_pretrained(tmp_path / "model")
    return ["benchmark", "--backbone", "model", "--device", "cpu", "--steps", "2", "--pictures", "1"]


def test_the_command_writes_a_table_and_prints_a_summary(command, tmp_path, capsys):
    more = ["--strategies", "mixed", "--repeats", "1", "--output", "out/table.parquet"]
    assert main([*command, *more]) == 0
    table = pd.read_parquet(tmp_path / "out/table.parquet")
    assert sorted(table["strategy"]) == ["base", PIPELINE, "mixed"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["table.parquet"]
    shown = capsys.readouterr().out
    assert "mixed" in shown and "wall clock" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--strategies", "mixed,best"], "unknown strategy: best; known: base"),
        (["--strategies", ""], "--strategies: must not be empty"),
        (["--strategies", "mixed,mixed"], "only once"),
        (["--repeats", "0"], "the number of repeats must be"),
        (["--pictures", "0"], "the number of pictures must be"),
        (["--steps", "0"], "the number of steps must be"),
        (["--output", "table.csv"], "must end with .parquet"),
        (["--backbone", "random-sd9"], "unknown backbone"),
        (["--backbone", "random-sd2", "--dtype", "fp8"], "unknown dtype"),
        (["--clock", "sun"], "invalid choice"),
    ],
)
def test_wrong_input_is_one_sentence(command, capsys, arguments, said):
    assert main([*command, *arguments]) == 2
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.startswith("persongen: ")]
    assert said in line and "Traceback" not in captured.err


def test_random_models_have_the_public_sizes():
    sizes = {"random-sd2": 865_910_724, "random-sdxl": 2_567_463_684, "random-pixart": 610_856_096}
    assert set(sizes) == set(list_random_models())
    for name, size in sizes.items():
        components = _known()[name]["components"]
        with torch.device("meta"):
            network = make_component(components.get("unet") or components["transformer"])
        assert sum(parameter.numel() for parameter in network.parameters()) == size


SMALL = {
    "unet": {
        "sample_size": 8,
        "block_out_channels": [32, 32],
        "attention_head_dim": 4,
        "layers_per_block": 1,
    },
    "transformer": {"sample_size": 8, "num_layers": 1, "attention_head_dim": 4, "cross_attention_dim": 64},
}
BLOCKS = {
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
}


@pytest.mark.parametrize("name", list_random_models())
def test_random_models_of_the_same_form_but_small_are_benchmarked(name, monkeypatch):
    about = json.loads(json.dumps(_known()[name]))
    if about["pipeline"] not in FAMILIES:
        pytest.skip(f"no backbone for {about['pipeline']} yet")
    for part, small in SMALL.items():
        if part in about["components"]:
            about["components"][part] |= {**small, **(BLOCKS if part == "unet" else {})}
            if "transformer_layers_per_block" in about["components"][part]:
                about["components"][part]["transformer_layers_per_block"] = 1
    monkeypatch.setattr("persongen_lib.backbones.random._known", lambda: {name: about})
    backbone = random_backbone(name, "cpu", "fp32")
    assert backbone.name == name
    strategies = [make_strategy("mixed"), make_strategy("masked", switch_step=1)]
    table = benchmark(backbone, strategies, pictures=1, num_steps=2, repeats=1)
    assert set(table["strategy"]) == {PIPELINE, "base", "mixed", "masked"}
    noise = initial_noise([0], backbone.latent_shape)
    own = pipeline_sampler(backbone, Prompts(*PROMPT)["concept"], noise, 2, 7.0)()
    base = make_strategy("base", guidance_scale=7)
    ours = sample(backbone, base, *PROMPT, num_steps=2, latents=noise, output="latents", scheduler="ddim")
    assert torch.allclose(own.latents, ours.latents, atol=1e-3, rtol=1e-3)
