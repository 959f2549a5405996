"""The engine ray on a cluster of two nodes on this machine."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
import ray
import yaml
from ray._private.services import write_node_ip_address
from ray.cluster_utils import Cluster
from tiny import save_pictures, tiny_pipeline
from tiny_clip import save_tiny_clip

from persongen_lib.cli import main as cli
from persongen_lib.core.errors import UserError
from persongen_lib.core.manifest import DONE
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.store import Store
from persongen_lib.study import distributed
from persongen_lib.study.distributed import run_study_ray
from persongen_lib.study.grid import Study, load_study
from persongen_lib.study.local import run_study
from persongen_lib.study.results import collect

OWN = ["picture", "fine_tune", "seed", "label", "clip_text", "clip_image", "evaluations"]
NODE = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a study of relative paths: two fine-tunings with two cells each."""
    folder = tmp_path_factory.mktemp("place")
    tiny_pipeline().save_pretrained(folder / "model")
    save_tiny_clip(folder / "clip")
    for name in ("rex", "tom"):
        save_pictures(folder / name, 3 if name == "rex" else 4)
        (folder / name / "concept.json").write_text('{"class_name": "dog"}')
    quick = {"num_class_images": 2, "class_num_steps": 2, "batch_size": 1}
    study = {
        "concepts": ["./rex", "./tom"],
        "backbones": ["./model"],
        "fine_tunings": [{"num_steps": 2, "parameters": quick}],
        "prompts": ["a photo of {} in the snow"],
        "seeds": "0-1",
        "num_steps": 3,
        "strategies": ["base", "mixed"],
        "metrics": ["clip"],
        "clip_model": f"local-dir:{folder / 'clip'}",
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(study))
    return folder


@pytest.fixture(scope="module")
def table(place):
    """The study's table, made without ray."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        study = load_study(place / "small.yaml")
        assert run_study(study, Runtime.at("local", "cpu")) == ()
        (path,) = collect(study, "local", "local.parquet")
        return pd.read_parquet(path)


@pytest.fixture
def brisk(monkeypatch):
    """Processes of ray's get as much of the processor as others, which its own settings deny them."""
    monkeypatch.setenv("RAY_worker_niceness", "0")


@pytest.fixture
def cluster(brisk):
    """A node of one core with an address of its own, which holds the cluster together; gone afterwards."""
    head = {**NODE, "node_ip_address": "127.0.0.2", "_system_config": {"health_check_period_ms": 500}}
    found = Cluster(initialize_head=True, head_node_args=head)  # notices a dead node after 2 seconds, not 14
    try:
        yield found
    finally:
        found.shutdown()


def add_node(cluster):
    """A second node of one core; drivers on this machine are attached to the first one as before."""
    cluster.add_node(**NODE, node_ip_address="127.0.0.3")
    write_node_ip_address(cluster.head_node.get_session_dir_path(), "127.0.0.2")


@contextlib.contextmanager
def driver(cluster, place):
    """`persongen study run --engine ray` in a process group of its own."""
    command = [
        sys.executable,
        "-m",
        "persongen_lib.cli.main",
        "study",
        "run",
        "small.yaml",
        "--engine",
        "ray",
    ]
    process = subprocess.Popen(
        [*command, "--runs", "ray", "--device", "cpu"], cwd=place, start_new_session=True, text=True,
        env={**os.environ, "RAY_ADDRESS": cluster.address, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(place, scored, process=None):
    """Until so many cells are scored, while the driver runs; for five minutes at most."""
    end = time.monotonic() + 300
    while len(Store(place / "ray").finished("evaluate")) < scored:
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_this_machine_makes_the_same_table_and_tells_what_failed(place, table, brisk, tmp_path, monkeypatch):
    """In one process of ray's, for most of a process is spent on importing."""
    monkeypatch.chdir(place)
    asked, init = [], partial(ray.init, num_cpus=1)
    monkeypatch.setattr(ray, "init", lambda address, **rest: asked.append(address) or init(address, **rest))
    shutil.copytree(place / "tom", tmp_path / "bad")
    values = yaml.safe_load((place / "small.yaml").read_text())
    (place / "bad.yaml").write_text(yaml.safe_dump({**values, "concepts": ["./rex", str(tmp_path / "bad")]}))
    study = load_study(place / "bad.yaml")
    for picture in (tmp_path / "bad").glob("*.png"):
        picture.unlink()
    failures = run_study_ray(study, Runtime.at("alone", "cpu"))
    assert asked == ["local"], "a cluster of someone else on this machine would be joined"
    assert [failure.cell for failure in failures] == list(study.cells[2:])
    assert all("bad" in failure.reason and "pictures" in failure.reason for failure in failures)
    good = replace(study, jobs=study.jobs[:2])
    again = pd.read_parquet(*collect(good, "alone", "alone.parquet"))
    pd.testing.assert_frame_equal(again[OWN], table[OWN].head(4), rtol=1e-3)


def test_a_cluster_that_loses_its_driver_and_a_node_makes_the_same_table(cluster, place, table, monkeypatch):
    """The second node, which is the one that is lost, comes after the driver is gone."""
    monkeypatch.chdir(place)
    study = load_study(place / "small.yaml")
    with driver(cluster, place) as process:
        wait_for(place, 1, process)
    manifests = [folder / DONE for folder in Store(place / "ray").finished()]
    kept = {path: path.stat().st_mtime_ns for path in manifests}

    add_node(cluster)

    def lose_a_node():
        wait_for(place, 2)
        (node,) = cluster.worker_nodes
        assert ray.get_runtime_context().get_node_id() != node.node_id
        cluster.remove_node(node, allow_graceful=False)

    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    with ThreadPoolExecutor() as beside:
        lost = beside.submit(lose_a_node)
        assert run_study_ray(study, Runtime.at("ray", "cpu")) == ()
        lost.result()
    assert kept and all(path.stat().st_mtime_ns == then for path, then in kept.items())
    (again,) = (pd.read_parquet(path) for path in collect(study, "ray", "ray.parquet"))
    pd.testing.assert_frame_equal(again[OWN], table[OWN], rtol=1e-3)


@pytest.mark.parametrize("share", [0, -1, 1.5, float("nan"), float("inf"), 1001])
def test_shares_of_a_gpu(place, share):
    study = Study("none", "", (), place / "none.yaml")
    with pytest.raises(UserError, match="GPUs per cell must be above 0 and at most 1, or a whole number"):
        run_study_ray(study, Runtime.at(place / "none"), gpus_per_cell=share)


def test_a_machine_that_lacks_what_must_be_shared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = distributed._Site.here(Runtime.at(tmp_path / "runs").store)
    here.enter()
    with pytest.raises(UserError, match="all machines share"):
        replace(here, runs=tmp_path / "elsewhere").enter()
    with pytest.raises(UserError, match="has persongen_lib .*, and the study runs with 0.0"):
        replace(here, version="0.0").enter()


@pytest.mark.parametrize("command", ["study run small.yaml", "sample --strategy base --concept dog"])
def test_launched_processes_are_refused(place, monkeypatch, capsys, command):
    monkeypatch.chdir(place)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.main([*command.split(), "--runs", "none"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "started 2 processes (WORLD_SIZE)" in told and "--engine ray or --shard k/N" in told
    with pytest.raises(UserError, match="WORLD_SIZE"):
        Runtime.at(place / "none")
    monkeypatch.setenv("WORLD_SIZE", "1")
    Runtime.at(place / "none")
