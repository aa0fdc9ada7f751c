"""benchmarks/speed/gpu.sh in its small form on the CPU: every part runs, and a second call continues the training."""

import os
import subprocess
import sys

import pytest
from support.benchmark_scripts import BENCHMARKS

PARTS = ("tests", "steps", "chips", "arrays", "table5")
SMALL = {"SMALL": "1", "DEVICE": "cpu", "PYTHON": sys.executable, "TESTS": "tests/accelerator/test_simulated_device.py"}


def gpu_sh(*arguments, **environment):
    command = ["bash", str(BENCHMARKS / "speed" / "gpu.sh"), *map(str, arguments)]
    return subprocess.run(command, env=os.environ | SMALL | environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_every_part_runs_and_a_later_call_continues_the_training(tmp_path):
    first = gpu_sh(tmp_path, 240)
    assert first.returncode == 0, first.stdout
    summary = (tmp_path / "summary.txt").read_text().splitlines()
    assert [line.split()[0] for line in summary] == list(PARTS)
    assert all(line.endswith("finished") for line in summary)
    assert "one step against an SGD step, on cpu" in first.stdout
    assert "one chip against plain inference" in first.stdout
    assert "inference against plain torch" in first.stdout
    rows = {path: path.read_bytes() for path in tmp_path.glob("table5/runs/*/evaluations.jsonl")}
    assert rows
    again = gpu_sh(tmp_path, 240)
    assert again.returncode == 0, again.stdout
    assert {path: path.read_bytes() for path in rows} == rows
    assert "100 %" in (tmp_path / "table5.txt").read_text() or "nothing" in (tmp_path / "table5.txt").read_text()


@pytest.mark.slow
def test_a_part_that_fails_does_not_stop_the_others_and_is_told(tmp_path):
    found = gpu_sh(tmp_path, 240, DEVICE="no-such-device")
    assert found.returncode == 1
    summary = dict(line.split(maxsplit=1) for line in (tmp_path / "summary.txt").read_text().splitlines())
    assert list(summary) == list(PARTS)
    assert "FAILED" in summary["steps"]
    assert summary["table5"].endswith("finished")


def test_no_time_starts_nothing_and_no_folder_is_a_mistake(tmp_path):
    assert gpu_sh().returncode == 2
    found = gpu_sh(tmp_path, 0)
    assert found.returncode == 0
    assert found.stdout.count("no time was left") == len(PARTS)
