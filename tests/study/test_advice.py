"""Recommended commands: what is printed parses, and samples with exactly what the table measured."""

import ast
import json
import re
import shlex
from argparse import ArgumentParser

import pandas as pd
import pytest
from hostile import NAMES
from markdown_it import MarkdownIt

from persongen_lib import make_strategy, sample_spec
from persongen_lib.backbones.defaults import sampling_defaults
from persongen_lib.cli import main as cli
from persongen_lib.cli import sample as sample_cli
from persongen_lib.cli.arguments import loading_options, parse_parameters
from persongen_lib.core.errors import UserError
from persongen_lib.core.hashing import canonical_json
from persongen_lib.sampling.engine.specs import default_strategy
from persongen_lib.study.advice import advice, python_lines, sample_command, why_no_command
from persongen_lib.study.translation import translated

SNOW = "a photo of a {} in the snow"


def option(strategy, parameters, **about):
    return pd.Series({"strategy": strategy, "parameters": canonical_json(parameters), **about})


def sampled(command):
    """The spec of what a command samples."""
    program, name, *words = shlex.split(command)
    assert (program, name) == ("persongen", "sample")
    parser = ArgumentParser()
    sample_cli.add_arguments(parser)
    asked = parser.parse_args(words)
    return sample_spec(
        asked.strategy, [SNOW], 0, asked.steps, backbone=asked.backbone, class_name="dog",
        scheduler=asked.scheduler, loading=loading_options(asked), **parse_parameters(asked.param),
    )  # fmt: skip


@pytest.mark.parametrize("backbone", ["micro", "sd2", "sdxl", "pixart"])
@pytest.mark.parametrize(
    ("strategy", "changed"),
    [
        ("base", {}),
        ("mixed", {"concept_scale": 1.75, "superclass_scale": 1.75}),
        ("mixed", {"concept_scale": 2.5, "superclass_scale": 2.5, "superclass_weights": "original"}),
        ("masked", {"quantile": 0.7, "switch_step": 0}),
        ("photoswap", {"align_tokens": True}),
        ("base", {"guidance_scale": [7.0, 3.5, 0.0]}),
        ("searched", {}),
        ("searched", {"concept_knots": [1.0, 2.0]}),
    ],
)
def test_the_command_samples_with_the_parameters_of_the_table(backbone, strategy, changed):
    steps = {"num_steps": 3} if strategy == "base" and changed else {}
    spec = sample_spec(strategy, [SNOW], 0, backbone=backbone, class_name="dog", **steps, **changed)
    row = option(
        strategy, spec.parameters, backbone=backbone, num_steps=spec.num_steps, scheduler=spec.scheduler
    )
    command = sample_command(row, "--template", SNOW)
    assert sampled(command) == spec
    assert ("--backbone" in command) == (backbone != "micro")
    usual = sample_spec(strategy, [SNOW], 0, spec.num_steps, backbone=backbone, class_name="dog")
    assert ("--param" in command) == (usual != spec)
    assert ("--steps" in command) == bool(steps) and "--scheduler" not in command


def test_steps_and_scheduler_are_said_where_they_are_not_the_backbones():
    spec = sample_spec(
        "mixed", [SNOW], 0, 30, backbone="pixart", class_name="dog", scheduler="ddim", concept_scale=1
    )
    row = option("mixed", spec.parameters, backbone="pixart", num_steps=30, scheduler="ddim")
    assert sampled(sample_command(row)) == spec


def test_what_the_model_was_loaded_with_is_said(tmp_path):
    loading = {"original": f"{tmp_path}/a b", "variant": "fp16", "vae": str(tmp_path), "guidance": 2.5}
    spec = sample_spec("base", [SNOW], 0, class_name="dog", loading=loading)
    row = option("base", spec.parameters, backbone="micro", loading=canonical_json(spec.loading))
    assert sampled(sample_command(row)) == spec and not why_no_command(row)
    loaded = []
    names = {"make_strategy": make_strategy, "load_backbone": lambda *a, **b: loaded.append((a, b))}
    exec(python_lines(row), names)
    assert loaded == [(("micro",), loading)]


@pytest.mark.parametrize("loading", ["{", "[1]", '{"weights": 1}', '{"variant": 1}', "7", *NAMES])
def test_a_loading_that_is_none_has_no_command(loading):
    assert why_no_command(option("base", {}, loading=loading)).startswith("There is no command")


