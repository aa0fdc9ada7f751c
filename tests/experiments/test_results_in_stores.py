"""Commands on the results of a comparison that are in an object store: `plan`, `analyze`, `merge` and `pack`."""

import json
import time

import pytest
from support.command_line import invoke
from support.object_stores import machine

from aimc_robust.experiments.results.remote_folder import WRITER
from aimc_robust.io.object_store import ObjectStore


def stored(folder, url, *, without=()):
    """Put a results folder into a store; return the store."""
    store = ObjectStore(url)
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    store.upload(folder, [name for name in names if name not in without])
    return store


@pytest.mark.slow
def test_parts_in_stores_are_planned_and_merged_into_another(write_quick_spec, url, tmp_path, trained):
    path = write_quick_spec()
    parts = [f"{url}-{part}" for part in (1, 2)]
    here = machine(tmp_path, "first")
    assert invoke("compare", path, "--out", parts[0], "--part", "1/2", cwd=here).returncode == 0
    planned = invoke("plan", path, "--out", parts[0], cwd=machine(tmp_path, "planning"))
    assert (planned.returncode, planned.stderr) == (0, "")
    assert "4 models: 2 done, 2 to do" in planned.stdout
    assert list((tmp_path / "planning").iterdir()) == []
    assert "4 to do" in invoke("plan", path, "--out", f"{url}-new", cwd=tmp_path / "planning").stdout
    assert ObjectStore(f"{url}-new").names() == []

    assert invoke("compare", path, "--out", parts[1], "--part", "2/2", cwd=machine(tmp_path, "second")).returncode == 0
    merged = invoke("merge", *parts, "--out", url, cwd=machine(tmp_path, "third"))
    assert (merged.returncode, merged.stderr) == (0, "")
    assert "4 of 4 models trained" in merged.stdout
    assert f", also in {url}" in merged.stdout
    assert invoke("compare", path, "--out", tmp_path / "undisturbed").returncode == 0
    assert ObjectStore(url).read("evaluations.csv") == (tmp_path / "undisturbed" / "evaluations.csv").read_bytes()
    assert b"<html" in ObjectStore(url).read("report.html")
    trained.clear()
    assert invoke("compare", path, "--out", url, cwd=machine(tmp_path, "fourth")).returncode == 0
    assert trained == []
    packed = invoke("pack", url, "--out", tmp_path / "packed")
    assert packed.returncode == 0
    assert (tmp_path / "packed" / "summary.csv").read_bytes() == ObjectStore(url).read("summary.csv")


def test_a_plan_knows_the_models_of_a_store(write_quick_spec, url, tmp_path, trained):
    path, models = write_quick_spec(), "memory://bucket/models"
    here = machine(tmp_path, "first")
    assert invoke("compare", path, "--out", url, "--models", models, "--part", "1/2", cwd=here).returncode == 0
    planned = invoke("plan", path, "--out", f"{url}-new", "--models", models, cwd=machine(tmp_path, "second"))
    assert "4 models: 2 to evaluate, 2 to do" in planned.stdout


def test_an_analysis_is_added_in_the_store_and_not_done_twice(comparison_copy, write_spec, url, tmp_path, monkeypatch):
    stored(comparison_copy, url)
    options = ["--images", "20", "--steps", "3", "--eigenvalues", "1", "--out", url]
    done = invoke("analyze", write_spec(), *options, cwd=machine(tmp_path, "first"))
    assert (done.returncode, done.stderr) == (0, "")
    rows = ObjectStore(url).read("runs/sgd-seed0/analysis.jsonl")
    assert b"eigenvalues" in rows
    assert b"Hessian" in ObjectStore(url).read("report.html")
    monkeypatch.setattr("aimc_robust.experiments.analyze.hessian_spectrum", None)
    assert invoke("analyze", write_spec(), *options, cwd=machine(tmp_path, "second")).returncode == 0
    assert ObjectStore(url).read("runs/sgd-seed0/analysis.jsonl") == rows


