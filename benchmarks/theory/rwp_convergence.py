"""Theorem 1 of the m-RWP paper (convergence of RWP in convex settings) on a problem whose constants are known.

    python benchmarks/theory/rwp_convergence.py

Logistic regression of digits (odd or even) on two principal components and a constant, inputs divided by the largest
norm, so that a loss is 1-Lipschitz and 1/4-smooth. The library's RWP runs with the theorem's noise, steps and average
of iterates. Prints the measured excess E[L(average) - inf L] beside the bound as printed and as its proof supports it
(docs/explanation/theory.md), and the gap between the minima of L and of the smoothed loss beside the theorem's third
term.
"""

import argparse
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import optimize, special
from sklearn.datasets import load_digits
from torch import Tensor, nn

import aimc_robust as ar
from aimc_robust.statistics.t_interval import t_interval

NODES = 24  # of Gauss-Hermite quadrature, per dimension
ALPHA, BETA = 1.0, 0.25  # of log(1 + exp(-y x.w)) with ||x|| <= 1
GAMMA = 1.9  # below 1 / (2 BETA)
BATCH = 32
SIGMAS = (0.0, 0.1, 0.5, 2.0)
CHECKPOINTS = (16, 64, 256, 1024)


@dataclass(frozen=True)
class Problem:
    """Inputs x (n, d) of norm 1 or less and labels y (n,) of -1 and 1; L(w) = mean log(1 + exp(-y x.w))."""

    x: np.ndarray
    y: np.ndarray

    @property
    def gradient_variance(self) -> float:
        """An upper bound of sigma_0^2 at every w: the mean of ||x_i||^2, as |grad L_i| < ||x_i||."""
        return float(np.square(self.x).sum(axis=1).mean())

    def loss(self, w: np.ndarray) -> float:
        return float(np.logaddexp(0.0, -self.y * (self.x @ w)).mean())

    def gradients(self, w: np.ndarray) -> np.ndarray:
        """Gradients (points, d) of L at w (points, d)."""
        return -(special.expit(-self.y * (w @ self.x.T)) * self.y) @ self.x / len(self.y)

    def smoothed(self, w: np.ndarray, sigma: float) -> tuple[float, np.ndarray]:
        """E[L(w + eps)] and its gradient: x.eps is N(0, sigma^2 ||x||^2), one-dimensional for each example."""
        nodes, weights = normal_quadrature()
        scores = (self.x @ w)[:, None] + sigma * np.linalg.norm(self.x, axis=1)[:, None] * nodes
        margins = self.y[:, None] * scores
        slopes = -(special.expit(-margins) @ weights) * self.y
        return float((np.logaddexp(0.0, -margins) @ weights).mean()), slopes @ self.x / len(self.y)

    def minimum(self, sigma: float) -> np.ndarray:
        """The w at which the gradient of the smoothed loss is 0."""
        start = np.zeros(self.x.shape[1])
        found = optimize.minimize(self.smoothed, start, args=(sigma,), jac=True, method="BFGS", options={"gtol": 1e-10})
        return optimize.root(lambda w: self.smoothed(w, sigma)[1], found.x, tol=1e-13).x

    def perturbation_variance(self, w: np.ndarray, sigma: float) -> float:
        """sigma_L^* = E||grad L(w + eps)||^2, by quadrature over all d dimensions."""
        nodes, weights = normal_quadrature()
        d = len(w)
        points = np.array(list(itertools.product(nodes, repeat=d)))
        masses = np.prod(list(itertools.product(weights, repeat=d)), axis=1)
        squares = [np.square(self.gradients(w + sigma * part)).sum(axis=1) for part in np.array_split(points, 40)]
        return float(np.concatenate(squares) @ masses)


def normal_quadrature() -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    return nodes, weights / weights.sum()


def digits(components: int = 2) -> Problem:
    data = load_digits()
    centred = data.data / 16.0 - (data.data / 16.0).mean(axis=0)
    scores = centred @ np.linalg.svd(centred, full_matrices=False)[2][:components].T
    x = np.column_stack([scores, np.full(len(scores), np.sqrt(np.square(scores).sum(axis=1).mean()))])
    return Problem(x / np.linalg.norm(x, axis=1).max(), np.where(data.target % 2, 1.0, -1.0))


@dataclass(frozen=True)
class Bound:
    """Terms of the theorem after t steps: distance to the minimum, gradient noise, perturbation."""

    distance: float
    printed_noise: float
    perturbation: float
    proved_distance: float
    proved_noise: float

    @property
    def printed(self) -> float:
        return self.distance + self.printed_noise + self.perturbation

    @property
    def proved(self) -> float:
        return self.proved_distance + self.proved_noise + self.perturbation


