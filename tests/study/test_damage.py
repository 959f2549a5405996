"""A small finished store in which one byte of one file is flipped: it is noticed, and healed."""

import json
import shutil

import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file
from tiny import save_pictures, tiny_pipeline
from tiny_clip import save_tiny_clip

from persongen_lib.cli.main import main
from persongen_lib.core.errors import UserError
from persongen_lib.core.manifest import write_manifest
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.store import Store
from persongen_lib.sampling.engine.contact_sheets import open_picture
from persongen_lib.sampling.engine.run import run_sample
from persongen_lib.study.grid import load_study
from persongen_lib.study.results import collect, study_status

pytestmark = pytest.mark.usefixtures("short_strips")

QUICK = {"num_class_images": 2, "class_num_steps": 2, "batch_size": 1}
KINDS = {
    "adapter": ("packed", "finetune/*/adapter.safetensors"),
    "spec": ("packed", "finetune/*/adapter.json"),
    "provenance": ("kept", "finetune/*/provenance.json"),
    "picture": ("kept", "sample/*/images/p00_s0001.png"),
    "pictures.jsonl": ("kept", "sample/*/pictures.jsonl"),
    "spec of pictures": ("kept", "sample/*/spec.json"),
    "contact sheet": ("packed", "sample/*/sheet.jpg"),
    "about the sheet": ("packed", "sample/*/sheet.json"),
    "manifest": ("packed", "sample/*/DONE"),
    "scores": ("packed", "evaluate/*/scores.parquet"),
    "provenance of scores": ("kept", "evaluate/*/provenance.json"),
    "results": ("packed", "results.parquet"),
}
"""Files that `persongen study run` reads, in a store with pictures as files or packed."""
CLASS_PICTURE = "class_images/*/images/p00_s0000.png"
"""A file that only a fine-tuning reads."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A study of two cells, run once with pictures that are kept and once packed."""
    folder = tmp_path_factory.mktemp("place")
    tiny_pipeline().save_pretrained(folder / "model")
    save_pictures(folder / "rex")
    (folder / "rex" / "concept.json").write_text('{"class_name": "dog", "kind": "live", "context": "beach"}')
    save_tiny_clip(folder / "clip")
    values = {
        "concepts": [str(folder / "rex")],
        "backbones": [str(folder / "model")],
        "fine_tunings": [{"num_steps": 2, "parameters": QUICK}],
        "prompts": ["a photo of {} in the snow"],
        "seeds": "0-1",
        "num_steps": 3,
        "strategies": ["base", "superclass"],
        "clip_model": f"local-dir:{folder / 'clip'}",
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(values))
    for name in ("kept", "packed"):
        assert study_run(folder, folder / name) == 0
    return folder


def study_run(place, runs):
    keep = ["--keep-pictures"] if runs.name == "kept" else []
    return main(["study", "run", str(place / "small.yaml"), "--device", "cpu", "--runs", str(runs), *keep])


def store_check(runs, *options):
    return main(["store", "check", "--runs", str(runs), *options])


def flip(path, share=0.5):
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)


def state(runs):
    """What must be the same after healing."""
    files = [*runs.glob("finetune/*/adapter.safetensors"), *runs.glob("sample/*/pictures.jsonl")]
    files += [*runs.glob("*/*/images/*.png"), *runs.glob("sample/*/sheet.*"), *runs.glob("*/*/spec.json")]
    table = pd.read_parquet(runs / "results.parquet")
    own = ["label", "seed", "picture", "clip_text", "clip_image", "evaluations"]
    return {str(path.relative_to(runs)): path.read_bytes() for path in files}, table[own].to_dict("list")


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_is_noticed_and_healed_by_repeating(place, tmp_path, kind, capsys):
    name, pattern = KINDS[kind]
    runs = tmp_path / name
    shutil.copytree(place / name, runs)
    damaged = sorted(runs.glob(pattern))[0]
    flip(damaged)
    capsys.readouterr()
    assert store_check(runs) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "damaged (" in line]
    assert (
        line.startswith(str(damaged.relative_to(runs).parts[0]), len(str(runs)) + 1) and damaged.name in line
    )
    assert study_run(place, runs) == 0
    assert store_check(runs) == 0 and state(runs) == state(place / name)


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize("name", ["kept", "packed"])
def test_all_that_is_damaged_is_removed_by_repair_and_made_again(place, tmp_path, name, capsys):
    runs = tmp_path / name
    shutil.copytree(place / name, runs)
    assert store_check(runs) == 0
    for pattern in (*(pattern for kept, pattern in KINDS.values() if kept == name), CLASS_PICTURE):
        flip(sorted(runs.glob(pattern))[0])
    assert store_check(runs) == 1
    assert store_check(runs, "--repair") == 0
    assert "removed; repeat the command that made it" in capsys.readouterr().out
    assert study_run(place, runs) == 0
    assert store_check(runs) == 0 and state(runs) == state(place / name)


