"""Killed at any moment, the same command goes on and ends with the undisturbed numbers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from support.command_line import invoke

from aimc_robust.cli import error_handling
from aimc_robust.cli.error_handling import handle_errors
from aimc_robust.experiments.execution import trial_runner

COMMAND = [sys.executable, "-m", "aimc_robust", "compare"]


def start(path, folder, *options, **more):
    return subprocess.Popen(
        [*COMMAND, str(path), "--out", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        # A shell's background jobs ignore Ctrl-C, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **more,
    )


def finish(path, folder):
    process = start(path, folder)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return (folder / "evaluations.csv").read_bytes()


def wait_for(folder, pattern, process):
    """Until a file that matches appears; the process must be alive until then."""
    deadline = time.monotonic() + 60
    while not any(folder.glob(pattern)):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.slow
def test_kill_and_resume_ends_with_the_same_rows(write_spec, tmp_path):
    path = write_spec(("epochs = 3", "epochs = 6"))
    undisturbed = finish(path, tmp_path / "whole")
    # Four moments: in the first training, between epochs, in an evaluation, and in the last trial.
    moments = [
        "spec.toml",
        "runs/sgd-seed0/unfinished.safetensors",
        "runs/m-rwp-seed0/evaluations.jsonl",
        "runs/m-rwp-seed1/history.jsonl",
    ]
    folder = tmp_path / "out"
    for moment in moments:
        process = start(path, folder)
        wait_for(folder, moment, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert finish(path, folder) == undisturbed
    assert (folder / "summary.csv").read_bytes() == (tmp_path / "whole" / "summary.csv").read_bytes()


@pytest.mark.slow
def test_ctrl_c_in_a_process_says_how_to_go_on_and_leaves_what_is_done(write_spec, tmp_path):
    path = write_spec(("epochs = 3", "epochs = 300"))
    process = start(path, tmp_path / "out")
    wait_for(tmp_path / "out", "runs/sgd-seed0/unfinished.safetensors", process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Run the same command again to continue" in output
    assert "Traceback" not in output
    assert (tmp_path / "out" / "runs" / "sgd-seed0" / "history.jsonl").read_text().count("\n") >= 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="there is a fork server on Linux only")
@pytest.mark.parametrize("delay_s", [0.0, 0.3, 1.0, 2.0])
def test_ctrl_c_while_processes_import_is_one_line(delay_s, write_quick_spec, tmp_path):
    """As a terminal sends it, to all processes, at moments after the fork server has begun."""
    process = start(write_quick_spec(), tmp_path / "out", "--jobs", "2", start_new_session=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not any(
        b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes() for child in children.read_text().split()
    ):
        assert process.poll() is None
        time.sleep(0.002)
    time.sleep(delay_s)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)  # until no process holds the pipe any more
    assert process.returncode in (130, -signal.SIGINT)  # the same to a shell
    assert output == "Interrupted. Run the same command again to continue.\n"


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_abort_what_ends(write_quick_spec, tmp_path):
    process = start(write_quick_spec(), tmp_path / "out", "--jobs", "2", start_new_session=True)
    time.sleep(2.0)
    while process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
    output, _ = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in output


def test_a_second_ctrl_c_does_not_stop_what_the_first_one_ends_but_later_ones_do(monkeypatch):
    ended = []

    @handle_errors
    def compare():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            ended.append("in time")
            monkeypatch.setattr(error_handling, "IGNORED_AFTER_CTRL_C_S", 0.0)
            signal.raise_signal(signal.SIGINT)
            ended.append("never")

    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(typer.Exit):
            compare()
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == ["in time"]


def test_ctrl_c_says_how_to_go_on(write_quick_spec, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(trial_runner, "train", interrupted)
    done = invoke("compare", write_quick_spec(), "--out", tmp_path / "out")
    assert done.returncode == 130
    assert "the same command" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
