"""Figures of the accuracies of a comparison: by target, and by strength of Gaussian weight noise."""

from __future__ import annotations

from aimc_robust.report.comparison.content import ComparisonContent
from aimc_robust.report.figures import accuracy
from aimc_robust.report.plot_style import RenderedFigure


def accuracy_by_target(content: ComparisonContent) -> RenderedFigure | None:
    """Draw mean and interval of each method on digital weights and on each device; None without rows of these."""
    devices = [target.name for target in content.targets.values() if target.backend != "noise"]
    targets = [name for name in devices if content.rankings[name]]
    if not targets:
        return None
    return accuracy.accuracy_by_target(targets, content.estimates, content.styles, name="targets", others="methods")


def curves_over_sigma(content: ComparisonContent) -> accuracy.Curves:
    """Return each method's accuracies over the sigma of Gaussian noise of scale filter_max; digital weights are 0."""
    targets = [target for target in content.targets.values() if target.split == "test"]
    sigmas = sorted((target.sigma, target.name) for target in targets if target.sigma is not None)
    return {
        method: [
            (sigma, content.estimates[method, name]) for sigma, name in sigmas if (method, name) in content.estimates
        ]
        for method in content.results.spec.labels
    }


def accuracy_by_sigma(content: ComparisonContent) -> RenderedFigure | None:
    """Draw accuracy over the sigma of Gaussian weight noise, one line per method; None with fewer than two sigmas."""
    curves = curves_over_sigma(content)
    if len({sigma for points in curves.values() for sigma, _ in points}) < 2:
        return None
    xlabel = "sigma of Gaussian weight noise (share of each filter's largest weight)"
    return accuracy.accuracy_over(curves, content.styles, name="sigma", xlabel=xlabel, others="methods")
