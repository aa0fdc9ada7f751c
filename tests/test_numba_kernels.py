"""Numba's kernels: the same bits as NumPy's Philox, and the normal numbers that they stand for."""

import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aimc_robust import Axes, philox, random_numbers
from aimc_robust.parallel.process_pool import use_threads
from aimc_robust.philox import halves
from aimc_robust.random_numbers import draw_rows, normal, normal_means, normals, short_normals

kernels = pytest.importorskip("aimc_robust.numba_kernels", reason="Numba is not installed")

CPU = torch.device("cpu")
KEYS = st.integers(0, 2**128 - 1)
FIRST = st.integers(0, 2**62)


def with_numpy(distribution, key, first, rows, count, bits):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random_numbers, "numba_kernels", lambda: None)
        return draw_rows([key], rows, count, distribution, first=first, bits=bits, device=CPU)[0].numpy()


@given(KEYS, FIRST, st.integers(0, 40))
def test_the_bits_are_numpys(key, first, blocks):
    words = np.empty(4 * blocks, np.uint64)
    kernels.fill_words(words, first, *halves(key))
    assert np.array_equal(words.view(np.int32), philox.random_bits([key], first, blocks, CPU)[0])


@given(KEYS, FIRST, st.integers(1, 5), st.integers(1, 2500))
def test_short_normals_are_numpys(key, first, rows, count):
    numbers = np.empty((rows, count), np.float32)
    kernels.look_up(normal_means(), numbers, first, *halves(key))
    assert np.array_equal(numbers, with_numpy(short_normals, key, first, rows, count, 16))


@given(KEYS, FIRST, st.integers(1, 5), st.integers(1, 1500))
def test_normals_are_numpys_up_to_rounding(key, first, rows, count):
    numbers = np.empty((rows, count), np.float32)
    kernels.normals(numbers, first, *halves(key))
    assert np.abs(numbers - with_numpy(normals, key, first, rows, count, 32)).max() <= 2e-6


def test_normals_against_float64():
    rng = np.random.default_rng(0)
    ends = [0, 1, 2, 2**30, 2**31 - 1, 2**31 - 2, -(2**31), -1, 2**29, 2**29 - 1, -(2**29), -(2**29) - 1]
    pairs = [*((a, b) for a in ends for b in ends), *rng.integers(-(2**31), 2**31, (4000, 2)).tolist()]
    for radius_bits, turn in pairs:
        found = kernels.pair(np.int32(radius_bits), np.int32(turn))
        uniform = np.float32(np.float32(radius_bits & (2**31 - 1)) * 2.0**-31) + np.float32(2.0**-32)
        radius, angle = np.sqrt(-2.0 * np.log(np.float64(uniform))), turn * np.pi * 2.0**-31
        expected = radius * np.cos(angle), radius * np.sin(angle)
        # Near 0 a radius is known as well as a uniform number next to 1, in steps of 6e-8.
        assert np.abs(np.subtract(found, expected)).max() <= 1e-6
        assert radius <= 6.7


@pytest.mark.parametrize("count", [random_numbers.LONG_ROW - 1, random_numbers.LONG_ROW, 700])
def test_a_row_has_the_same_numbers_whatever_is_drawn_with_it(count):
    whole = normal(Axes(3), torch.empty(9, count))
    for first in range(9):
        assert torch.equal(normal(Axes(3), torch.empty(1, count), first)[0], whole[first])
    with use_threads(3), pytest.MonkeyPatch.context() as patch:
        patch.setattr(random_numbers, "WORTH_THREADS", 1)
        assert torch.equal(normal(Axes(3), torch.empty(9, count)), whole)
        both = normal([Axes(3), Axes(4)], torch.empty(18, count))
    assert torch.equal(both[:9], whole)
    assert torch.equal(both[9:], normal(Axes(4), torch.empty(9, count)))


def drawn_in_threads(connection):
    with use_threads(2):
        connection.send(normal(Axes(3), torch.empty(4, 2**16)).numpy())


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_a_forked_process_has_threads_of_its_own():
    with use_threads(2):
        expected = normal(Axes(3), torch.empty(4, 2**16)).numpy()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=drawn_in_threads, args=(theirs,), daemon=True)
    process.start()
    try:
        assert ours.poll(60)
        assert np.array_equal(ours.recv(), expected)
    finally:
        process.kill()


def test_without_numba_numpy_draws_and_says_nothing(monkeypatch, recwarn):
    monkeypatch.setattr(philox.importlib.util, "find_spec", lambda name: None)
    assert philox.numba_kernels.__wrapped__() is None
    assert not recwarn


def test_a_numba_that_cannot_be_used_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "aimc_robust.numba_kernels", None)  # cannot be imported
    monkeypatch.delattr("aimc_robust.numba_kernels", raising=False)
    with pytest.warns(UserWarning, match="computed by NumPy, which is slower, because Numba cannot be used"):
        assert philox.numba_kernels.__wrapped__() is None


def test_kernels_that_cannot_be_kept_on_disk_are_compiled(monkeypatch):
    def njit(signature, *, nogil, cache=False):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(kernels, "njit", njit)
    assert kernels._compiled("void()")(print) is print


@pytest.mark.slow
def test_kernels_that_are_not_to_be_compiled_are_named():
    code = """
import torch
from aimc_robust import Axes
from aimc_robust.random_numbers import normal
assert normal(Axes(0), torch.empty(2, 600)).std() > 0.9
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "because Numba cannot be used" in run.stderr


@pytest.mark.slow
def test_a_small_model_does_not_import_numba():
    code = """
import sys, torch
from aimc_robust import Crossbar, program
program(torch.nn.Linear(100, 10), Crossbar("rram-milo2021"))
assert "numba" not in sys.modules
program(torch.nn.Linear(1000, 10), Crossbar("rram-milo2021"))
assert "numba" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