def test_a_wrong_option_of_loading_is_named():
    row = option("base", {}, loading='{"variant": 1}')
    assert why_no_command(row).endswith("variant must be a name such as 'fp16', not 1")


def test_a_backbone_that_is_not_here_has_all_parameters_said():
    spec = sample_spec("mixed", [SNOW], 0, class_name="dog")
    command = sample_command(option("mixed", spec.parameters, backbone="no/such folder"))
    assert command.startswith("persongen sample --strategy mixed --backbone 'no/such folder' --param")
    assert command.count("--param") == len(spec.parameters)


@pytest.mark.parametrize("backbone", ["micro", "sdxl"])
def test_python_lines_make_what_the_table_has(backbone):
    spec = sample_spec(
        "masked", [SNOW], 0, backbone=backbone, class_name="dog", superclass_weights="original"
    )
    lines, loaded = python_lines(option("masked", spec.parameters, backbone=backbone)), []
    names = {"make_strategy": make_strategy, "load_backbone": loaded.append}
    exec(lines, names)
    assert canonical_json(names["strategy"].parameters()) == canonical_json(spec.parameters)
    assert loaded == ([] if backbone == "micro" else [backbone])


def test_the_command_line_recommends_with_the_tables_backbone(tmp_path, capsys):
    """A table of sdxl whose parameters are partly those of micro, and partly sdxl's own."""
    labels = {"base": {"guidance_scale": 3.5}, "mixed": {}}
    specs = {
        name: sample_spec(name, [SNOW], 0, backbone="sdxl", class_name="dog", **own)
        for name, own in labels.items()
    }
    rows = [
        {
            "label": name, "strategy": name, "parameters": canonical_json(spec.parameters), "backbone": "sdxl",
            "num_steps": spec.num_steps, "scheduler": spec.scheduler, "concept": f"c{concept}", "template": SNOW,
            "evaluations": 100, "identity": 0.9, "prompt_right": 0.5 + 0.1 * len(name),
        }
        for name, spec in specs.items() for concept in range(3)
    ]  # fmt: skip
    path = tmp_path / "sdxl.parquet"
    pd.DataFrame(rows).to_parquet(path)
    assert cli.main(["recommend", "--results", str(path)]) == 0
    commands = [line.strip() for line in capsys.readouterr().out.splitlines() if "persongen sample" in line]
    assert commands == [
        "persongen sample --strategy mixed --backbone sdxl",
        "persongen sample --strategy base --backbone sdxl --param guidance_scale=3.5",
    ]
    assert [sampled(command) for command in commands] == [specs["mixed"], specs["base"]]


def test_advice_says_what_to_type():
    names = {"identity": "identity", "leak": "leak"}
    scores = {f"{name}{end}": 0.65 for name in names for end in ("", "_low", "_high")}
    own = {"reference_prompt": "superclass", "superclass_weights": "original"}
    parameters = [{"concept_scale": scale, "superclass_scale": 1.75, **own} for scale in (1.75, 1.0)]
    found = pd.DataFrame(
        {
            "label": ["mixed, original", "mixed 1"], "strategy": "mixed", "backbone": "micro",
            "parameters": [json.dumps(one) for one in parameters], "evaluations": 100.0,
            "reason": ["it is the best", "it is the next"], **scores,
        }
    )  # fmt: skip
    command = sample_command(found.iloc[0])
    assert command == "persongen sample --strategy mixed --param superclass_weights=original"
    words = advice("Prompt first", found, names, "cat")
    assert words.startswith(
        "**Prompt first: mixed, original.** Mean identity 0.65 [0.65, 0.65], leak 0.65 [0.65, 0.65], "
        "100 evaluations per image. It is the best. Next: mixed 1 (it is the next)."
    )
    shown, lines = (token.content for token in MarkdownIt().parse(words) if token.type == "fence")
    typed = shlex.split(shown.replace("\\\n", ""))
    assert typed == [*shlex.split(command), "--concept", "cat", "--template", SNOW]
    assert lines.startswith('strategy = make_strategy(\n    "mixed",\n') and lines.count("    ") == 4
    (call,) = [node for node in ast.walk(ast.parse(lines)) if isinstance(node, ast.Call)]
    given = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
    assert given == {"concept_scale": 1.75, "superclass_scale": 1.75, "superclass_weights": "original"}
    assert max(map(len, lines.splitlines())) <= 40


