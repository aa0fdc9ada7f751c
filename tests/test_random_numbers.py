"""The random numbers of chips: their distributions, and that a row has the same numbers whatever is drawn with it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aimc_robust import Axes, random_numbers
from aimc_robust.parallel.process_pool import use_threads
from aimc_robust.philox import philox, random_bits
from aimc_robust.random_numbers import draw_rows, laplace, normal, normal_means, normals, short_normals, uniform

N = 2**21


def short_normal(axes, like, first_row=0):
    """As read noise draws, one row after another."""
    rows, count = like.shape
    first = first_row * -(-count // 16)
    return draw_rows([axes.key()], rows, count, short_normals, first=first, bits=16, device=like.device)[0]


DISTRIBUTIONS = {
    "normal": (normal, stats.norm),
    "short normal": (short_normal, stats.norm),
    "uniform": (uniform, stats.uniform),
    "laplace": (laplace, stats.laplace),
}


def draws(name, seed=5, shape=(64, N // 64)):
    return DISTRIBUTIONS[name][0](Axes(seed), torch.empty(shape)).double().numpy()


def discrepancy(numbers, distribution):
    """Largest deviation of a histogram of 400 bins of equal probability, in standard errors."""
    counts = np.histogram(distribution.cdf(numbers), 400, (0.0, 1.0))[0]
    return float(np.abs(counts - N / 400).max() / (N / 400) ** 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_numbers_have_their_distribution(name):
    numbers, distribution = draws(name).ravel(), DISTRIBUTIONS[name][1]
    assert discrepancy(numbers, distribution) < 4.5
    assert discrepancy(1.03 * numbers, distribution) > 6.0  # the check sees three per cent
    assert stats.kstest(numbers, distribution.cdf).pvalue > 1e-4
    orders = np.arange(1, 5)
    moments = np.array([distribution.moment(k) for k in range(9)])
    errors = np.sqrt((moments[2 * orders] - moments[orders] ** 2) / N)
    assert (np.abs([(numbers**k).mean() for k in orders] - moments[orders]) < 4.5 * errors).all()


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        *(("normal", limit) for limit in (3.0, 3.5, 4.0, 4.5, 4.8)),
        *(("short normal", limit) for limit in (3.0, 3.5, 4.0)),
    ],
)
def test_the_tails_are_those_of_a_normal_number(name, limit):
    expected = 2.0 * N * stats.norm.sf(limit)
    count = int((np.abs(draws(name)) > limit).sum())
    assert stats.poisson.sf(count - 1, expected) > 1e-4
    assert stats.poisson.cdf(count, expected) > 1e-4


def test_short_normals_are_the_means_of_equally_likely_parts():
    means = normal_means().astype(np.float64)
    assert means.shape == (2**16,)
    assert (np.diff(means) > 0).all()
    assert np.abs(means + means[::-1]).max() < 1e-6
    assert means.std() == pytest.approx(1.0, abs=1e-6)
    assert means[-1] == pytest.approx(2**16 * stats.norm.pdf(stats.norm.isf(2**-16)), rel=1e-5)
    assert np.abs(stats.norm.cdf(means) - (np.arange(2**16) + 0.5) / 2**16).max() < 2**-17
    bits = np.arange(2**15, dtype=np.int32).view(np.int16)  # 0, and each number without the top bit
    found = short_normals(bits.view(np.int32)[None], np)
    assert np.array_equal(found[0], normal_means()[bits.view(np.uint16)])


def test_the_ends_of_the_bits_give_finite_numbers():
    ends = np.array([0, 1, -1, 2**31 - 1, -(2**31), -(2**31) + 1, 2**30, 5], dtype=np.int32)
    bits = np.stack(np.meshgrid(ends, ends), axis=-1).reshape(-1, 2)
    found = normals(bits.copy(), np)
    assert np.isfinite(found).all()
    assert 6.6 < np.abs(found).max() < 6.7
    assert np.isfinite(short_normals(bits.copy(), np)).all()
    assert np.isfinite(random_numbers.laplaces(bits.copy(), np)).all()
    assert 0.0 <= random_numbers.uniforms(bits, np).min() <= random_numbers.uniforms(bits, np).max() < 1.0


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_numbers_are_independent_of_their_neighbours_and_of_other_rows(name):
    numbers = draws(name, 6, (64, 4096)) - DISTRIBUTIONS[name][1].mean()
    half = numbers.shape[1] // 2
    for a, b in (
        (numbers[:, :half], numbers[:, half:]),  # partners of one transform
        (numbers[:, 1:], numbers[:, :-1]),
        (numbers[:, 4:], numbers[:, :-4]),
        (numbers[1:], numbers[:-1]),
        (numbers, draws(name, 7, (64, 4096))),
    ):
        for power in (1, 2):  # of squares, too
            correlation = np.corrcoef((a**power).ravel(), (b**power).ravel())[0, 1]
            assert abs(correlation) < 4.5 / a.size**0.5


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@given(
    rows=st.integers(1, 9), count=st.integers(1, 70), first=st.integers(0, 9), cached=st.sampled_from([1, 64, 2**16])
)
def test_a_row_has_the_same_numbers_whatever_is_drawn_with_it(name, rows, count, first, cached):
    draw, axes = DISTRIBUTIONS[name][0], Axes(0).at(layer="conv1")
    whole = draw(axes, torch.empty(first + rows, count))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random_numbers, "CACHED", cached)
        part = draw(axes, torch.empty(rows, count), first)
    assert torch.equal(part, whole[first:])


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (3, 4, 2, 2), (0, 4), (3, 0), (0,)])
def test_numbers_are_like_a_tensor(shape):
    like = torch.empty(shape, dtype=torch.float64)
    numbers = normal(Axes(1), like)
    assert numbers.shape == shape
    assert numbers.dtype == torch.float64
    assert torch.equal(numbers, normal(Axes(1), like.float()).double())


@pytest.mark.parametrize("distribution", [normals, short_normals, random_numbers.uniforms, random_numbers.laplaces])
def test_tensor_operations_give_numpys_numbers(distribution):
    bits = random_bits([3], 0, 8192, torch.device("cpu")).reshape(16, -1)
    counters = torch.zeros((8192, 4), dtype=torch.int64)
    counters[:, 0] = torch.arange(1, 8193)
    expected = distribution(bits.copy(), np)
    found = distribution(philox([3], counters).flatten().view(torch.int32).reshape(16, -1), torch)
    assert found.dtype == torch.float32
    assert np.abs(found.numpy() - expected).max() <= 1e-6 * max(1.0, np.abs(expected).max())
    if distribution is short_normals:
        assert np.array_equal(found.numpy(), expected)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_no_numbers_are_drawn_for_no_rows(shape):
    for threads in (1, 2):
        with use_threads(threads):
            assert draw_rows([3], *shape, short_normals, bits=16, device=torch.device("cpu")).shape == (1, *shape)


def test_threads_change_nothing(monkeypatch):
    monkeypatch.setattr(random_numbers, "CACHED", 64)
    drawn = []
    for threads in (1, 3):
        with use_threads(threads):
            drawn.append(normal([Axes(0), Axes(1)], torch.empty(80, 30)))
    assert torch.equal(*drawn)
    assert torch.equal(drawn[0][40:], normal(Axes(1), torch.empty(40, 30)))
