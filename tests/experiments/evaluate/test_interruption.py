"""Killed in the middle, the same command goes on and ends with the undisturbed rows; two at once are kept apart."""

import os
import signal
import subprocess
import sys
import time

import pytest
from support.evaluation_cases import write_images, write_weights

from aimc_robust.cli.app import main
from aimc_robust.io.atomic import read_rows

MODULE = """
import os, time
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 7),
    )

def slow(outputs, labels):
    time.sleep(float(os.environ.get("SLOW_S", 0)))
    return outputs.mean()
"""
DEVICES = ["--device", "rram-milo2021", "--device", "gaussian-0.1"]
CHIPS, ROWS = 8, 1 + 2 * 8


def arguments(folder):
    given = ["evaluate", "w.safetensors", "--model", "slow_net:build", "--data", "npz:i.npz", *DEVICES]
    return [*given, "--metric", "slow_net:slow", "--chips", str(CHIPS), "--jobs", "2", "--out", str(folder)]


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_and_no_chip_is_evaluated_twice(tmp_path, monkeypatch, capsys):
    write_weights(tmp_path / "w.safetensors")
    write_images(tmp_path / "i.npz")
    (tmp_path / "slow_net.py").write_text(MODULE)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    rows = killed / "runs" / "w-seed0" / "evaluations.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "aimc_robust", *arguments(killed)],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "SLOW_S": "0.4"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("aimc_robust.report.write.write_report", lambda folder: folder)  # its figures take a while

    def call(folder):
        monkeypatch.setattr(sys, "argv", ["aimc-robust", *arguments(folder)])
        try:
            main()
        except SystemExit as stopped:
            return stopped.code or 0, capsys.readouterr().err
        return 0, capsys.readouterr().err

    assert call(whole) == (0, "")  # undisturbed, while the other process works on its own folder
    deadline = time.monotonic() + 60
    while len(read_rows(rows)) < 4:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    code, err = call(killed)
    assert code == 2
    assert err == f"error: another process works on {killed}; wait for it, or give --out another folder.\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = rows.read_bytes()
    assert process.returncode == -signal.SIGKILL
    assert 4 <= len(read_rows(rows)) < ROWS
    assert call(killed) == (0, "")
    assert rows.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    chips = [(row["model"], row["train_seed"], row["target"], row["chip"]) for row in read_rows(rows)]
    assert len(chips) == len(set(chips)) == ROWS
    for name in ("evaluations.csv", "summary.csv", "differences.csv"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
