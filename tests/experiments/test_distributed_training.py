"""`compare` on two processes: started by `--devices 2` or torchrun, killed, and continued."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

TWO = ["--devices", "2", "--accelerator", "cpu"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
MIXED = 'sigma = 0.1\nramp = { shape = "linear", fraction = 0.5 }'
FEW = [("train_seeds = [0, 1]", "train_seeds = [0]"), ("[methods.sgd]\n", ""), ("epochs = 3", "epochs = 4")]
RUN = "runs/m-rwp-seed0"


def start(path, folder, launcher=()):
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "aimc_robust", "compare", str(path), "--out", str(folder), *TWO],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,  # so that both processes can be killed at once
    )


def finish(path, folder, launcher=()):
    process = start(path, folder, launcher)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert output.count("[1/1] m-rwp-seed0") == 1  # the second process is silent


def kill_after_an_epoch(path, folder):
    process = start(path, folder)
    deadline = time.monotonic() + 120
    while not (folder / RUN / "unfinished.safetensors").exists():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (folder / RUN / "checkpoint.safetensors").exists()


def history(folder):
    rows = [json.loads(line) for line in (folder / RUN / "history.jsonl").read_text().splitlines()]
    return pd.DataFrame(rows).drop(columns="seconds")


@pytest.mark.slow
def test_parallel_mrwp_is_that_of_one_process_also_after_a_kill_and_under_torchrun(run, write_spec, tmp_path):
    alone = run(write_spec(*FEW), tmp_path / "alone").results.folder
    path = write_spec(*FEW, (MIXED, f"{MIXED}\nparallel = true"), name="parallel.toml")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(path, whole, TORCHRUN)
    kill_after_an_epoch(path, killed)
    finish(path, killed)
    accuracies = ["accuracy", "perturbed_accuracy"]  # an image more or less is 0.2 points
    together, single = history(whole), history(alone)
    pd.testing.assert_frame_equal(together[accuracies], single[accuracies], atol=0.5)
    pd.testing.assert_frame_equal(together.drop(columns=accuracies), single.drop(columns=accuracies), rtol=1e-3)
    pd.testing.assert_frame_equal(history(killed), history(whole))
    for name in ("evaluations.csv", "summary.csv", f"{RUN}/checkpoint.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    processes = [json.loads((folder / "environment.json").read_text())[0]["processes"] for folder in (alone, whole)]
    assert processes == [1, 2]
