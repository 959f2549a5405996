"""Options of `persongen study` are honored or refused, in one sentence and before any work."""

import pytest

from persongen_lib.cli import main as cli
from persongen_lib.core.errors import UserError
from persongen_lib.study.distributed import check_gpus


@pytest.mark.parametrize(
    ("action", "options", "message"),
    [
        ("status", ["--engine", "ray"], "study status has no --engine"),
        ("status", ["--engine", "local"], "study status has no --engine"),
        ("status", ["--keep-pictures"], "study status has no --keep-pictures"),
        ("status", ["--notebooks"], "study status has no --notebooks"),
        ("status", ["--output", "x.csv"], "study status has no --output, which is for study collect"),
        ("run", ["--output", "x.csv"], "study run has no --output"),
        ("collect", ["--shard", "1/2"], "study collect has no --shard, which is for study run and status"),
        ("collect", ["--gpus-per-cell", "1"], "study collect has no --gpus-per-cell"),
        ("collect", ["--output", "x.txt"], "must end with .csv or .parquet"),
        ("collect", ["--output", "x"], "must end with .csv or .parquet"),
        ("run", ["--gpus-per-cell", "0.5"], "--gpus-per-cell is for the engine ray"),
        ("run", ["--engine", "ray", "--gpus-per-cell", "0"], "GPUs per cell must be above 0"),
        ("run", ["--engine", "ray", "--gpus-per-cell=-1"], "GPUs per cell must be above 0"),
        (
            "run",
            ["--engine", "ray", "--gpus-per-cell", "nan"],
            "--gpus-per-cell: must be a number, not 'nan'",
        ),
        ("run", ["--engine", "ray", "--gpus-per-cell", "1.5"], "GPUs per cell must be above 0"),
        (
            "run",
            ["--engine", "ray", "--gpus-per-cell", "1e400"],
            "--gpus-per-cell: must be a number, not '1e400'",
        ),
        ("run", ["--shard", ""], "--shard: must not be empty"),
        ("run", ["--shard", f"1/{5000 * '9'}"], "a shard is k/N"),
        ("status", ["--shard", "3/2"], "a shard is k/N"),
    ],
)
def test_options_without_a_meaning_are_refused(write_study, tmp_path, capsys, action, options, message):
    runs = tmp_path / "runs"
    assert cli.main(["study", action, str(write_study()), "--runs", str(runs), *options]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1 and not runs.exists()


def test_the_status_of_a_shard(write_study, tmp_path, capsys):
    path = write_study(fine_tunings=[{"seed": 0}, {"seed": 1}])
    assert cli.main(["study", "status", str(path), "--shard", "1/2", "--runs", str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().out.count("rex") == 1


@pytest.mark.parametrize("output", ["x.csv", "x.parquet"])
def test_the_tables_of_several_studies_need_a_folder(write_study, tmp_path, capsys, output):
    write_study()
    (tmp_path / "all.yaml").write_text("include: [small.yaml]")
    assert cli.main(["study", "collect", str(tmp_path / "all.yaml"), "--output", str(tmp_path / output)]) == 2
    assert "give a folder" in capsys.readouterr().err


@pytest.mark.parametrize("gpus", [0.25, 1, 1.0, 2, 4.0])
def test_ray_can_give_a_cell_these_gpus(gpus):
    assert check_gpus(gpus) == gpus


@pytest.mark.parametrize("gpus", ["1", None, True, -0.5, 0, float("inf"), 10**400])
def test_ray_can_not_give_a_cell_those_gpus(gpus):
    with pytest.raises(UserError, match="GPUs per cell must be"):
        check_gpus(gpus)
