"""docs/how-to/plan-large-runs.md has the numbers that its scripts print."""

import re
import sys

import pytest
import torch
from support.benchmark_scripts import BENCHMARKS, load_script

from aimc_robust.models.registry import ModelSpec
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sgd import SGD

PAGE = (BENCHMARKS.parent / "docs" / "how-to" / "plan-large-runs.md").read_text()


@pytest.fixture(autouse=True)
def scripts_find_their_common_file(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS / "speed")
    yield
    sys.modules.pop("common", None)


def test_a_table_of_imagenet_costs_what_the_page_says():
    script = load_script("speed/large_runs.py")
    assert script.table(script.TFLOPS, ["m-rwp/table2"]).splitlines()[-1] in PAGE


@pytest.mark.slow
def test_every_table_costs_what_the_page_says():
    script = load_script("speed/large_runs.py")
    assert script.table(script.TFLOPS) in PAGE


def test_flops_are_those_of_the_layers():
    script = load_script("speed/large_runs.py")
    data = script.Data(training=1, test=1, outputs=10, size=8)
    hidden, pixels = 6, 3 * 8 * 8
    flops = script.flops_of(ModelSpec(name="mlp", options={"hidden": [hidden]}), data)
    assert flops == 2 * (pixels * hidden + hidden * 10)


@pytest.mark.slow
def test_memory_of_an_update_is_that_of_its_tensors():
    script = load_script("speed/memory.py")
    peaks = []
    for method in (SGD(), RWP(sigma=0.1), MixedRWP(sigma=0.1)):
        parameters, between, peak = script.update_bytes("mlp", method, 1, (3, 8, 8), bf16=False)
        assert between == pytest.approx(8 * parameters, rel=0.01)  # weights and momentum
        peaks.append(peak / parameters)
    assert peaks[0] == pytest.approx(12.0, rel=0.02)  # and gradients
    assert 15.9 < peaks[1] < 20.0  # and a copy of the weights; the noise of a layer is gone before the gradient
    assert peaks[2] > 19.0  # where the clean gradient stays


def test_storages_are_counted_once_and_until_they_are_freed():
    script = load_script("speed/memory.py")
    with script.Memory() as memory:
        first = torch.ones(1000)
        view = first[10:]
        second = first + 1
        del first, view
        assert (memory.bytes, memory.peak) == (4000, 8000)
        del second
    assert memory.bytes == 0


def test_sizes_of_files_are_those_on_the_page():
    script = load_script("speed/files.py")
    unfinished, finished = script.sizes(None, width=100)
    assert (unfinished, finished) == (pytest.approx(12.0, rel=0.1), pytest.approx(4.0, rel=0.1))
    assert re.search(r"\b4\.0 bytes per parameter", PAGE)
