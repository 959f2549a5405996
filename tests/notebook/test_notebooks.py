"""The notebooks as files, and their running: refused parameters, whole outputs, pages that are missing."""

import ast
from dataclasses import replace

import nbformat
import pandas as pd
import pytest
import yaml
from small_book import builder
from tiny_notebook import write_notebook

from persongen_lib import make_strategy
from persongen_lib.backbones import sampling_defaults
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import ROOT
from persongen_lib.data import load_prompts
from persongen_lib.notebook.cells import complete, parameter_table
from persongen_lib.notebook.start import check_parameters
from persongen_lib.sampling import default_strategy
from persongen_lib.study import Cell, load_study
from persongen_lib.study.job import resolve
from persongen_lib.study.notebooks import notebook_of, notebook_parameters
from persongen_lib.study.papermill import run_notebook

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STRATEGIES = {
    "base": "01_base",
    "switching": "02_switching",
    "mixed": "03_mixed",
    "multistage": "04_multistage",
    "masked": "05_masked",
    "photoswap": "06_photoswap",
    "profusion": "07_profusion",
}
COMMON = {"backbone", "loading", "concept", "prompts", "seeds", "num_steps", "device", "runs"}


@pytest.fixture(scope="module")
def build():
    return builder()


def code_cells(path):
    """The code of a notebook, without the cell that only Colab needs (book/address.py)."""
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code" and cell.id != "colab"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_the_common_parameters_and_starts_by_checking_them(path):
    first, second = code_cells(path)[:2]
    assert first.metadata.tags[0] == "parameters"
    names = {target.id for node in ast.parse(first.source).body for target in node.targets}
    computing = ("run_cell(", "beside_limits(", "finetune(")
    if any(call in cell.source for cell in code_cells(path) for call in computing):
        assert names >= COMMON and names & {"method", "methods", "adapter"}
    else:
        assert "results" in names
    assert "start()" in second.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_narrates_and_calls(path):
    for cell in code_cells(path):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.FunctionDef | ast.Lambda):
                assert node.end_lineno - node.lineno < 10


def parameters(path):
    """What a notebook's parameters cell says, by name."""
    body = ast.parse(code_cells(path)[0].source).body
    return {node.targets[0].id: ast.literal_eval(node.value) for node in body}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_chapter_leaves_every_parameter_of_its_strategy_to_the_backbone(strategy):
    given = parameters(ROOT / "notebooks" / f"{STRATEGIES[strategy]}.ipynb")
    fields = set(make_strategy(strategy).parameters())
    families = {"families"} & set(given)
    assert set(given) == {*COMMON, "method", "class_name", "settings", *families, *fields}
    assert all(given[name] is None for name in (*families, *fields, "num_steps"))


@pytest.mark.parametrize("strategy", [*STRATEGIES, "superclass"])
def test_chapters_and_comparison_sample_the_quick_preset(strategy):
    (preset,) = [complete(cell) for cell in load_study("quick").cells if cell.strategy == strategy]
    for name in {"compare", STRATEGIES.get(strategy, "compare")}:
        given = parameters(ROOT / "notebooks" / f"{name}.ipynb")
        shared = {
            key: given[key] for key in ("concept", "prompts", "seeds", "num_steps", "backbone", "method")
        }
        assert complete(Cell(strategy=strategy, **shared)) == replace(preset, label=None)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_chapters_templates_are_named_not_repeated(path):
    prompts = parameters(path).get("prompts")
    assert prompts in (None, "chapter") or not set(load_prompts("chapter")) <= set(prompts)


def test_a_completed_cell_has_the_defaults_of_its_backbone_where_nothing_is_given():
    given = {"concept_scale": None, "superclass_scale": 4, "reference_prompt": None}
    cell = Cell(concept="dog", strategy="mixed", num_steps=None, parameters=given)
    usual = sampling_defaults("micro")
    for backbone, values in {"micro": usual, "sd2": sampling_defaults("sd2")}.items():
        found = complete(replace(cell, backbone=backbone))
        defaults = default_strategy("mixed", values).parameters()
        assert found.parameters == {**defaults, "superclass_scale": 4.0}
        assert found.num_steps == values["num_steps"] and found.seeds == (0, 1, 2, 3)
        assert found.prompts == load_prompts("live")
        table = parameter_table(found)["mixed"]
        assert dict(table) == {"num_steps": found.num_steps, **found.parameters}
    switched = replace(cell, strategy="switching", num_steps=50, parameters={"switch_step": "20%"})
    assert complete(switched).parameters["switch_step"] == 10
    with pytest.raises(UserError, match="unknown parameter of strategy mixed: switch_step"):
        complete(replace(cell, parameters={"switch_step": 3}))


