"""Study files, cells and the engine, on a tiny random model and a tiny random CLIP."""

import random
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch
from commands import started
from PIL import Image, ImageChops, ImageOps, ImageStat
from tiny import save_pictures, tiny_pipeline
from tiny_clip import save_tiny_clip
from tiny_notebook import write_notebook

from persongen_lib.cli import main as cli
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.data import concepts as data
from persongen_lib.data import read_picture
from persongen_lib.evaluation import runs as evaluation
from persongen_lib.evaluation.evaluators import choose_evaluators
from persongen_lib.finetune.engine import run as tuning
from persongen_lib.finetune.engine.method import list_methods
from persongen_lib.sampling.engine import contact_sheets as pictures
from persongen_lib.sampling.engine.contact_sheets import is_packed, open_picture, picture_size
from persongen_lib.sampling.engine.strategy import list_strategies
from persongen_lib.study import grid, local, results, space
from persongen_lib.study import run as running
from persongen_lib.study.cell import Cell
from persongen_lib.study.grid import load_study
from persongen_lib.study.job import resolve
from persongen_lib.study.local import Failure, run_study
from persongen_lib.study.models import shared_backbone
from persongen_lib.study.notebooks import notebook_parameters, run_notebooks
from persongen_lib.study.results import collect, study_status
from persongen_lib.study.run import follow, run_cell
from persongen_lib.study.space import disk_need

pytestmark = pytest.mark.usefixtures("short_strips")

