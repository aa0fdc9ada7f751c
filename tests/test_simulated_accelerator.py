"""Tests marked `gpu` run on a simulated accelerator, in a process of their own: registering it cannot be undone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils import backend_registration

TESTS = Path(__file__).parent
HOOK = "_setup_privateuseone_for_python_backend"  # torch's own, since a version after 2.7


UNSUPPORTED = pytest.mark.skipif(
    not hasattr(backend_registration, HOOK), reason=f"torch {torch.__version__} hosts no backend written in Python"
)


def run(files):
    """Return how many tests pass on a simulated accelerator; all have to."""
    options = ["-n0", "-m", "gpu", "--accelerator", "simulated", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *map(str, files)],
        cwd=TESTS.parent,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    return int(re.search(r"(\d+) passed", done.stdout)[1])


@pytest.mark.slow
@UNSUPPORTED
def test_all_that_runs_on_a_gpu_runs_on_a_simulated_accelerator():
    files = [
        path for path in TESTS.rglob("test_*.py") if re.search(r"^def test.*\baccelerator\)", path.read_text(), re.M)
    ]
    assert run(sorted(files)) > 110


def test_the_device_is_registered_in_no_other_process():
    assert not hasattr(torch, "simulated")
    assert not hasattr(torch.Tensor, "is_simulated")