def test_a_study_can_run_every_strategys_notebook():
    for job in load_study("smoke").jobs:
        if source := notebook_of(job.cell):
            taken = {node.targets[0].id for node in ast.parse(code_cells(source)[0].source).body}
            given = notebook_parameters(job, "runs", "cpu")
            assert taken == set(given) and given["loading"] == {}, source.name
            assert not given.get("families"), "a batch samples its own cells only"
            assert "**settings" in "".join(one.source for one in code_cells(source))


def test_the_notebook_of_a_cell_loads_what_the_cell_loads(tmp_path):
    cell = Cell(concept="dog", strategy="base", loading={"vae": tmp_path, "variant": None})
    given = notebook_parameters(resolve(cell), "runs", "cpu")
    assert given["loading"] == {"vae": str(tmp_path)}
    for path in NOTEBOOKS:
        if "loading" in parameters(path):
            source = "".join(cell.source for cell in code_cells(path))
            ways = (source.count(word) for word in ("loading=loading,", '"loading": loading,', "**loading"))
            calls = (source.count(call) for call in ("backbone=backbone,", '"backbone": backbone,'))
            assert sum(ways) >= sum(calls) and "loading" in source.split("start()")[-1], path.stem


def preferences(name):
    """What the dictionary `wishes` of a notebook asks for, by its words."""
    tree = ast.parse("".join(cell.source + "\n" for cell in code_cells(ROOT / "notebooks" / f"{name}.ipynb")))
    (wishes,) = (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "wishes"
    )
    return {
        key.value: {one.arg: getattr(one.value, "value", "computed") for one in call.keywords if one.arg}
        for key, call in zip(wishes.keys, wishes.values, strict=True)
    }


def test_the_rows_of_the_first_page_are_answered_on_the_page_of_decisions():
    first, there = preferences("facts"), preferences("decision")
    assert first and {name: there.get(name) for name in first} == first


def test_every_page_of_the_contents_has_a_source(build):
    for page in build.toc_pages(yaml.safe_load((ROOT / "_toc.yml").read_text())):
        assert any((ROOT / f"{page}{suffix}").is_file() for suffix in (".md", ".ipynb")), page


def test_toc_pages_are_found_at_every_level(build):
    toc = {"root": "a", "parts": [{"chapters": [{"file": "b", "sections": [{"file": "c"}]}, {"file": "d"}]}]}
    assert list(build.toc_pages(toc)) == ["a", "b", "c", "d"]


def test_a_missing_page_and_a_network_resource_are_reported(build, tmp_path):
    (tmp_path / "index.html").write_text(
        '<a href="https://example.org/link">a link may leave</a>'
        '<script async src="https://example.org/a.js"></script><img\n src="//example.org/b.png">'
    )
    (tmp_path / "style.css").write_text("@import url(https://example.org/c.css); a { color: red }")
    assert build.checks.missing_pages(["intro"], tmp_path) == ["the page intro.html was not built"]
    found = " ".join(build.checks.network_resources(tmp_path))
    assert all(name in found for name in ("a.js", "b.png", "c.css")) and "link" not in found


def test_a_link_that_leads_nowhere_is_reported(build, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top">A</h1><a href="a/b.html#there">1</a><a href="a/b.html#gone">2</a><a href="#top">3</a>'
        '<a href="lost.html">4</a><a href="https://example.org/lost">5</a><img src="lost%20too.png">'
    )
    (tmp_path / "a" / "b.html").write_text(
        '<a href="../index.html" id="there"></a><script src="../gone.js?v=1">'
    )
    found = [line.split()[0::3][:2] for line in build.checks.broken_links(tmp_path)]
    assert sorted(found) == [
        ["a/b.html", "../gone.js?v=1,"],
        ["index.html", "a/b.html#gone,"],
        ["index.html", "lost%20too.png,"],
        ["index.html", "lost.html,"],
    ]


def test_prose_keeps_the_executed_copy_and_code_does_not(build, tmp_path):
    source = write_notebook(tmp_path / "a.ipynb", "number = 1", "number")
    notebook = nbformat.read(source, as_version=4)
    first = build.executed_copy(source, b"library")
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell("Prose."))
    notebook.cells[2].metadata.mystnb = {"figure": {"caption": "Words."}}
    nbformat.write(notebook, source)
    assert build.executed_copy(source, b"library") == first
    assert build.executed_copy(source, b"another library") != first
    write_notebook(source, "number = 1", "number + 1")
    assert build.executed_copy(source, b"library") != first