QUICK = {"num_class_images": 2, "class_num_steps": 2, "batch_size": 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two concepts, a model and a CLIP on disk."""
    folder = tmp_path_factory.mktemp("place")
    tiny_pipeline().save_pretrained(folder / "model")
    for count, name in enumerate(("rex", "tom"), 3):
        save_pictures(folder / name, count)
        (folder / name / "concept.json").write_text(
            '{"class_name": "dog", "kind": "live", "context": "beach"}'
        )
    save_tiny_clip(folder / "clip")
    return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A store in which each cell is run once."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def cell(place):
    return make_cell(place)


def make_cell(place, strategy="base", concept="rex", **changes):
    settings = {
        "concept": str(place / concept),
        "strategy": strategy,
        "backbone": str(place / "model"),
        "prompts": ["a photo of {} in the snow", "a photo of {}"],
        "seeds": "3,5",
        "num_steps": 3,
        "fine_tune_steps": 2,
        "method_parameters": QUICK,
        "models": {"clip": f"local-dir:{place / 'clip'}"},
    }
    return Cell(**{**settings, **changes})


def study_file(place, folder, **changes):
    import yaml

    values = {
        "concepts": [str(place / "rex"), str(place / "tom")],
        "backbones": [str(place / "model")],
        "fine_tunings": [{"num_steps": 2, "parameters": QUICK}],
        "prompts": ["a photo of {} in the snow"],
        "seeds": "0-1",
        "num_steps": 3,
        "strategies": ["base", {"strategy": "mixed"}],
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}))
    return path


@pytest.fixture(scope="module")
def finished(place):
    """The file of a study, and a store in which it has run."""
    path, runs = study_file(place, place, clip_model=f"local-dir:{place / 'clip'}"), place / "finished"
    assert run_study(load_study(path), Runtime.at(runs, "cpu")) == ()
    return path, runs


@pytest.fixture
def tiny_judge(place, monkeypatch):
    """Pictures of any size are judged by the tiny CLIP."""
    from persongen_lib.evaluation.metrics import clip

    monkeypatch.setattr(clip, "FULL_SIZE", f"local-dir:{place / 'clip'}")


def test_a_cell_is_plain_data(cell, kept):
    run_cell(cell, kept, device="cpu")
    assert Cell(**vars(cell)) == replace(cell) == cell and Cell(**asdict(cell)) == cell
    assert set(vars(cell)) == set(Cell.__dataclass_fields__)
    with pytest.raises(FrozenInstanceError):
        cell.strategy = "mixed"


def test_a_job_resolves_a_cell_without_opening_a_picture(cell, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("persongen_lib.data.pictures.read_picture", lambda path: pytest.fail(f"opened {path}"))
        job = resolve(cell)
        assert len(job.concept.images) == 3
    whole = data.load_concept(cell.concept)
    assert job.fine_tune.concept_digest == job.concept.digest == whole.digest
    assert list(job.concept.images) == list(whole.images)
    assert job.sample.fine_tune == job.fine_tune and job.sample.parameters == {"guidance_scale": 7.0}
    assert resolve(replace(cell, label="other")).sample == job.sample


def test_a_backbone_is_shared_under_all_names_of_its_place(place, monkeypatch):
    spec = resolve(make_cell(place)).sample
    runtime = Runtime.at(place / "runs", "cpu")
    first = shared_backbone(spec, runtime)
    monkeypatch.chdir(place)
    assert shared_backbone(replace(spec, backbone="model"), runtime) is first
    if not torch.cuda.is_available():
        assert shared_backbone(spec, replace(runtime, device="auto")) is first
    assert shared_backbone(replace(spec, weights="changed"), runtime) is not first


def test_a_cell_gives_one_row_a_picture_with_its_origin(cell, kept):
    run = run_cell(cell, kept, device="cpu")
    table = run.table
    assert list(zip(table["template"], table["seed"], strict=True)) == [
        (template, seed) for template in cell.prompts for seed in (3, 5)
    ]
    assert all((kept / picture).is_file() for picture in table["picture"])
    row = table.iloc[0]
    assert (row["label"], row["concept"], row["training_context"]) == ("base", "rex", "beach")
    assert row["evaluations"] == 2 * 3 and row["num_steps"] == 3
    assert row["guidance_scale"] == resolve(cell).sample.parameters["guidance_scale"]
    assert row["default"] and not row["needs_original"]
    assert row["fine_tune_learning_rate"] > 0 and row["fine_tune_num_steps"] == 2
    assert row["clip_model"] == "clip" and -1 <= row["clip_text"] <= 1
    for column in ("torch", "diffusers", "device", "dtype", "git_commit", "seconds", "fine_tune", "sample"):
        assert column in table
    assert run.adapter.name == row["fine_tune"] and run.sample.name == row["sample"]


def test_rows_say_what_needs_the_original_weights_and_what_is_not_the_default(place, kept):
    changed = make_cell(place, "mixed", parameters={"superclass_weights": "original"})
    table = run_cell(changed, kept, device="cpu").table
    assert table["needs_original"].all() and not table["default"].any()


def test_a_finished_cell_is_found_and_not_made_again(cell, kept, monkeypatch):
    first = run_cell(cell, kept, device="cpu")

    def fail(*args, **settings):
        raise AssertionError("loaded a model for a finished cell")

    monkeypatch.setattr(running, "shared_backbone", fail)
    monkeypatch.setattr("persongen_lib.data.pictures.read_picture", fail)
    monkeypatch.setattr("persongen_lib.evaluation.scores.evaluate_run", fail)
    again = run_cell(cell, kept, device="cpu")
    pd.testing.assert_frame_equal(first.table, again.table)


def test_scores_follow_the_judge(cell, place, kept, tmp_path):
    first = run_cell(cell, kept, device="cpu").table
    save_tiny_clip(tmp_path / "other" / "clip", seed=1)
    other = make_cell(place, models={"clip": f"local-dir:{tmp_path / 'other' / 'clip'}"})
    second = run_cell(other, kept, device="cpu").table
    assert (first["clip_text"] - second["clip_text"]).abs().min() > 1e-6
    assert list(first["picture"]) == list(second["picture"])


def test_following_a_picture_ends_where_its_cell_did(cell, kept):
    run = run_cell(cell, kept, device="cpu")
    followed = follow(cell, [(1, 5)], kept, device="cpu")
    way = followed[1, 5]
    assert list(followed) == [(1, 5)] and len(way.distance) == 3
    backbone = shared_backbone(resolve(cell).sample, Runtime.at(kept, "cpu"))
    last = np.asarray(backbone.decode(torch.from_numpy(way.latents[-1:]).float())[0]).astype(int)
    picture = np.asarray(Image.open(kept / run.table["picture"].iloc[3])).astype(int)
    assert abs(last - picture).max() <= 2


def test_the_same_noise_under_every_strategy(place, kept):
    """With no concept guidance mixed is the superclass run: the pictures agree to the bit."""
    scale = {"superclass_scale": 3.0, "concept_scale": 0.0}
    one = run_cell(make_cell(place, "mixed", parameters=scale), kept, device="cpu")
    two = run_cell(make_cell(place, "superclass", parameters={"guidance_scale": 3.0}), kept, device="cpu")
    for a, b in zip(one.table["picture"], two.table["picture"], strict=True):
        assert np.array_equal(np.asarray(Image.open(kept / a)), np.asarray(Image.open(kept / b)))


def test_a_study_runs_to_one_table(place, tmp_path, tiny_judge):
    study = load_study(study_file(place, tmp_path))
    assert [(data.Path(c.concept).name, c.name) for c in study.cells] == [
        ("rex", "base"), ("rex", "mixed"), ("tom", "base"), ("tom", "mixed"),
    ]  # fmt: skip
    runs = tmp_path / "runs"
    before = study_status(study, runs)
    assert not before["scored"].any() and before["pictures"].sum() == 8
    with pytest.raises(UserError, match="4 of 4 cells"):
        collect(study, runs)
    assert run_study(study, Runtime.at(runs, "cpu")) == ()
    assert study_status(study, runs)["sampled"].sum() == 8
    (path,) = collect(study, runs, tmp_path / "table.parquet")
    table = pd.read_parquet(path)
    assert len(table) == 8 and set(table["study"]) == {"small"} and table["fine_tune"].nunique() == 2
    assert table.loc[table["label"] == "base", "concept_scale"].isna().all()
    assert not list(tmp_path.glob(".*"))


def test_a_failed_cell_does_not_stop_the_others(place, tmp_path, tiny_judge, monkeypatch, capsys):
    path = study_file(place, tmp_path)
    real = local.run_job

    def sometimes(job, *args):
        if job.cell.name == "mixed" and job.concept.name == "rex":
            raise RuntimeError("out of\nmemory")
        return real(job, *args)

    monkeypatch.setattr(local, "run_job", sometimes)
    command = ["study", "run", str(path), "--runs", str(tmp_path / "runs"), "--device", "cpu"]
    assert cli.main(command) == 1
    told = capsys.readouterr().err
    assert "1 of 4 cells failed" in told and "RuntimeError: out of memory" in told
    assert study_status(load_study(path), tmp_path / "runs")["scored"].sum() == 3


def test_a_study_killed_at_random_moments_ends_with_the_same_table(place, tmp_path):
    path = study_file(place, tmp_path, clip_model=f"local-dir:{place / 'clip'}")
    command = ["study", "run", path, "--device", "cpu", "--runs"]
    started("--version").join()  # the first one imports
    began = time.monotonic()
    process = started(*command, tmp_path / "whole")
    process.join()
    whole = time.monotonic() - began
    draw = random.Random(0)
    for _ in range(2):
        assert process.exitcode in (0, -signal.SIGKILL)
        process = started(*command, tmp_path / "killed")
        process.join(draw.uniform(0.1, 0.9) * whole)
        process.kill()
        process.join()
    process = started(*command, tmp_path / "killed")
    process.join()
    assert process.exitcode == 0
    study, tables = load_study(path), []
    for name in ("whole", "killed"):
        tables.append(pd.read_parquet(*collect(study, tmp_path / name, tmp_path / f"{name}.parquet")))
    own = ["picture", "fine_tune", "label", "seed", "evaluations", "clip_image", "clip_text"]
    pd.testing.assert_frame_equal(tables[1][own], tables[0][own], check_exact=True)


def test_shards_part_the_fine_tunings(place, tmp_path):
    study = load_study(study_file(place, tmp_path, fine_tunings=[{"seed": n} for n in (1, 2, 3)]))
    parts = [grid.shard(study, f"{k}/4").jobs for k in range(1, 5)]
    assert sorted(map(repr, sum(parts, ()))) == sorted(map(repr, study.jobs))
    tunings = [{job.fine_tune.hash for job in part} for part in parts]
    assert sum(map(len, tunings)) == len(set().union(*tunings)) == 6 and min(map(len, tunings)) == 1
    for wrong in ("0/2", "3/2", "1", "a/b", "1/2/3"):
        with pytest.raises(UserError, match="a shard is k/N"):
            grid.shard(study, wrong)


def test_an_interrupted_study_goes_on(place, tmp_path, tiny_judge, monkeypatch):
    study, runs = load_study(study_file(place, tmp_path)), tmp_path / "runs"
    real, done = local.run_job, []

    def interrupted(job, *args):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job)
        return real(job, *args)

    with monkeypatch.context() as patch:
        patch.setattr(local, "run_job", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_study(study, Runtime.at(runs, "cpu"))
    kept = {path: path.stat().st_mtime_ns for path in runs.rglob("*.png")}
    assert run_study(study, Runtime.at(runs, "cpu")) == ()
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert study_status(study, runs)["scored"].all()


def test_a_grid_gives_every_combination_a_label(place, tmp_path):
    entry = {
        "strategy": "switching",
        "parameters": {"guidance_scale": 4},
        "grid": {"switch_step": [1, 2]},
    }
    study = load_study(study_file(place, tmp_path, strategies=[entry, "base"]))
    labels = [cell.name for cell in study.cells[:3]]
    assert labels == ["switching switch_step=1", "switching switch_step=2", "base"]
    assert study.jobs[1].sample.parameters["switch_step"] == 2
    assert study.jobs[1].sample.parameters["guidance_scale"] == 4


def test_a_study_may_ask_for_all_strategies_and_all_methods(place, tmp_path):
    study = load_study(study_file(place, tmp_path, strategies="all", fine_tunings="all"))
    assert {job.sample.strategy.name for job in study.jobs} == set(list_strategies())
    methods = set(list_methods()) - {"elite"}  # which needs an encoder for the model
    assert {job.fine_tune.method for job in study.jobs} == methods
    assert len(study.jobs) == len(list_strategies()) * len(methods) * 2
    alone = load_study(study_file(place, tmp_path, strategies=["masked"], fine_tunings=[{"method": "lora"}]))
    assert alone.jobs[0] in study.jobs
    beside = {"strategy": "mixed", "label": "mixed strong", "parameters": {"concept_scale": 9}}
    names = [cell.name for cell in load_study(study_file(place, tmp_path, strategies=["all", beside])).cells]
    count = len(list_strategies()) + 1
    assert names[:count] == [*list_strategies(), "mixed strong"] and names == names[:count] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategies": "every"}, "strategies .* must be a list of at least one, not 'every'"),
        ({"strategies": ["all", "base"]}, "are called 'base'"),
        ({"fine_tunings": "every"}, "fine_tunings .* must be a list"),
        ({"color": "red"}, "unknown key in .*small.yaml: color; known: .*concepts"),
        ({"strategies": ["magic"]}, "unknown strategy: magic; known: .*mixed"),
        ({"strategies": [{"strategy": "base", "parameters": {"power": 1}}]}, "unknown parameter.*power"),
        ({"strategies": [{"strategy": "base", "scale": 1}]}, "unknown key of a strategy.*scale"),
        ({"strategies": [{"label": "x"}]}, "lacks its name"),
        ({"strategies": ["base", "base"]}, "are called 'base'"),
        ({"strategies": [{"strategy": "base", "grid": {"guidance_scale": 4}}]}, "must be a list"),
        ({"concepts": ["unicorn"]}, "unknown concept 'unicorn'"),
        ({"concepts": []}, "needs concepts"),
        ({"fine_tunings": [{"method": "magic"}]}, "unknown fine-tuning method: magic"),
        ({"fine_tunings": [{"learning_rate": 1}]}, "unknown key of a fine-tuning.*learning_rate"),
        ({"prompts": ["a photo"]}, "needs exactly one {}"),
        ({"seeds": "3-1"}, "seeds must be"),
        ({"seeds": []}, "seeds must be"),
        ({"seeds": ["0", "3-1"]}, "seeds must be"),
        ({"seeds": ["0-2", "2"]}, "groups of seeds .* must not share one"),
        ({"num_steps": 0}, "number of steps"),
        ({"metrics": ["beauty"]}, "unknown metric.*beauty; known: clip"),
        ({"metrics": "clip"}, "metrics must be a list"),
    ],
)
def test_wrong_study_files_are_told_in_one_sentence(place, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        load_study(study_file(place, tmp_path, **changes))


def test_files_that_are_no_study(tmp_path, capsys):
    with pytest.raises(UserError, match="there is no study"):
        load_study(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("concepts: [rex\nstrategies: 3")
    with pytest.raises(UserError, match="is not YAML, line 2"):
        load_study(broken)
    broken.write_text("just words")
    with pytest.raises(UserError, match="names with values"):
        load_study(broken)
    assert cli.main(["study", "run", str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_packed_cell_keeps_its_scores_and_a_likeness_of_its_pictures(cell, place, tmp_path, monkeypatch):
    kept, runs = run_cell(cell, tmp_path / "kept", device="cpu"), tmp_path / "packed"
    packed = run_cell(cell, runs, device="cpu", keep_pictures=False)
    own = ["picture", "seed", "clip_text", "clip_image"]
    pd.testing.assert_frame_equal(packed.table[own], kept.table[own], check_exact=True)
    assert is_packed(packed.sample) and not list(packed.sample.rglob("*.png"))
    assert picture_size(packed.sample) == picture_size(kept.sample)
    originals = [open_picture(tmp_path / "kept" / picture) for picture in kept.table["picture"]]
    for index, picture in enumerate(packed.table["picture"]):
        tile = open_picture(runs / picture)
        errors = [ImageStat.Stat(ImageChops.difference(tile, image)).mean for image in originals]
        assert np.argmin(np.mean(errors, axis=1)) == index
    with monkeypatch.context() as patch:
        patch.setattr(
            running, "shared_backbone", lambda *args: pytest.fail("loaded a model for a finished cell")
        )
        assert is_packed(run_cell(cell, runs, device="cpu").sample)
    with pytest.raises(UserError, match="packed into a contact sheet"):
        evaluation.evaluate_run(
            packed.sample, data.load_concept(cell.concept), choose_evaluators(packed.sample)
        )
    save_tiny_clip(tmp_path / "other" / "clip", seed=1)
    other = make_cell(place, models={"clip": f"local-dir:{tmp_path / 'other' / 'clip'}"})
    first, second = (run_cell(other, tmp_path / name, device="cpu").table for name in ("kept", "packed"))
    pd.testing.assert_frame_equal(first[own], second[own], check_exact=True)
    with pytest.raises(UserError, match="is not there: run its cell again"):
        open_picture(tmp_path / "sample" / "none" / "images" / "p00_s0000.png")


def test_a_large_picture_is_made_small_on_the_sheet(tmp_path):
    (tmp_path / "images").mkdir()
    wide = Image.linear_gradient("L").resize((600, 300)).convert("RGB")
    for seed, image in enumerate((wide, ImageOps.invert(wide), ImageOps.mirror(wide.rotate(180)))):
        image.save(tmp_path / "images" / f"p00_s000{seed}.png")
    rows = [f'{{"file": "images/p00_s000{seed}.png"}}\n' for seed in range(3)]
    (tmp_path / "pictures.jsonl").write_text("".join(rows))
    pictures.pack(tmp_path)
    assert picture_size(tmp_path) == (600, 300)
    tile = open_picture(tmp_path / "images" / "p00_s0001.png")
    assert tile.size == (256, 128)
    expected = ImageOps.invert(wide).resize(tile.size)
    assert max(ImageStat.Stat(ImageChops.difference(tile, expected)).mean) < 3


def test_a_study_of_studies_has_a_table_of_each(place, tmp_path):
    clip = f"local-dir:{place / 'clip'}"
    study_file(place, tmp_path, concepts=[str(place / "rex")], clip_model=clip).rename(tmp_path / "one.yaml")
    changes = {"concepts": [str(place / "tom")], "clip_model": clip, "strategies": ["base"]}
    study_file(place, tmp_path, **changes).rename(tmp_path / "two.yaml")
    both = tmp_path / "both.yaml"
    both.write_text("include: [one.yaml, two.yaml]")
    study, runs = load_study(both), tmp_path / "runs"
    assert [(part.name, len(part.cells)) for part in study.parts] == [("one", 2), ("two", 1)]
    command = ["study", "run", str(tmp_path / "two.yaml"), "--runs", str(runs), "--device", "cpu"]
    assert cli.main(command) == 0
    assert set(pd.read_parquet(runs / "results.parquet")["study"]) == {"two"}
    command[2] = str(both)
    assert cli.main([*command, "--keep-pictures"]) == 0
    table = pd.read_parquet(runs / "results.parquet")
    assert table.groupby("study").size().to_dict() == {"one": 4, "two": 2}
    assert not (runs / table.query("study == 'two'")["picture"].iloc[0]).exists()
    assert (runs / table.query("study == 'one'")["picture"].iloc[0]).exists()
    assert [path.name for path in collect(study, runs, tmp_path / "out")] == ["one.parquet", "two.parquet"]
    shipped = pd.read_parquet(tmp_path / "out" / "one.parquet")
    pd.testing.assert_frame_equal(
        shipped, table.query("study == 'one'")[list(shipped)].reset_index(drop=True)
    )
    for wrong, message in (
        ("include: [one.yaml, one.yaml]", "'one.yaml' is given twice"),
        ("include: [both.yaml]", "which includes studies itself"),
        ("include: []", "include .* must be a list"),
        ("include: [one.yaml]\nseeds: 3", "unknown key .* seeds; known: description, include"),
    ):
        both.write_text(wrong)
        with pytest.raises(UserError, match=message):
            load_study(both)


def test_seeds_added_as_a_group_leave_finished_cells(place, tmp_path):
    changes = {"concepts": [str(place / "rex")], "clip_model": f"local-dir:{place / 'clip'}"}
    first = load_study(study_file(place, tmp_path, seeds="0", **changes))
    assert run_study(first, Runtime.at(tmp_path / "grown", "cpu")) == ()
    grown = load_study(study_file(place, tmp_path, seeds=[0, "1-2"], **changes))
    assert [cell.name for cell in grown.cells] == ["base", "base", "mixed", "mixed"]
    assert study_status(grown, tmp_path / "grown")["scored"].tolist() == [True, False, True, False]
    whole = load_study(study_file(place, tmp_path, seeds="0-2", **changes))
    tables = []
    for study, runs in ((grown, tmp_path / "grown"), (whole, tmp_path / "whole")):
        assert run_study(study, Runtime.at(runs, "cpu")) == ()
        [path] = collect(study, runs, tmp_path / "table.parquet")
        tables.append(pd.read_parquet(path)[["label", "seed", "evaluations", "clip_image", "clip_text"]])
    assert len(tables[0]) == 6
    pd.testing.assert_frame_equal(*tables, rtol=1e-4)


def test_lengths_come_from_one_training(place, tmp_path, monkeypatch):
    tunings = [{"num_steps": steps, "parameters": QUICK} for steps in (1, 3, 2)]
    changes = {"concepts": [str(place / "rex")], "strategies": ["base"], "fine_tunings": tunings}
    study = load_study(study_file(place, tmp_path, clip_model=f"local-dir:{place / 'clip'}", **changes))
    trained, real = [], tuning.finetune
    monkeypatch.setattr(
        tuning, "finetune", lambda spec, *args, **how: trained.append(spec) or real(spec, *args, **how)
    )
    assert run_study(study, Runtime.at(tmp_path / "together", "cpu")) == ()
    assert [spec.num_steps for spec in trained] == [3]
    for cell in study.cells:
        alone = run_cell(cell, tmp_path / "alone", device="cpu")
        shared = tmp_path / "together" / "finetune" / alone.adapter.name
        assert (shared / "adapter.safetensors").read_bytes() == (
            alone.adapter / "adapter.safetensors"
        ).read_bytes()


def test_the_disk_need_is_said_and_checked(place, tmp_path, tiny_judge, monkeypatch, capsys):
    study, runs = load_study(study_file(place, tmp_path)), tmp_path / "runs"
    need = disk_need(study, runs)
    assert (need.cells, need.pictures, need.fine_tunings, need.adapter_bytes) == (4, 8, 2, None)
    assert disk_need(study, runs, keep_pictures=True).picture_bytes == 8 * space.PNG * 16 * 16
    first = replace(study, jobs=study.jobs[:2])
    run_study(first, Runtime.at(runs, "cpu"), keep_pictures=False)
    need = disk_need(study, runs)
    assert (need.cells, need.pictures, need.fine_tunings) == (2, 4, 1) and need.adapter_bytes > 0
    assert "2 cells to do" in str(need) and disk_need(first, runs).picture_bytes == 0
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    command = ["study", "run", str(tmp_path / "small.yaml"), "--runs", str(runs), "--device", "cpu"]
    assert cli.main(command) == 2
    assert "the disk is too small for the study small" in capsys.readouterr().err


def test_two_runs_on_one_store_make_the_same_table(finished, tmp_path):
    path, alone = finished
    command = ["study", "run", path, "--device", "cpu", "--runs", tmp_path / "shared"]
    both = [started(*command) for _ in range(2)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    study = load_study(path)
    tables = [
        pd.read_parquet(*collect(study, runs, tmp_path / f"{runs.name}.parquet"))
        for runs in (tmp_path / "shared", alone)
    ]
    own = ["picture", "fine_tune", "label", "seed", "evaluations", "clip_image", "clip_text"]
    pd.testing.assert_frame_equal(tables[0][own], tables[1][own], check_exact=True)


def test_notebooks_run_over_finished_cells(place, finished, tmp_path, monkeypatch):
    root, (path, runs) = tmp_path / "root", finished
    (root / "notebooks").mkdir(parents=True)
    monkeypatch.setattr("persongen_lib.study.notebooks.ROOT", root)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    body = (
        "from persongen_lib.study import Cell, run_cell\n"
        "cell = Cell(backbone=backbone, method=method, concept=concept, class_name=class_name, prompts=prompts,\n"
        "            seeds=seeds, num_steps=num_steps, strategy='base', **settings,\n"
        "            parameters={'guidance_scale': guidance_scale})\n"
        "print(run_cell(cell, runs, device).sample.name)"
    )
    names = [*notebook_parameters(resolve(make_cell(place)), runs, "cpu")]
    write_notebook(root / "notebooks" / "01_base.ipynb", "\n".join(f"{name} = None" for name in names), body)
    study = load_study(path)
    samples = set(path for path in (runs / "sample").iterdir() if path.is_dir())
    assert run_notebooks(study, [Failure(study.cells[2], "")], runs, "cpu") == ()
    (done,) = (runs / "notebooks").glob("*.ipynb")
    name = study.jobs[0].sample.hash
    assert done.name == f"base-rex-{name}.ipynb" and name in done.read_text()
    assert samples == set(path for path in (runs / "sample").iterdir() if path.is_dir())


def test_two_that_pack_one_run_wait_for_each_other(tmp_path):
    (tmp_path / "run" / "images").mkdir(parents=True)
    rows = [f'{{"file": "images/p00_s{seed:04d}.png"}}\n' for seed in range(40)]
    for seed in range(40):
        Image.new("RGB", (64, 64)).save(tmp_path / "run" / "images" / f"p00_s{seed:04d}.png")
    (tmp_path / "run" / "pictures.jsonl").write_text("".join(rows))
    with ThreadPoolExecutor(4) as pool:
        for packed in [pool.submit(pictures.pack, tmp_path / "run") for _ in range(4)]:
            packed.result()
    assert is_packed(tmp_path / "run") and not (tmp_path / "run" / "images").exists()


def test_a_table_of_nothing_is_no_obstacle(place, tmp_path):
    study = load_study(study_file(place, tmp_path))
    for _ in range(2):
        assert pd.read_parquet(results.update_table(study, tmp_path / "runs")).empty


def test_lengths_of_one_training_stay_in_one_shard(place, tmp_path):
    tunings = [{"num_steps": steps, "parameters": QUICK} for steps in (2, 4)]
    study = load_study(study_file(place, tmp_path, fine_tunings=tunings))
    for part in ("1/2", "2/2"):
        jobs = grid.shard(study, part).jobs
        assert {job.fine_tune.num_steps for job in jobs} == {2, 4} and len(
            {job.cell.concept for job in jobs}
        ) == 1


def test_evaluate_on_the_command_line(cell, place, tmp_path, capsys, monkeypatch):
    run = run_cell(cell, tmp_path, device="cpu")
    clip = ["--clip-model", f"local-dir:{place / 'clip'}", "--device", "cpu"]
    output = tmp_path / "scores.parquet"
    command = ["evaluate", str(run.sample), "--concept", cell.concept, "--output", str(output), *clip]
    assert cli.main(command) == 0
    assert "4 pictures" in capsys.readouterr().out
    table = pd.read_parquet(output)
    assert table["clip_text"].to_numpy() == pytest.approx(run.table["clip_text"].to_numpy())
    as_csv = ["--output", str(tmp_path / "scores.csv")]
    assert cli.main([*command, *as_csv]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(
            "persongen_lib.evaluation.scores.evaluate_run", lambda *args: pytest.fail("scored again")
        )
        assert cli.main(command) == cli.main([*command, *as_csv]) == 0
    picture = run.sample / table["file"][0]
    before = picture.read_bytes()
    ImageOps.invert(read_picture(picture)).save(picture)
    capsys.readouterr()
    assert cli.main(command) == 2
    assert f"{picture.name} is damaged" in capsys.readouterr().err
    picture.write_bytes(before)
    output.write_bytes(b"no table")
    assert cli.main(command) == 0 and len(pd.read_parquet(output)) == 4
    assert cli.main(["evaluate", str(run.sample), *clip]) == 0
    shutil.move(place / "rex", place / "away")
    try:
        assert cli.main(["evaluate", str(run.sample), *clip]) == 2
    finally:
        shutil.move(place / "away", place / "rex")
    assert "give --concept" in capsys.readouterr().err
    assert cli.main(["evaluate", str(run.sample), "--concept", cell.concept, "--metrics", "beauty"]) == 2
    assert "unknown metric: beauty" in capsys.readouterr().err


def test_the_shipped_studies_are_sound():
    names = [path.stem for path in grid.STUDIES.glob("*.yaml")]
    assert {"quick", "phenomenon"} <= set(names) and results.RESULTS.parent == data.DATA
    phenomenon, quick = load_study("phenomenon"), load_study("quick")
    assert {job.fine_tune.hash for job in quick.jobs} < {job.fine_tune.hash for job in phenomenon.jobs}
    assert {job.sample.prompts for job in quick.jobs} == {job.sample.prompts for job in phenomenon.jobs}
    studied = {
        "base", "superclass", "switching", "mixed", "multistage", "masked", "photoswap", "profusion",
    }  # fmt: skip
    assert {cell.name for cell in phenomenon.cells} == {cell.name for cell in quick.cells} == studied
    assert len({cell.concept for cell in phenomenon.cells}) == 12


def test_a_schedule_of_scales_has_its_place_in_the_table(place, tmp_path):
    made = make_cell(place, parameters={"guidance_scale": [3, 2, 1]})
    table = run_cell(made, tmp_path / "runs").table
    assert "guidance_scale" not in table and (table["evaluations"] == 2 + 2 + 1).all()
    assert set(table["parameters"]) == {'{"guidance_scale":[3,2,1]}'}
    with pytest.raises(UserError, match="a list of 3 numbers"):
        resolve(make_cell(place, parameters={"guidance_scale": [3, 2]}))
