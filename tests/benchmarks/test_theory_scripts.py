"""The scripts of benchmarks/theory/: constants and quadrature against other computations, the bounds on short runs."""

import math

import numpy as np
import pytest
import torch
from support.benchmark_scripts import load_script

import aimc_robust as ar


@pytest.fixture(scope="module")
def convergence():
    return load_script("theory/rwp_convergence.py")


@pytest.fixture(scope="module")
def problem(convergence):
    return convergence.digits()


def test_the_constants_bound_the_losses_of_single_examples(convergence, problem):
    rng = np.random.default_rng(0)
    norms = np.linalg.norm(problem.x, axis=1)
    for scale in (0.0, 1.0, 10.0):
        w = scale * rng.normal(size=problem.x.shape[1])
        slopes = 1.0 / (1.0 + np.exp(problem.y * (problem.x @ w)))
        assert (slopes * norms).max() <= convergence.ALPHA
        assert (slopes * (1.0 - slopes) * norms**2).max() <= convergence.BETA
        singles = -(slopes * problem.y)[:, None] * problem.x
        deviations = np.square(singles - problem.gradients(w[None])[0]).sum(axis=1).mean()
        assert deviations <= problem.gradient_variance
    assert norms.max() == pytest.approx(1.0)
    assert convergence.GAMMA < 1.0 / (2.0 * convergence.BETA)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_expectations_over_the_perturbation_are_those_of_monte_carlo(problem, sigma):
    w, draws = np.array([1.0, -2.0, 0.5]), 4000
    eps = sigma * np.random.default_rng(1).normal(size=(draws, 3))
    losses = np.array([problem.loss(w + each) for each in eps])
    assert problem.smoothed(w, sigma)[0] == pytest.approx(losses.mean(), abs=4 * losses.std() / math.sqrt(draws))
    gradients = problem.gradients(w + eps)
    error = 4 * gradients.std(axis=0).max() / math.sqrt(draws)
    assert problem.smoothed(w, sigma)[1] == pytest.approx(gradients.mean(axis=0), abs=error)
    squares = np.square(gradients).sum(axis=1)
    error = 4 * squares.std() / math.sqrt(draws)
    assert problem.perturbation_variance(w, sigma) == pytest.approx(squares.mean(), abs=error)


@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_the_minimum_has_no_gradient_and_no_lower_neighbour(problem, sigma):
    lowest = problem.minimum(sigma)
    value, gradient = problem.smoothed(lowest, sigma)
    assert np.abs(gradient).max() < 1e-10
    for step in 0.1 * np.vstack([np.eye(3), -np.eye(3)]):
        assert problem.smoothed(lowest + step, sigma)[0] > value


def test_a_run_is_the_papers_recursion_and_average(convergence, problem):
    steps, gamma = 6, convergence.GAMMA
    generator = ar.Axes(2).at(use="batches").generator()
    w, iterates, weights = np.zeros(3), [], []
    for t in range(steps):
        rate = gamma / math.sqrt(t + 1)
        iterates.append(w)
        weights.append(rate * (1 - 2 * rate * convergence.BETA))
        batch = torch.randint(len(problem.y), (convergence.BATCH,), generator=generator).numpy()
        x, y = problem.x[batch], problem.y[batch]
        w = w + rate * ((y / (1 + np.exp(y * (x @ w)))) @ x) / len(y)
    runs = list(convergence.averages(problem, 0.0, steps, repeat=2))
    for t in range(1, steps + 1):
        expected = np.average(iterates[:t], axis=0, weights=weights[:t])
        assert runs[t - 1] == pytest.approx(expected, abs=1e-12)
    noisy = list(convergence.averages(problem, 0.5, steps, repeat=2))
    assert np.abs(noisy[-1] - runs[-1]).max() > 1e-3


def test_the_printed_theorem_has_the_terms_of_the_paper(convergence, problem):
    sigma, steps, minimum = 0.5, 256, problem.minimum(0.5)
    terms = convergence.bound(problem, sigma, steps, minimum)
    noise = problem.gradient_variance / convergence.BATCH + problem.perturbation_variance(minimum, sigma)
    assert terms.distance == pytest.approx(minimum @ minimum / (2 * convergence.GAMMA * 16))
    assert terms.printed_noise == pytest.approx(convergence.GAMMA * math.log(256) / 16 * noise)
    assert terms.perturbation == pytest.approx(0.5 * math.sqrt(3))
    assert terms.printed == pytest.approx(terms.distance + terms.printed_noise + terms.perturbation)
    # The proof replaces the sum of 1 / (k + 1) by log t, which is smaller: its printed noise is 0 after one step.
    first = convergence.bound(problem, sigma, 1, minimum)
    assert first.printed_noise == 0.0 < first.proved_noise


@pytest.mark.slow
def test_short_runs_keep_the_bound_and_runs_uphill_do_not(convergence, problem):
    for sigma in (0.0, 0.5):
        values = convergence.excesses(problem, sigma, (64,), repeats=2)
        assert 0.0 < values.mean() < convergence.bound(problem, sigma, 64, problem.minimum(sigma)).proved
    uphill = convergence.excesses(problem, 0.0, (256,), repeats=1, ascend=True)
    assert uphill.mean() > convergence.bound(problem, 0.0, 256, problem.minimum(0.0)).proved


@pytest.mark.slow
def test_the_pac_bayes_script_prints_bounds_and_growth(capsys):
    script = load_script("theory/pac_bayes.py")
    training, held_out = script.digits()
    assert len(training[1]) == script.TRAINING
    model = script.trained("linear", 0.05, training, held_out, epochs=1)
    script.DRAWS, script.GRID, script.SIGMA_TRAIN = 2, (0.1,), (0.1, 0.2)
    script.print_bounds("linear", model, training, held_out)
    script.print_growth("linear", model, held_out)
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 2 + 2 * 2
    table = ar.pac_bayes_bound(model, training, sigma_train=[0.2], sigma_test=[0.05], draws=4)
    row = table.iloc[0]
    needed = script.examples_needed(row)
    roots = []
    for n in (needed - 1, needed):
        log_terms = 0.25 + math.log(n / 0.05) + 2 * math.log(6 * n + 3 * row.weights)
        kl = row.weights / 4 * math.log(1 + row.squared_norm / (row.weights * 0.04))
        roots.append(row.empirical_high + math.sqrt((kl + log_terms) / (n - 1)))
    assert roots[1] < 1.0 <= roots[0]
