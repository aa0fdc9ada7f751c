"""Settings of all tests, and the fixtures of all folders."""

import functools
import gc
import os
import sys
from importlib import metadata
from pathlib import Path

# Two processes of tests on two cores, and what they start: more threads than cores would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from aimc_robust.seeding import seed_global_generators

FOLDER = Path(__file__).parent

# Lightning Fabric asks all installed packages for callbacks at the start of each training, which takes 20 ms or more.
metadata.entry_points = functools.cache(metadata.entry_points)

pytest_plugins = [
    "support.fixtures.accelerator",
    "support.fixtures.comparison",
    "support.fixtures.evaluation",
    "support.fixtures.other_process",
    "support.fixtures.report",
]

# Tests by properties: a few examples, the same at every run, unless `HYPOTHESIS_PROFILE=long` or `--hypothesis-profile
# long` asks for more of them.
settings.register_profile("short", max_examples=15, deadline=None, derandomize=True)
settings.register_profile("long", max_examples=100, deadline=None, derandomize=True, print_blob=True)
# For tests/test_hostile_input.py alone: 12 000 inputs that are new at every run.
settings.register_profile("fuzz", max_examples=1500, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


def pytest_collection():
    """Collecting makes millions of objects, all of which stay: looking through them for garbage takes seconds."""
    gc.disable()


def pytest_collection_modifyitems(items):
    """The files of this folder first: some take a minute, in which at the end only one process would have work."""
    items.sort(key=lambda item: item.path.parent != FOLDER)


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch):
    """Processes of pytest-xdist have a width of a terminal, of which tests without one know nothing."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(autouse=True)
def _same_random_numbers_in_any_order():
    if "torch" in sys.modules:  # which only tests import: the process that hands them out need not wait for it
        seed_global_generators(0)
