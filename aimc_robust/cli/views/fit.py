"""Output of `fit` and `verify`: fits and verifications of device cards."""

import math
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from aimc_robust.devices.limits import time_text
from aimc_robust.fitting.bins import Bin
from aimc_robust.fitting.fit_result import Fit
from aimc_robust.fitting.std_laws import law_name
from aimc_robust.fitting.summary_text import distribution_text, share_text
from aimc_robust.fitting.verify import Verification

MIN_SHOWN_P = 1e-4


def show_fit(fit: Fit, *, card: Path, plot: Path | None = None) -> None:
    """Print how well a fit describes the measurements, the paths written, and warnings on standard error."""
    console = Console(highlight=False, markup=False)
    _print_fit(console, fit)
    for path, name in ((card, "card"), (plot, "plot")):
        if path is not None:
            console.print(f"{name}: {path}", soft_wrap=True)
    errors = Console(stderr=True, highlight=False, markup=False)
    for warning in fit.warnings:
        errors.print(f"warning: {warning}", soft_wrap=True)


def show_verification(verification: Verification) -> None:
    """Print every check of a verification, and the result."""
    console = Console(highlight=False, markup=False)
    console.print(_check_table(verification))
    console.print(verification.sentence(), soft_wrap=True)


def _print_fit(console: Console, fit: Fit) -> None:
    card, goodness = fit.card, fit.goodness
    first = fit.points.at(0)
    console.print(card.name, style="bold")
    console.print(f"programming error: {law_name(card.programming)}, from {len(first)} cells [{card.unit}]")
    console.print(_bin_table("target", goodness.bins))
    console.print(
        f"distribution: {distribution_text(goodness)}\n"
        f"law over the target: p = {_p(goodness.p_law)}, R^2 = {goodness.r_squared:.3f}\n"
        f"mean of measured - target: {fit.offset.mean:.4g} ({fit.offset.low:.4g} to {fit.offset.high:.4g}) "
        f"{card.unit}, p = {_p(fit.offset.p)}"
    )
    if fit.read_noise is not None:
        console.print(f"\nread noise: {law_name(fit.read_noise.law)} of the present state [{card.unit}]")
        console.print(_bin_table("state", goodness.read_bins))
        console.print(f"law over the state: p = {_p(goodness.p_read)}")
    else:
        console.print("\nread noise: no repeated reads of a cell; the programming error includes it")
    if fit.device_share is not None:
        console.print(f"\nrepeated programming: {share_text(fit.device_share)}")
    console.print(f"\ndrift: {fit.drift_summary}")
    if len(goodness.times) > 1:
        table = _table("standardized residuals at", "cells", "mean (0)", "sd (1)", "KS p")
        for t in goodness.times:
            table.add_row(time_text(t.time_s), str(t.points), f"{t.mean:+.3f}", f"{t.std:.3f}", _p(t.p))
        console.print(table)
    if any(fit.stuck):
        console.print(f"\nstuck cells: {fit.stuck[0]} low, {fit.stuck[1]} high")
    console.print()


def _bin_table(state: str, bins: Iterable[Bin]) -> Table:
    table = _table(state, "cells", "sd measured", "95 % interval", "sd fitted", "mean / sd")
    for b in bins:
        row = (f"{b.target:.4g}", f"{b.points}", f"{b.measured:.4g}", f"{b.low:.4g} to {b.high:.4g}", f"{b.fitted:.4g}")
        table.add_row(*row, f"{b.offset:+.2f}" if state == "target" else "")
    return table


def _check_table(verification: Verification) -> Table:
    """All checks; failed ones are marked."""
    table = _table(f"target [{verification.device.unit}]", "time", "check", "expected", "observed", "p", "")
    for check in verification.checks:
        target = "" if check.target is None else f"{check.target:.4g}"
        time = "" if check.time_s is None else time_text(round(check.time_s, 1))
        mark = "FAILED" if check in verification.failed else ""
        table.add_row(target, time, check.name, f"{check.expected:.5g}", f"{check.observed:.5g}", _p(check.p), mark)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column == "check" else "right", overflow="fold")
    return table


def _p(p: float | None) -> str:
    if p is None or math.isnan(p):
        return "" if p is None else "not tested"
    return f"< {MIN_SHOWN_P:g}" if p < MIN_SHOWN_P else f"{p:.2g}"
