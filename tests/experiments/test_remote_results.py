"""`compare --out URL`: results and models in an object store, which another machine goes on with."""

import importlib.util
import os
import signal
import subprocess
import sys
import time

import fsspec
import pandas as pd
import pytest
from support.command_line import invoke
from support.object_stores import free_port, machine, s3_server

from aimc_robust.experiments.callbacks.uploads import Uploads
from aimc_robust.experiments.results.remote_folder import WRITER
from aimc_robust.io.object_store import ObjectStore

NEEDS_S3 = "needs s3fs and moto[server], of the extra [test]"


def test_another_machine_goes_on_and_trains_nothing_twice(write_quick_spec, url, tmp_path, trained, monkeypatch):
    path = write_quick_spec()
    files = fsspec.implementations.memory.MemoryFileSystem
    put_file, puts = files.put_file, []

    def gone_after_a_trial(self, *args, **options):
        puts.append(args)
        if trained == ["sgd-seed0", "m-rwp-seed0"]:
            raise OSError("connection lost")
        return put_file(self, *args, **options)

    monkeypatch.setattr(files, "put_file", gone_after_a_trial)
    first = machine(tmp_path, "first")
    stopped = invoke("compare", path, "--out", url, cwd=first)
    assert stopped.returncode == 2
    assert f"{url} does not answer (connection lost); everything up to now is in results/copies/" in stopped.stderr
    assert trained == ["sgd-seed0", "m-rwp-seed0"]  # and no further one
    monkeypatch.setattr(files, "put_file", put_file)

    trained.clear()
    second = machine(tmp_path, "second")
    done = invoke("compare", path, "--out", url, cwd=second)
    assert (done.returncode, done.stderr) == (0, "")
    assert f", also in {url}" in done.stdout
    assert trained == ["m-rwp-seed0", "sgd-seed1", "m-rwp-seed1"]  # that of seed 0 was not sent
    names = ObjectStore(url).names()
    assert {"summary.csv", "report.html", "runs/sgd-seed0/checkpoint.safetensors", WRITER} <= set(names)
    assert not any(name.endswith((".lock", ".part", ".jsonl.part")) for name in names)

    undisturbed = invoke("compare", path, "--out", tmp_path / "undisturbed")
    assert undisturbed.returncode == 0
    assert ObjectStore(url).read("evaluations.csv") == (tmp_path / "undisturbed" / "evaluations.csv").read_bytes()


def test_a_report_is_written_again_in_the_store(comparison_copy, url, tmp_path):
    store = ObjectStore(url)
    names = [path.relative_to(comparison_copy).as_posix() for path in comparison_copy.rglob("*") if path.is_file()]
    store.upload(comparison_copy, names)
    store.remove(["report.html", "summary.csv"])
    done = invoke("report", url, cwd=machine(tmp_path, "first"))
    assert done.returncode == 0
    assert f"report: {url}/report.html" in done.stdout
    assert store.read("summary.csv") == (comparison_copy / "summary.csv").read_bytes()
    assert b"<html" in store.read("report.html")
    assert list((tmp_path / "first").iterdir()) == []


@pytest.mark.slow
def test_what_ctrl_c_stops_in_training_is_sent(write_quick_spec, url, tmp_path, monkeypatch):
    models, epoch = "memory://bucket/models", Uploads.epoch

    def interrupted(self, trial, row):
        epoch(self, trial, row)
        if row["epoch"] == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Uploads, "epoch", interrupted)
    path = write_quick_spec(("epochs = 1", "epochs = 3"))
    options = ["compare", path, "--out", url, "--models", models]
    assert invoke(*options, cwd=machine(tmp_path, "first")).returncode == 130
    sent = {name.split("/")[1] for name in ObjectStore(models).names()}
    assert "unfinished.safetensors" in sent
    assert "checkpoint.safetensors" not in sent

    monkeypatch.setattr(Uploads, "epoch", epoch)
    assert invoke(*options, cwd=machine(tmp_path, "second")).returncode == 0
    assert invoke("compare", path, "--out", tmp_path / "undisturbed").returncode == 0
    assert ObjectStore(url).read("evaluations.csv") == (tmp_path / "undisturbed" / "evaluations.csv").read_bytes()


@pytest.mark.slow
def test_models_in_a_store_are_trained_by_one_machine_only(write_quick_spec, url, tmp_path, trained):
    models = "memory://bucket/models"
    for name in ("first", "second"):
        path = write_quick_spec(("chips = 3", f"chips = {len(name)}"))
        done = invoke(
            "compare", path, "--out", tmp_path / f"out-{name}", "--models", models, cwd=machine(tmp_path, name)
        )
        assert done.returncode == 0
    assert len(trained) == 4
    frames = [pd.read_csv(tmp_path / f"out-{name}" / "evaluations.csv") for name in ("first", "second")]
    digital = [frame[frame["target"] == "digital"].reset_index(drop=True) for frame in frames]
    pd.testing.assert_frame_equal(*digital)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "nosuch://bucket"], "expected a URL such as s3://bucket/path"),
        (["--out", "memory://x", "--devices", "2"], "needs one process for each model"),
    ],
)
def test_what_no_store_can_do_is_one_sentence(write_quick_spec, tmp_path, options, message):
    done = invoke("compare", write_quick_spec(), *options, "--accelerator", "cpu", cwd=machine(tmp_path, "first"))
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(any(importlib.util.find_spec(name) is None for name in ("s3fs", "moto")), reason=NEEDS_S3)
def test_killed_on_one_machine_it_goes_on_on_another_from_a_server(write_quick_spec, tmp_path):
    path = write_quick_spec(("train_seeds = [0, 1]", "train_seeds = [0, 1, 2]"))
    with s3_server(free_port()) as environment:
        command = [sys.executable, "-m", "aimc_robust", "compare", str(path), "--out", "s3://bucket/a/results"]
        log = (tmp_path / "log").open("w")
        first = machine(tmp_path, "first")
        process = subprocess.Popen(command, cwd=first, env=environment, stdout=log, stderr=subprocess.STDOUT)
        copies = first / "results" / "copies"
        deadline = time.monotonic() + 120
        while sum("sgd-seed1/evaluations" in sent.read_text() for sent in copies.glob("*/.sent.jsonl")) == 0:
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        second = machine(tmp_path, "second")
        done = subprocess.run(command, cwd=second, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        (copy,) = (second / "results" / "copies").iterdir()
        shown = subprocess.run(
            [*command[:3], "report", "s3://bucket/a/results"],
            cwd=first,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert shown.returncode == 0, shown.stderr
        (killed,) = copies.iterdir()
    for name in ("sgd-seed0", "m-rwp-seed0", "sgd-seed1"):  # a second training would take other times
        assert '"seconds"' in (killed / "runs" / name / "history.jsonl").read_text()
        assert (copy / "runs" / name / "history.jsonl").read_text() == (
            killed / "runs" / name / "history.jsonl"
        ).read_text()
    assert "Traceback" not in done.stderr
    undisturbed = invoke("compare", path, "--out", tmp_path / "undisturbed")
    assert undisturbed.returncode == 0
    assert (copy / "evaluations.csv").read_bytes() == (tmp_path / "undisturbed" / "evaluations.csv").read_bytes()
    assert os.listdir(first) == ["results"]
