"""A comparison small enough to run whole in a few seconds, on real digits."""

import os
from pathlib import Path

# Two processes of tests on two cores, and what they start: more threads than cores would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from aimc_robust.experiments.callbacks.comparison import Progress
from aimc_robust.experiments.compare import compare
from aimc_robust.experiments.spec.comparison import Spec, load_spec
from aimc_robust.report.write import write_report

TINY = """
name = "tiny"
seeds = [0, 1]
chips = 3
targets = ["digital", "gaussian-0.2", "rram-wan2022"]
[data]
name = "digits"
test_share = 0.1
[model]
name = "small-cnn"
options = { channels = 4, stages = 2 }
[training]
epochs = 3
batch_size = 32
lr = 0.1
early_stopping = { sigma = 0.1, draws = 2 }
[methods.sgd]
[methods.m-rwp]
sigma = 0.1
ramp = { shape = "linear", fraction = 0.5 }
"""


@pytest.fixture(autouse=True)
def _same_random_numbers_in_any_order():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny() -> str:
    """The text of the small spec."""
    return TINY


@pytest.fixture(scope="session")
def done(tmp_path_factory) -> Path:
    """The folder of one finished comparison, for tests that only read."""
    folder = tmp_path_factory.mktemp("done")
    path = folder / "spec.toml"
    path.write_text(TINY)
    compare(load_spec(path), TINY, folder / "out", data_folder=folder, progress=Progress())
    write_report(folder / "out")
    return folder / "out"


@pytest.fixture
def write_spec(tmp_path):
    """Write a spec into a file; pairs of old and new text change it."""

    def write(*changes: tuple[str, str], name: str = "spec.toml") -> Path:
        text = TINY
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def run(tmp_path):
    """Run a spec file into a folder."""

    def run(path: Path, folder: Path | None = None, **options):
        spec: Spec = load_spec(path)
        options = {"data_folder": path.parent, "progress": Progress()} | options
        return compare(spec, path.read_text(), folder or tmp_path / "out", **options)

    return run
