"""Where processes are spawned, as on macOS and Windows: `compare` and `evaluate` with two give the rows of one."""

import subprocess
import sys

import pandas as pd
import pytest
from support.command_line import invoke

# A command whose processes can only be spawned.
SCRIPT = """
import multiprocessing, os, sys
from multiprocessing import forkserver

def refuse(*_):
    raise AssertionError("forked")

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    os.fork = forkserver.ensure_running = forkserver.connect_to_new_process = refuse
    from aimc_robust.cli.app import app
    app(sys.argv[1:])
"""


@pytest.fixture
def run_spawned(tmp_path):
    """Run a command of the package with spawned processes."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def run(*arguments):
        command = [sys.executable, str(script), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
        assert done.returncode == 0, done.stderr

    return run


def rows(folder):
    return pd.read_csv(folder / "evaluations.csv")


@pytest.mark.slow
def test_a_comparison_has_the_same_rows(run_spawned, write_quick_spec, tmp_path):
    spec = write_quick_spec()
    options = ["--threads", "1"]
    run_spawned("compare", spec, "--jobs", 2, "--out", tmp_path / "spawned", *options)
    done = invoke("compare", spec, "--jobs", 1, "--out", tmp_path / "one", *options)
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(rows(tmp_path / "spawned"), rows(tmp_path / "one"), check_exact=True)
    assert (tmp_path / "spawned" / "report.html").is_file()


@pytest.mark.slow
def test_an_evaluation_has_the_same_rows(run_spawned, finished_comparison, tmp_path):
    weights = finished_comparison / "runs" / "sgd-seed0" / "checkpoint.safetensors"
    arguments = ["evaluate", weights, "--model", "small-cnn", "--option", "channels=4", "--option", "stages=2"]
    arguments += ["--data", "digits", "--images", 60, "--device", "sonos-agrawal2022", "--chips", 2]
    arguments += ["--attribute", "--explain-chips", 2]
    run_spawned(*arguments, "--jobs", 2, "--out", tmp_path / "spawned")
    done = invoke(*arguments, "--jobs", 1, "--out", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(rows(tmp_path / "spawned"), rows(tmp_path / "one"), check_exact=True)