def test_two_notebooks_at_a_time_and_what_is_done_is_kept(build, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "BUILD", tmp_path / "build")
    monkeypatch.setattr(build, "shared_digest", lambda: b"library")
    (tmp_path / "notebooks").mkdir()
    wait = "import time, pathlib\nwhile not pathlib.Path(other).exists(): time.sleep(0.1)"
    marks = [str(tmp_path / name) for name in "ab"]
    for name, other, last in (("a", marks[1], "40 + 2"), ("b", marks[0], "1 / 0")):
        mark = f"open({str(tmp_path / name)!r}, 'w').close()"
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", f"other = {other!r}", mark, wait, last)
    with pytest.raises(Exception, match="ZeroDivisionError"):
        build.execute_notebooks(["notebooks/a", "notebooks/b"])
    (copy,) = build.execute_notebooks(["notebooks/a"]).values()
    assert list((tmp_path / "build" / "executed").glob("a.*")) == [copy]
    source = tmp_path / "notebooks" / "a.ipynb"
    notebook = nbformat.read(source, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("Prose of today."))
    nbformat.write(notebook, source)
    joined = build.reading.with_outputs(source, copy)
    assert joined.cells[0].source == "Prose of today."
    assert joined.cells[-1].outputs[0].data["text/plain"] == "42"


def test_unknown_parameter_is_refused_before_anything_runs(tmp_path):
    source = write_notebook(tmp_path / "a.ipynb", "concept = 'dog'\nseeds = '0-3'", "1 / 0")
    with pytest.raises(UserError, match="sedes.*concept, seeds"):
        run_notebook(source, tmp_path / "out.ipynb", {"sedes": "1"})
    assert not (tmp_path / "out.ipynb").exists()


def test_plain_papermill_is_refused_an_unknown_parameter_too():
    parameters = "concept: str = 'dog'\nnum_steps = 50"
    with pytest.raises(UserError, match="num_step;.*num_steps"):
        check_parameters(["", parameters, "# Parameters\nnum_step = 2\n"])
    check_parameters(["", parameters, "# Parameters\nnum_steps = 2\n"])
    check_parameters(["", parameters])


def test_the_page_of_decisions_takes_a_table_of_photographs(tmp_path):
    """Scored by CLIP alone, and without mixed sampling."""
    study = pd.read_parquet(ROOT / "data" / "results" / "phenomenon.parquet")
    truth = study.filter(regex="^(identity|asked_|seen_|leak|truth_|color_)|_right").columns
    study = study[study["label"].isin(["base", "switching"])].drop(columns=truth)
    study.to_parquet(tmp_path / "study.parquet")
    given = {
        "results": f"{tmp_path}/study.parquet",
        "identity": "clip_image",
        "text": "clip_text",
        "searched_on": [],
    }
    done = run_notebook(ROOT / "notebooks" / "decision.ipynb", tmp_path / "out.ipynb", given)
    shown = str([cell.outputs for cell in code_cells(done)])
    assert "switching" in shown and "mixed" not in shown and "leak rate" not in shown


def test_a_run_leaves_the_whole_output_or_none(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    source = write_notebook(tmp_path / "a.ipynb", "number = 1", "assert number == 2\nprint(number * 21)")
    with pytest.raises(Exception, match="AssertionError"):
        run_notebook(source, tmp_path / "out.ipynb")
    assert not (tmp_path / "out.ipynb").exists()
    done = run_notebook(source, tmp_path / "out.ipynb", {"number": 2})
    assert "42" in code_cells(done)[-1].outputs[0].text


DEFAULTS = """concept = "dog"
prompts = ["a photo of {}"]
seeds = "0-3"
num_steps = None
settings = {}
individuals = 6
share = 0.5
budgets = [50, 75]
runs = here
"""


@pytest.mark.parametrize(
    "given",
    ["concept = 7", "concept = None", "concept = 0.5", "concept = True", "settings = 'abc'", "settings = None",
     "settings = []", "individuals = 'many'", "individuals = None", "individuals = 2.5", "individuals = True",
     "share = 'half'", "share = float('nan')", "share = float('inf')", "budgets = 50", "budgets = 'abc'",
     "budgets = None", "prompts = 7", "prompts = None", "seeds = None", "seeds = 0.5", "seeds = True"],
)  # fmt: skip
def test_a_value_of_another_kind_than_the_default_is_refused(given):
    name = given.split()[0]
    with pytest.raises(UserError, match=f"the notebook parameter {name} ") as error:
        check_parameters(["", DEFAULTS, f"# Parameters\n{given}\n"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "given",
    ["concept = 'cat'", "prompts = 'live'", "prompts = ['a {}', 'the {}']", "seeds = 7", "seeds = [1, 2]",
     "num_steps = 10", "num_steps = None", "settings = {'fine_tune_steps': 3}", "individuals = 3", "share = 1",
     "budgets = [60]", "runs = 'there'"],
)  # fmt: skip
def test_a_value_of_the_kind_of_the_default_is_taken(given):
    check_parameters(["", DEFAULTS, f"# Parameters\n{given}\n"])
