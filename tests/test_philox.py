"""Philox 4x64-10: published vectors, and the same bits from NumPy and from tensor operations."""

import importlib
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aimc_robust import philox as philox_module
from aimc_robust.philox import philox, random_bits

CPU = torch.device("cpu")
# (counter, key, output) of the authors' library Random123, file kat_vectors.
PUBLISHED = [
    (
        [0, 0, 0, 0],
        [0, 0],
        [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B],
    ),
    (
        [2**64 - 1] * 4,
        [2**64 - 1] * 2,
        [0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0],
    ),
    (
        [0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89],
        [0x452821E638D01377, 0xBE5466CF34E90C6C],
        [0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6],
    ),
]


def words(values):
    return torch.from_numpy(np.array(values, dtype=np.uint64).view(np.int64))


@pytest.mark.parametrize(("counter", "key", "output"), PUBLISHED, ids=["zeros", "ones", "pi"])
def test_the_published_vectors(counter, key, output):
    counters = words([counter, [0, 1, 2, 3], counter])  # in company, as in use
    found = philox([5, key[0] + (key[1] << 64)], counters)[1]
    assert found.shape == (3, 4)
    assert torch.equal(found[0], words(output))
    assert torch.equal(found[2], words(output))
    assert not torch.equal(found[1], words(output))


@given(st.integers(0, 2**128 - 1), st.integers(0, 2**62), st.integers(0, 40))
def test_numpy_and_tensor_operations_give_the_same_bits(key, first, blocks):
    counters = torch.zeros((blocks, 4), dtype=torch.int64)
    counters[:, 0] = torch.arange(first + 1, first + 1 + blocks)
    expected = random_bits([key], first, blocks, CPU)
    assert expected.shape == (1, 8 * blocks)
    assert np.array_equal(philox([key], counters).flatten().view(torch.int32).numpy(), expected[0])


@given(st.integers(0, 2**62), st.integers(1, 20), st.integers(1, 20))
def test_blocks_follow_one_another_from_any_start(first, before, after):
    whole = random_bits([7], first, before + after, CPU)
    assert np.array_equal(whole[:, 8 * before :], random_bits([7], first + before, after, CPU))


@pytest.mark.parametrize("kind_of_number", ["i32", "i64"])
def test_the_kernel_compiles_for_a_gpu(kind_of_number):
    triton = pytest.importorskip("triton", reason="torch brings Triton along on Linux only")
    compiler = pytest.importorskip("triton.compiler")
    target = pytest.importorskip("triton.backends.compiler").GPUTarget("cuda", 90, 32)
    kernel = importlib.import_module("aimc_robust.philox_triton")
    signature = {"words": "*i64", "constants": "*i64", "first": kind_of_number, "blocks": kind_of_number}
    constants = {"TOGETHER": kernel.TOGETHER, "ROUNDS": 10}
    source = compiler.ASTSource(kernel._philox, signature | dict.fromkeys(constants, "constexpr"), constants)
    assert "mul.hi.u64" in triton.compile(source, target=target).asm["ptx"]


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("first", "blocks"), [(0, 1), (7, 1), (11, 300), (2**31 - 1, 2), (2**62, 256), (5, 0), (0, 100_003)]
)
def test_a_gpu_gives_the_same_bits(first, blocks, accelerator):
    keys = [3, 2**128 - 1, 0xD2E7470EE14C6C93 << 60]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the kernel is used
        found = random_bits(keys, first, blocks, accelerator)
    assert found.shape == (3, 8 * blocks)
    assert np.array_equal(found.cpu().numpy(), random_bits(keys, first, blocks, CPU))


@pytest.fixture
def interpreted(monkeypatch):
    """The kernel for GPUs, run by Triton's interpreter on the CPU; Triton 3.3 compiles nothing afterwards."""
    pytest.importorskip("triton", reason="torch brings Triton along on Linux only")
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # read where a kernel is defined
    monkeypatch.delitem(sys.modules, "aimc_robust.philox_triton", raising=False)
    yield importlib.import_module("aimc_robust.philox_triton")
    sys.modules.pop("aimc_robust.philox_triton", None)


@pytest.mark.parametrize(("first", "blocks"), [(0, 1), (7, 1), (11, 300), (2**31 - 1, 2), (2**62, 256), (5, 0)])
def test_the_kernel_gives_the_same_bits(first, blocks, interpreted):
    keys = [3, 2**128 - 1, 0xD2E7470EE14C6C93 << 60]
    found = interpreted.philox_bits(philox_module._kernel_constants(tuple(keys), CPU), first, blocks, 10)
    assert found.shape == (3, 8 * blocks)
    assert np.array_equal(found.numpy(), random_bits(keys, first, blocks, CPU))


def test_a_gpu_whose_kernel_cannot_be_compiled_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "aimc_robust.philox_triton", None)  # cannot be imported
    kernel_on = philox_module._kernel_on.__wrapped__
    with pytest.warns(UserWarning, match="random numbers on cuda:0 are computed by tensor operations, which is slower"):
        assert kernel_on(torch.device("cuda", 0)) is None