def test_a_merge_only_reads_what_it_merges(comparison_copy, url, tmp_path):
    store = stored(comparison_copy, url)
    store.write(WRITER, b'{"id": "1", "host": "a", "pid": 1, "copy": "1", "held": false, "time": 0}')
    before = {name: store.read(name) for name in store.names()}
    (comparison_copy / "runs" / "sgd-seed1" / "evaluations.jsonl").unlink()
    done = invoke("merge", f"{url}/", comparison_copy, "--out", f"{url}-all", cwd=machine(tmp_path, "first"))
    assert (done.returncode, done.stderr) == (0, "")
    assert {name: store.read(name) for name in store.names()} == before
    assert ObjectStore(f"{url}-all").read("evaluations.csv") == before["evaluations.csv"]
    assert not list((tmp_path / "first").rglob("results-[!a]*"))
    into_itself = invoke("merge", url, comparison_copy, "--out", f"{url}/", cwd=tmp_path / "first")
    assert (into_itself.returncode, into_itself.stderr) == (0, "")
    assert json.loads(store.read(WRITER))["held"] is False


def test_a_refused_command_gives_the_store_back(comparison_copy, write_spec, url, tmp_path):
    store, here = stored(comparison_copy, url), machine(tmp_path, "first")
    done = invoke("analyze", write_spec(("chips = 3", "chips = 4")), "--out", url, cwd=here)
    assert done.returncode == 2
    assert "another spec" in done.stderr
    assert json.loads(store.read(WRITER))["held"] is False


def test_messages_name_the_store(comparison_copy, write_spec, url, tmp_path):
    stored(comparison_copy, url, without=("summary.csv",))
    done = invoke("pack", url, "--out", tmp_path / "packed")
    assert f"run `aimc-robust report {url}` first" in done.stderr
    other = ["plan", write_spec(), "--set", "task.kind='regression'", "--models", "memory://bucket/models"]
    planned = invoke(*other, "--out", url, cwd=machine(tmp_path, "first"))
    assert f"{url} holds the results of another spec" in planned.stderr
    assert list((tmp_path / "first").iterdir()) == []


def test_a_store_that_another_process_writes_to_is_not_merged(comparison_copy, url, tmp_path):
    store = ObjectStore(url)
    store.upload(comparison_copy, ["question.json"])
    writer = {"id": "1", "host": "elsewhere", "pid": 7, "copy": "1", "held": True, "time": time.time()}
    store.write(WRITER, json.dumps(writer).encode())
    done = invoke("merge", url, comparison_copy, "--out", tmp_path / "merged", cwd=machine(tmp_path, "first"))
    assert done.returncode == 2
    assert "process 7 on elsewhere writes to" in done.stderr
    assert not (tmp_path / "merged").exists()


def test_nor_is_one_that_another_process_began_to_write_to_meanwhile(comparison_copy, url, tmp_path, monkeypatch):
    store, download = stored(comparison_copy, url), ObjectStore.download

    def begun(self, *arguments):
        download(self, *arguments)
        writer = {"id": "1", "host": "elsewhere", "pid": 7, "copy": "1", "held": True, "time": time.time()}
        store.write(WRITER, json.dumps(writer).encode())

    monkeypatch.setattr(ObjectStore, "download", begun)
    done = invoke("merge", url, comparison_copy, "--out", tmp_path / "merged", cwd=machine(tmp_path, "first"))
    assert "process 7 on elsewhere writes to" in done.stderr
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("command", ["merge", "analyze", "pack", "plan"])
def test_a_store_without_results_is_named_and_left_alone(command, write_quick_spec, url, comparison_copy, tmp_path):
    arguments = {
        "merge": [url, comparison_copy, "--out", tmp_path / "new"],
        "analyze": [write_quick_spec(), "--out", url],
        "pack": [url, "--out", tmp_path / "new"],
        "plan": [write_quick_spec(), "--settle", "1", "--pilot", url],
    }
    done = invoke(command, *arguments[command], cwd=machine(tmp_path, "first"))
    assert done.returncode == 2
    assert f"{url} holds no results (no question.json)" in done.stderr
    assert ObjectStore(url).names() == []
    assert not (tmp_path / "new").exists()