def bound(problem: Problem, sigma: float, steps: int, minimum: np.ndarray, gamma: float = GAMMA) -> Bound:
    """The theorem from w_0 = 0: as printed, and with the sums of step sizes that the proof replaces (its Eq. A2)."""
    rates = gamma / np.sqrt(np.arange(1, steps + 1))
    mass = float((rates * (1.0 - 2.0 * rates * BETA)).sum())
    square = float(minimum @ minimum)
    noise = problem.gradient_variance / BATCH + problem.perturbation_variance(minimum, sigma)
    root = math.sqrt(steps)
    return Bound(
        distance=square / (2.0 * gamma * root),
        printed_noise=gamma * math.log(steps) / root * noise,
        perturbation=ALPHA * sigma * math.sqrt(len(minimum)),
        proved_distance=square / (2.0 * mass),
        proved_noise=noise * float(np.square(rates).sum()) / mass,
    )


def averages(
    problem: Problem, sigma: float, steps: int, *, repeat: int, gamma: float = GAMMA, ascend: bool = False
) -> Iterator[np.ndarray]:
    """Yield the theorem's average of w_0 .. w_{t-1} for t = 1 .. steps, of one run of the library's RWP from 0."""
    x, y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)
    model = nn.Linear(x.shape[1], 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(model.weight)
    method = ar.RWP(sigma=sigma, scale="absolute", scope="all", seed=repeat)
    optimizer = torch.optim.SGD(model.parameters(), lr=gamma, maximize=ascend)
    generator = ar.Axes(repeat).at(use="batches").generator()
    total, mass = np.zeros(x.shape[1]), 0.0
    for step in range(steps):
        rate = gamma / math.sqrt(step + 1)
        weight = rate * (1.0 - 2.0 * rate * BETA)
        total, mass = total + weight * model.weight.detach().numpy()[0], mass + weight
        yield total / mass
        batch = torch.randint(len(y), (BATCH,), generator=generator)
        method.backward(model, logistic_loss, [(x[batch], y[batch])], step=step + 1)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()


def logistic_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.softplus(-labels * outputs[:, 0]).mean()


def excesses(problem: Problem, sigma: float, checkpoints: tuple[int, ...], repeats: int, **options) -> np.ndarray:
    """L(average) - inf L (repeats, checkpoints)."""
    lowest = problem.loss(problem.minimum(0.0))
    rows = []
    for repeat in range(repeats):
        runs = averages(problem, sigma, max(checkpoints), repeat=repeat, **options)
        rows.append([problem.loss(w) - lowest for t, w in enumerate(runs, 1) if t in checkpoints])
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="independent runs that an expectation is a mean of")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    problem = digits()
    lowest, start = problem.loss(problem.minimum(0.0)), problem.loss(np.zeros(problem.x.shape[1]))
    print(f"inf L {lowest:.4f}, L(w_0) - inf L {start - lowest:.4f}, sigma_0^2 {problem.gradient_variance:.4f}\n")
    print("| sigma | steps | measured excess (95 %) | distance | noise | perturbation | printed | proved | says |")
    print("|---|---|---|---|---|---|---|---|---|")
    for sigma in SIGMAS:
        minimum = problem.minimum(sigma)
        for steps, values in zip(CHECKPOINTS, excesses(problem, sigma, CHECKPOINTS, repeats).T, strict=True):
            terms, (low, high) = bound(problem, sigma, steps, minimum), t_interval(values)
            says = "violated" if low > terms.proved else "vacuous" if terms.proved >= start - lowest else "holds"
            print(
                f"| {sigma:g} | {steps} | {values.mean():.5f} ({low:.5f} to {high:.5f}) | {terms.distance:.3f} | "
                f"{terms.printed_noise:.4f} | {terms.perturbation:.3f} | {terms.printed:.3f} | {terms.proved:.3f} | "
                f"{says} |",
                flush=True,
            )
    print("\n| sigma | L(w*) - inf L | alpha sigma sqrt(d) | beta sigma^2 d / 2 | sigma_L^* |\n|---|---|---|---|---|")
    for sigma in SIGMAS:
        minimum, d = problem.minimum(sigma), problem.x.shape[1]
        print(
            f"| {sigma:g} | {problem.loss(minimum) - lowest:.2e} | {ALPHA * sigma * math.sqrt(d):.3f} | "
            f"{BETA * sigma**2 * d / 2:.4f} | {problem.perturbation_variance(minimum, sigma):.2e} |"
        )


if __name__ == "__main__":
    main()