def test_what_is_read_is_checked(place, tmp_path):
    runs = tmp_path / "packed"
    shutil.copytree(place / "packed", runs)
    study = load_study(place / "small.yaml")
    job = study.jobs[0]
    sample = Store(runs).folder("sample", job.sample)
    flip(sample / "sheet.jpg")
    with pytest.raises(UserError, match=r"sheet\.jpg is damaged"):
        open_picture(sample / "images" / "p00_s0000.png")
    flip(sample / "sheet.jpg")
    flip(Store(runs).folder("finetune", job.fine_tune) / "adapter.safetensors")
    with pytest.raises(UserError, match=r"adapter\.safetensors is damaged"):
        run_sample(job.sample, Runtime.at(runs, "cpu"))
    with pytest.raises(UserError, match=r"2 cells of small are damaged: .*adapter\.safetensors"):
        collect(study, runs, tmp_path / "table.parquet")


@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_one_bad_file_stops_neither_status_nor_the_other_cells(place, tmp_path):
    runs = tmp_path / "packed"
    shutil.copytree(place / "packed", runs)
    study = load_study(place / "small.yaml")
    sample = Store(runs).folder("sample", study.jobs[0].sample)
    (sample / "pictures.jsonl").write_text("")
    assert study_status(study, runs)["scored"].tolist() == [False, True]
    times = {path: path.stat().st_mtime_ns for path in runs.rglob("sheet.jpg") if path.parent != sample}
    assert study_run(place, runs) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert study_status(study, runs)["scored"].all()


def test_a_cell_that_an_older_version_wrote_wrong_stops_no_other(place, tmp_path):
    """Its manifest is right, but its pictures.jsonl is none."""
    runs = tmp_path / "kept"
    shutil.copytree(place / "kept", runs)
    study = load_study(place / "small.yaml")
    sample = Store(runs).folder("sample", study.jobs[0].sample)
    (sample / "pictures.jsonl").write_text('{"file": "images/p00_s0000.png", "prompt": "a')
    write_manifest(sample)
    with pytest.warns(UserWarning, match=r"rex base counts as not scored: .*pictures\.jsonl, line 1 must be"):
        assert study_status(study, runs)["scored"].tolist() == [False, True]
    with pytest.raises(UserError, match="1 of 2 cells"), pytest.warns(UserWarning, match="not scored"):
        collect(study, runs, tmp_path / "table.parquet")


@pytest.mark.filterwarnings("default:.*is damaged")
def test_a_damaged_table_keeps_the_rows_of_this_study_and_says_so(place, tmp_path, capsys):
    runs = tmp_path / "packed"
    shutil.copytree(place / "packed", runs)
    shutil.copy(place / "small.yaml", place / "other.yaml")
    assert main(["study", "run", str(place / "other.yaml"), "--device", "cpu", "--runs", str(runs)]) == 0
    assert set(pd.read_parquet(runs / "results.parquet")["study"]) == {"small", "other"}
    (runs / "results.parquet").write_bytes(b"PAR1 no table")
    assert study_run(place, runs) == 0
    assert "results.parquet is damaged, so it is written anew: it lacks other" in capsys.readouterr().err
    assert set(pd.read_parquet(runs / "results.parquet")["study"]) == {"small"}


@pytest.mark.filterwarnings("default:.*is damaged")
@pytest.mark.parametrize("share", [0.1, 0.95])
def test_finetune_heals_an_adapter(place, tmp_path, share, monkeypatch, capsys):
    monkeypatch.setattr("persongen_lib.finetune.engine.defaults._overrides", lambda: {})
    runs = tmp_path / "kept"
    command = ["--concept", str(place / "rex"), "--backbone", str(place / "model"), "--device", "cpu"]
    command += ["--method", "lora", "--runs", str(runs)]
    quick = ["--steps", "1", "--param", "prior_weight=0", "--no-validation"]
    assert main(["finetune", *command, *quick]) == 0
    (adapter,) = runs.glob("finetune/*/adapter.safetensors")
    before = adapter.read_bytes()
    flip(adapter, share)
    assert main(["finetune", *command, *quick]) == 0
    said = capsys.readouterr().err
    assert said.count("is damaged (adapter.safetensors), so the run is made again") == 1
    assert adapter.read_bytes() == before


