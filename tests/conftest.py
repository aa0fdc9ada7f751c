"""Settings of all tests, and a comparison small enough to run whole in a few seconds, on real digits."""

import os
from pathlib import Path

# Two processes of tests on two cores, and what they start: more threads than cores would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings
from support.shared_build import build_once

from aimc_robust.experiments.callbacks.comparison import ComparisonProgress
from aimc_robust.experiments.compare import compare
from aimc_robust.experiments.spec.comparison import ComparisonSpec, load_spec
from aimc_robust.report.write import write_report

TINY = """
name = "tiny"
train_seeds = [0, 1]
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

# Tests by properties: a few examples, the same at every run, unless `HYPOTHESIS_PROFILE=long` or `--hypothesis-profile
# long` asks for many new ones.
settings.register_profile("short", max_examples=15, deadline=None, derandomize=True)
settings.register_profile("long", max_examples=300, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


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

    def build(folder: Path) -> None:
        path = folder / "spec.toml"
        path.write_text(TINY)
        compare(load_spec(path), TINY, folder / "out", data_folder=folder, progress=ComparisonProgress())
        write_report(folder / "out")

    return build_once(tmp_path_factory, "comparison", build) / "out"


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
        spec: ComparisonSpec = load_spec(path)
        options = {"data_folder": path.parent, "progress": ComparisonProgress()} | options
        return compare(spec, path.read_text(), folder or tmp_path / "out", **options)

    return run
