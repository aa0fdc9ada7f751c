"""benchmarks/speed/gpu.sh in its small form on the CPU: every part runs, and a second call continues the training."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from support.benchmark_scripts import BENCHMARKS, load_script

PARTS = ("tests", "steps", "chips", "arrays", "table5")
SMALL = {"SMALL": "1", "DEVICE": "cpu", "PYTHON": sys.executable, "TESTS": "tests/accelerator/test_simulated_device.py"}


def gpu_sh(*arguments, **environment):
    command = ["bash", str(BENCHMARKS / "speed" / "gpu.sh"), *map(str, arguments)]
    return subprocess.run(command, env=os.environ | SMALL | environment, capture_output=True, text=True, timeout=300)


def stub(folder, cases):
    """A `python` that does what the cases of a shell's `case` say, and nothing for other arguments."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\ncase $* in {cases} ;; esac\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.slow
def test_every_part_runs_and_a_later_call_continues_the_training(tmp_path):
    first = gpu_sh(tmp_path, 240)
    assert first.returncode == 0, first.stdout
    summary = (tmp_path / "summary.txt").read_text().splitlines()
    assert [line.split()[0] for line in summary] == list(PARTS)
    assert all("s  finished" in line for line in summary)
    assert "one step against an SGD step, on cpu" in first.stdout
    assert "one chip against plain inference" in first.stdout
    assert "inference against plain torch" in first.stdout
    rows = {path: path.read_bytes() for path in tmp_path.glob("table5/runs/*/evaluations.jsonl")}
    assert rows
    again = gpu_sh(tmp_path, 240, PYTHON=stub(tmp_path, f'*table5.toml*) exec {sys.executable} "$@"'))
    assert again.returncode == 0, again.stdout
    assert {path: path.read_bytes() for path in rows} == rows


def test_a_part_that_fails_does_not_stop_the_others_and_is_told(tmp_path):
    found = gpu_sh(tmp_path, 240, PYTHON=stub(tmp_path, "*steps.py*) exit 1"))
    assert found.returncode == 1
    summary = dict(line.split(maxsplit=1) for line in (tmp_path / "summary.txt").read_text().splitlines())
    assert list(summary) == list(PARTS)
    assert "FAILED" in summary["steps"]
    assert summary["table5"].endswith("finished")


def test_claims_that_fail_are_named(tmp_path):
    printed = tmp_path / "printed"
    with printed.open("w") as file, contextlib.redirect_stdout(file):
        limits = {"a chip of evaluate()": 1.05, "program() and inference": 1.10, "SGD & SAM": 1.0}
        print_ratios = load_script("speed/common.py").print_ratios
        print_ratios(
            "ratios", {"a chip of evaluate()": [1.2], "program() and inference": [1.0], "SGD & SAM": [2.0]}, limits
        )
    found = gpu_sh(tmp_path / "out", 240, PYTHON=stub(tmp_path, f"*chips.py*) cat {printed}"))
    assert found.returncode == 0
    summary = dict(line.split(maxsplit=1) for line in (tmp_path / "out" / "summary.txt").read_text().splitlines())
    assert summary["chips"].endswith("finished, claims failed: a chip of evaluate(), SGD & SAM (see chips.txt)")
    assert all(summary[part].endswith("  finished") for part in PARTS if part != "chips")
    assert summary["chips"] in found.stdout


def test_no_time_starts_nothing_and_no_folder_is_a_mistake(tmp_path):
    assert gpu_sh().returncode == 2
    assert all(gpu_sh(tmp_path, *wrong).returncode == 2 for wrong in (["soon"], ["-5"], ["1.5"], [60, "more"]))
    found = gpu_sh(tmp_path, 0)
    assert found.returncode == 0
    assert found.stdout.count("no time was left") == len(PARTS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_script_and_what_it_started(tmp_path, kind):
    (tmp_path / "python").write_text("#!/bin/sh\necho $$ > " + str(tmp_path / "pid") + "\nexec sleep 60\n")
    (tmp_path / "python").chmod(0o755)
    command = ["bash", str(BENCHMARKS / "speed" / "gpu.sh"), str(tmp_path / "out")]
    script = subprocess.Popen(command, env=os.environ | SMALL | {"PYTHON": str(tmp_path / "python")})
    deadline = time.monotonic() + 30
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    script.send_signal(kind)
    assert script.wait(timeout=30) == 130
    started = int((tmp_path / "pid").read_text())
    while time.monotonic() < deadline:
        try:
            os.kill(started, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the part goes on")
