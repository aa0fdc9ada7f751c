"""Fits and verifications of device cards in the terminal."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from aimc_robust.cli.views.devices import SUFFIXES
from aimc_robust.devices.limits import time_text
from aimc_robust.errors import InputError
from aimc_robust.fitting.bins import Bin
from aimc_robust.fitting.fit import Fit, check_out, fit_card
from aimc_robust.fitting.laws import family_text
from aimc_robust.fitting.verify import Verification, verify_card

SHOWN_P = 1e-4


def fit(
    measurements: Path,
    *,
    name: str,
    out: Path,
    unit: str = "uS",
    plot: Path | None = None,
    technology: str = "",
    citation: str = "",
    drift: str = "auto",
    t0_s: float | None = None,
    force: bool = False,
) -> None:
    """Fit a card to a CSV file, write it to `out` and its picture to `plot`, and print how well it fits."""
    check_out(out, force=force)
    if plot is not None and plot.suffix.lower() not in SUFFIXES:
        raise InputError(f"a plot is written as {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, got {str(plot)!r}.")
    found = fit_card(
        measurements, name=name, unit=unit, drift=drift, t0_s=t0_s, technology=technology, citation=citation
    )
    if plot is not None:
        from aimc_robust.report.figures.fit import save

        save(found, plot)
    found.write(out, force=force)
    console = Console(highlight=False, markup=False)
    _print_fit(console, found)
    for path, what in ((out, "card"), (plot, "plot")):
        if path is not None:
            console.print(f"{what}: {path}", soft_wrap=True)
    errors = Console(stderr=True, highlight=False, markup=False)
    for warning in found.warnings:
        errors.print(f"warning: {warning}", soft_wrap=True)


def verify(
    card: str, *, alpha: float = 0.01, cells: int = 2000, times_s: Iterable[float] | None = None, seed: int = 0
) -> bool:
    """Check a card by simulation and print every check; whether it is verified."""
    verdict = verify_card(card, alpha=alpha, cells=cells, times_s=times_s and list(times_s), seed=seed)
    console = Console(highlight=False, markup=False)
    console.print(_checks(verdict))
    console.print(verdict.sentence(), soft_wrap=True)
    return verdict.verified


def _print_fit(console: Console, found: Fit) -> None:
    card, good = found.card, found.goodness
    first = found.points.at(0)
    console.print(card.name, style="bold")
    console.print(f"programming error: {family_text(card.programming)}, from {len(first)} cells [{card.unit}]")
    console.print(_bins("target", good.bins))
    console.print(
        f"normal residuals: Kolmogorov-Smirnov D = {good.distance:.3f}, p = {_p(good.p_distance)}; "
        f"Anderson-Darling p = {_p(good.p_anderson)}\n"
        f"law over the target: p = {_p(good.p_law)}, R^2 = {good.r_squared:.3f}\n"
        f"mean of measured - target: {found.offset.mean:.4g} ({found.offset.low:.4g} to {found.offset.high:.4g}) "
        f"{card.unit}, p = {_p(found.offset.p)}"
    )
    if found.read is not None:
        console.print(f"\nread noise: {family_text(found.read.law)} of the present state [{card.unit}]")
        console.print(_bins("state", good.read_bins))
        console.print(f"law over the state: p = {_p(good.p_read)}")
    else:
        console.print("\nread noise: no repeated reads of one cell; the programming error contains it")
    console.print(f"\ndrift: {found.drift_text}")
    if len(good.times) > 1:
        table = _table("standardised residuals at", "cells", "mean (0)", "sd (1)", "KS p")
        for t in good.times:
            table.add_row(time_text(t.time_s), str(t.points), f"{t.mean:+.3f}", f"{t.std:.3f}", _p(t.p))
        console.print(table)
    if any(found.stuck):
        console.print(f"\nstuck cells: {found.stuck[0]} low, {found.stuck[1]} high")
    console.print()


def _bins(state: str, bins: Iterable[Bin]) -> Table:
    table = _table(state, "cells", "sd measured", "95 % interval", "sd fitted", "mean / sd")
    for b in bins:
        row = (f"{b.target:.4g}", f"{b.points}", f"{b.measured:.4g}", f"{b.low:.4g} to {b.high:.4g}", f"{b.fitted:.4g}")
        table.add_row(*row, f"{b.offset:+.2f}" if state == "target" else "")
    return table


def _checks(verdict: Verification) -> Table:
    """All checks, the worst marked."""
    table = _table(f"target [{verdict.card.unit}]", "time", "check", "expected", "found", "p", "")
    for check in verdict.checks:
        target = "" if check.target is None else f"{check.target:.4g}"
        time = "" if check.time_s is None else time_text(round(check.time_s, 1))
        mark = "FAILED" if check in verdict.failed else ""
        table.add_row(target, time, check.what, f"{check.expected:.5g}", f"{check.found:.5g}", _p(check.p), mark)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column == "check" else "right", overflow="fold")
    return table


def _p(p: float | None) -> str:
    return "" if p is None else f"< {SHOWN_P:g}" if p < SHOWN_P else f"{p:.2g}"