def test_the_command_names_the_fine_tuning_method_unless_it_is_the_usual_one():
    parameters = sample_spec("base", [SNOW], 0, class_name="dog").parameters
    assert "--method" not in sample_command(option("base", parameters, method="dreambooth"))
    assert shlex.split(sample_command(option("base", parameters, method="lora")))[-2:] == ["--method", "lora"]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_in_advice_are_quoted(name):
    row = option(
        "mixed", {"superclass_weights": "original"}, backbone=name, label=name, reason=name, evaluations=50
    )
    text = advice(name, pd.DataFrame([row, row]), {}, concept=name)
    tokens = MarkdownIt("gfm-like").parse(text)
    assert [token.type for token in tokens if token.level == 0] == [
        "paragraph_open",
        "paragraph_close",
        "fence",
        "fence",
    ]
    kinds = {"text", "text_special", "strong_open", "strong_close"}
    assert {child.type for child in tokens[1].children} <= kinds
    command, lines = (token.content for token in tokens if token.type == "fence")
    words = shlex.split(command)
    assert words.count(name) == 2
    calls = [node for node in ast.walk(ast.parse(lines)) if isinstance(node, ast.Call)]
    assert {call.func.id for call in calls} == {"load_backbone", "make_strategy"}
    assert any(argument.value == name for call in calls for argument in call.args)
    wrong = option("mixed", {"superclass_weights": name}, label="mixed", reason="why", evaluations=50)
    tokens = MarkdownIt("gfm-like").parse(advice("wanted", pd.DataFrame([wrong]), {}))
    assert [token.type for token in tokens if token.level == 0] == ["paragraph_open", "paragraph_close"] * 2
    assert {child.type for child in tokens[4].children} <= kinds


@pytest.mark.parametrize(
    "parameters", ["[]", "{", "null", '{"x); import os; (y": 1}', "[" * 100_000, "9" * 5000, None]
)
def test_parameters_of_a_table_that_are_none(parameters):
    row = pd.Series({"strategy": "mixed", "parameters": parameters})
    for said in (sample_command, python_lines):
        with pytest.raises(UserError, match="must be an object of names and values"):
            said(row)
        assert "must be an object of names and values" in why_no_command(row)


@pytest.mark.parametrize(
    ("strategy", "parameters", "about", "why"),
    [
        ("mixed", {"concept_scale": "rm -rf"}, {}, "concept_scale of mixed must be a number"),
        ("mixed", {"concept_scale": float("nan")}, {}, "concept_scale of mixed must be a number"),
        ("base", {"superclass_scale": 1.0}, {}, "unknown parameter of strategy base: superclass_scale"),
        ("nobody", {}, {}, "unknown strategy: nobody"),
        ("base", {}, {"num_steps": 2.5}, "number of steps must be a whole number"),
        ("base", {}, {"scheduler": "rm"}, "unknown scheduler: rm"),
        ("base", {"guidance_scale": [7.0, 3.5]}, {"num_steps": 3, "scheduler": "ddim"}, "list of 3 numbers"),
    ],
)
def test_a_row_that_no_command_can_sample_has_none(strategy, parameters, about, why, tmp_path, capsys):
    text = json.dumps(parameters)
    wrong = {"label": "wrong", "strategy": strategy, "parameters": text, "identity": 0.9, **about}
    right = {"label": "right", "strategy": "base", "parameters": "{}", "identity": 0.5}
    right |= {name: {"num_steps": 50, "scheduler": "ddim"}[name] for name in about}
    both = [
        {"concept": "dog", "template": SNOW, "evaluations": 100, "prompt_right": 0.5, **row}
        for row in (wrong, right)
    ]
    path = tmp_path / "own.csv"
    pd.DataFrame(both).to_csv(path, index=False)
    assert cli.main(["recommend", "--results", str(path)]) == 0
    first, second = capsys.readouterr().out.split("2. right")
    assert "There is no command for this row of the table: " in first and why in first
    assert "persongen sample" not in first and "persongen sample --strategy base" in second
    assert why_no_command(pd.Series(right)) == ""


def measured(**columns):
    """A table of one image per option: defaults of micro, and what a study of micro may sweep."""
    usual = sampling_defaults("micro")
    options = {
        "base": ("base", {}, 25), "base, 17 steps": ("base", {}, 17), "mixed 1 + 2.5": (
            "mixed", {"concept_scale": 1.0, "superclass_scale": 2.5}, 25
        ), "switching": ("switching", {"switch_step": 5}, 25),
    }  # fmt: skip
    return pd.DataFrame(
        {
            "label": label, "strategy": name, "num_steps": steps, "concept": concept, "template": SNOW,
            "backbone": "micro", "method": "lora",
            "parameters": canonical_json(default_strategy(name, usual, steps, **given).parameters()),
            "evaluations": 2 * steps, "identity": 0.5, "prompt_right": 0.5, "scheduler": "ddim",
        }
        for label, (name, given, steps) in options.items() for concept in ("a", "b")
    ).assign(**columns)  # fmt: skip