def sample_of(adapter, runs, *more):
    command = ["sample", "--strategy", "base", "--adapter", str(adapter), "--steps", "2", "--seeds", "0"]
    return main([*command, "--device", "cpu", "--runs", str(runs), *more])


def test_another_adapter_in_a_folder_gives_other_pictures(place, tmp_path, capsys):
    from safetensors.torch import save_file

    (stored,) = (path.parent for path in place.glob("kept/finetune/*/adapter.json"))
    mine, runs = tmp_path / "mine", tmp_path / "runs"
    shutil.copytree(stored, mine)
    assert sample_of(mine, runs) == 0
    tensors = {name: 3 * tensor for name, tensor in load_file(mine / "adapter.safetensors").items()}
    save_file(tensors, mine / "adapter.safetensors")
    capsys.readouterr()
    assert sample_of(mine, runs) == 2
    assert "adapter.safetensors is damaged" in capsys.readouterr().err
    (mine / "DONE").unlink()
    assert sample_of(mine, runs) == 0
    pictures = {path.read_bytes() for path in runs.glob("sample/*/images/*.png")}
    specs = [json.loads(path.read_text()) for path in runs.glob("sample/*/spec.json")]
    assert len(pictures) == 2 and len({spec["adapter"] for spec in specs}) == 2


def test_the_stores_own_adapter_gives_the_concepts_own_run(place, tmp_path):
    (stored,) = (path.parent for path in place.glob("kept/finetune/*/adapter.json"))
    assert sample_of(stored, place / "kept", "--output", str(tmp_path / "out")) == 0
    assert json.loads((tmp_path / "out" / "spec.json").read_text())["adapter"] == ""


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--dtype", "fp8"], "unknown dtype: fp8"),
        (["--device", "meta"], "the device 'meta' can't be used"),
    ],
)
def test_options_are_checked_although_a_run_is_finished(place, tmp_path, capsys, option, said):
    (stored,) = (path.parent for path in place.glob("kept/finetune/*/adapter.json"))
    for extra, code in ((["--output", str(tmp_path / "out")], 0), (option, 2)):
        assert sample_of(stored, place / "kept", *extra) == code
    assert said in capsys.readouterr().err
    fine_tune = ["finetune", "--concept", str(place / "rex"), "--backbone", str(place / "model")]
    fine_tune += ["--method", "lora", "--steps", "1", "--param", "prior_weight=0", "--no-validation"]
    fine_tune += ["--runs", str(tmp_path / "runs")]
    assert main([*fine_tune, "--device", "cpu"]) == 0
    for wrong in (option, ["--report", "paper"], ["--dtype", "fp16", "--device", "cpu"]):
        assert main([*fine_tune, *wrong]) == 2


def test_a_dtype_is_another_run(place, tmp_path):
    (stored,) = (path.parent for path in place.glob("kept/finetune/*/adapter.json"))
    runs = tmp_path / "runs"
    for dtype in ("fp32", "bf16", "fp32"):
        assert sample_of(stored, runs, "--dtype", dtype) == 0
    found = {json.loads(path.read_text())["dtype"]: path.parent for path in runs.glob("sample/*/spec.json")}
    assert set(found) == {"fp32", "bf16"}
    assert json.loads((found["bf16"] / "provenance.json").read_text())["dtype"] == "bfloat16"


def test_a_loaded_model_must_be_the_runs_own(place, tmp_path):
    from tiny import tiny_backbone

    from persongen_lib.backbones import load_backbone

    spec = load_study(place / "small.yaml").jobs[0].sample
    tiny_pipeline(seed=1).save_pretrained(tmp_path / "other")
    runtime = Runtime.at(place / "kept", "cpu")
    for backbone in (tiny_backbone(), load_backbone(tmp_path / "other", device="cpu")):
        with pytest.raises(UserError, match="are not those of the run .* with load_backbone"):
            run_sample(spec, runtime, backbone=backbone)
    own = load_backbone(place / "model", device="cpu", dtype="bf16")
    with pytest.raises(UserError, match="computes in bf16, not in fp32"):
        run_sample(spec, Runtime.at(place / "kept", "cpu", "fp32"), backbone=own)


def test_a_full_disk_does_not_hide_which_cells_failed(place, tmp_path, capsys, monkeypatch):
    from persongen_lib.cli import study as command

    def fail(*args):
        raise UserError("the disk is full: somewhere was not written; make room and run it again")

    monkeypatch.setattr("persongen_lib.study.local.run_job", fail)
    monkeypatch.setattr(command, "update_table", fail)
    assert study_run(place, tmp_path / "packed") == 2
    told = capsys.readouterr().err
    assert "2 of 2 cells failed" in told and "rex base" in told and "the disk is full" in told