def test_options_are_translated_to_another_models_scales_and_steps():
    """SD-2 has 50 steps and a guidance of 7 where micro has 25 and 3.5: everything is twice as much."""
    found = translated(measured(), "sd2").drop_duplicates("label").set_index("label")
    parameters = found["parameters"].map(json.loads)
    assert found["num_steps"].to_dict() == {
        "base": 50,
        "base, 17 steps": 34,
        "mixed 1 + 2.5": 50,
        "switching": 50,
    }
    assert found.loc["base, 17 steps", "evaluations"] == 68 and parameters["base"]["guidance_scale"] == 7
    assert (
        parameters["mixed 1 + 2.5"]["concept_scale"],
        parameters["mixed 1 + 2.5"]["superclass_scale"],
    ) == (2, 5)
    assert parameters["switching"]["switch_step"] == 10
    assert set(found["backbone"]) == {"sd2"} and set(found["measured_on"]) == {"micro"}
    for _, row in found.iterrows():
        assert not why_no_command(row) and sampled(sample_command(row)).backbone == "sd2"


def test_what_can_not_be_translated_is_told():
    rows = measured()
    schedule = canonical_json({"guidance_scale": [3.5] * 25})
    rows.loc[rows["label"] == "base", "parameters"] = schedule
    with pytest.warns(
        UserWarning, match="left out, as sd2 can't sample them so: base .guidance_scale of base is a sched"
    ):
        assert set(translated(rows, "sd2")["label"]) == {"base, 17 steps", "mixed 1 + 2.5", "switching"}
    with pytest.raises(UserError, match="from a table of one backbone"):
        translated(rows.drop(columns="backbone"), "sd2")
    rows["num_steps"] = rows["num_steps"].astype(float).replace(17, 17.5)
    with pytest.warns(UserWarning, match="base, 17 steps .the number of steps must be a whole number"):
        assert set(translated(rows, "sd2")["label"]) == {"mixed 1 + 2.5", "switching"}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("parameters", "{", "must be a JSON object"),
        ("parameters", "[1]", "must be a JSON object"),
        ("parameters", None, "has empty cells"),
        ("num_steps", None, "num_steps of the results table must have a number above 0"),
        ("num_steps", 0, "num_steps of the results table must have a number above 0"),
        ("num_steps", "many", "must have numbers"),
        ("evaluations", "x", "must have numbers"),
        ("loading", '{"variant":"fp16"}', "loaded in several ways"),
    ],
)
def test_a_table_that_makes_no_sense_is_not_translated(column, value, message, tmp_path, capsys):
    rows = measured(loading=None).astype({column: object})
    rows.loc[rows["label"] == "base", column] = value
    rows.to_csv(tmp_path / "own.csv", index=False)
    assert cli.main(["recommend", "--results", str(tmp_path / "own.csv"), "--backbone", "sd2"]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_json_for_other_programs_has_no_nan(tmp_path, capsys):
    rows = measured(parameters='{"guidance_scale": NaN}', strategy="base", label="base", num_steps=25)
    rows.drop_duplicates("concept").to_csv(tmp_path / "own.csv", index=False)
    assert cli.main(["recommend", "--results", str(tmp_path / "own.csv"), "--json"]) == 0

    def refuse(word):
        raise AssertionError(word)

    (found,) = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found["parameters"] == {"guidance_scale": None}


def test_an_answer_says_on_which_model_it_rests(tmp_path, capsys):
    path = tmp_path / "micro.parquet"
    measured().to_parquet(path)
    assert cli.main(["recommend", "--results", str(path), "--backbone", "sd2", "--top", "1"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert (
        told[-1]
        == "Measured on micro with lora, 2 concepts, not on sd2, to whose scales and steps it is translated."
    )
    assert told[2].startswith("   persongen sample --strategy base --backbone sd2 --method lora --steps 34")
    assert cli.main(["recommend", "--results", str(path), "--backbone", "micro", "--top", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Measured on micro with lora, 2 concepts."
