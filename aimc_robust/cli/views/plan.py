"""What `plan` shows: models of the same state together, totals, and what the estimates rest on."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby

from rich.console import Console
from rich.table import Table

from aimc_robust.experiments.planning.plan import DONE, FAILED, SHARED, STARTED, TODO, TRAINED, Plan, PlannedTrial

WIDE = 200  # columns of a table in a file or pipe, where nothing needs to be folded
UNITS = (("B", 1), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9))


@contextmanager
def waiting() -> Iterator[Callable[[str], None]]:
    """A line that says what is being timed, where someone sees it change."""
    console = Console(stderr=True)
    with console.status("") as status:
        yield lambda line: status.update(line)


def show(plan: Plan) -> None:
    """The plan on standard output."""
    console = Console()
    table = Table(
        box=None, pad_edge=False, title=f"{plan.spec.name}: {_models(len(plan.trials))}", title_justify="left"
    )
    for column in ("method", "seeds", "state"):
        table.add_column(column, overflow="fold")
    for column in ("chips left", "time left"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows(plan):
        table.add_row(*row)
    (console if console.is_terminal else Console(width=WIDE)).print(table, markup=False, highlight=False)
    for line in lines(plan):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def rows(plan: Plan) -> list[tuple[str, str, str, str, str]]:
    """(method, seeds, state, chips left, time left) of the models of a method that stand alike."""
    found = []
    for label in plan.spec.labels:
        trials = sorted((p for p in plan.trials if p.trial.method == label), key=lambda p: (_words(p), p.trial.seed))
        for state, group in groupby(trials, key=_words):
            group = list(group)
            seeds = " ".join(str(planned.trial.seed) for planned in group)
            chips = sum(sum(planned.missing.values()) for planned in group if planned.is_pending)
            found.append((label, seeds, state, str(chips or ""), _time_left(group)))
    return found


def lines(plan: Plan) -> list[str]:
    """The totals, what was measured, and why something could not be."""
    counts = [(name, sum(p.state in states for p in plan.trials)) for name, states in _COUNTED]
    found = [f"{_models(len(plan.trials))}: {', '.join(f'{count} {name}' for name, count in counts if count)}."]
    left = [planned for planned in plan.trials if planned.is_pending]
    known = [planned for planned in left if planned.estimate]
    if known:
        least = "at least " if len(known) < len(left) else ""
        beside = f", {duration(plan.parallel_s)} with {plan.jobs} side by side" if plan.jobs > 1 else ""
        found += [
            f"Time left: {least}about {duration(plan.serial_s)} one after the other{beside}, on this machine "
            f"({plan.device}).",
            f"Checkpoints to come: {least}{size(plan.disk_bytes)}.",
            "Measured on untrained networks, medians:",
            *(f"  {line}" for line in plan.measured),
        ]
    elif not left:
        found.append("Nothing is left to do.")
    if plan.problems:
        found.append(f"{'Some costs' if known else 'Costs'} cannot be estimated: {' '.join(plan.problems)}")
    return found


_COUNTED = (
    ("done", (DONE,)),
    ("to evaluate", (TRAINED, SHARED)),
    ("started", (STARTED,)),
    ("to do", (TODO,)),
    ("failed", (FAILED,)),
)


def _words(planned: PlannedTrial) -> str:
    return {
        DONE: "done",
        FAILED: f"failed: {planned.reason}",
        TRAINED: "trained",
        SHARED: "training shared with another model",
        STARTED: f"{planned.epochs} of {planned.all_epochs} epochs",
        TODO: f"to do, {planned.all_epochs} epoch{'s' if planned.all_epochs > 1 else ''}",
    }[planned.state]


def _time_left(group: list[PlannedTrial]) -> str:
    if not group[0].is_pending:
        return ""
    if any(planned.estimate is None for planned in group):
        return "unknown"
    each = sum(planned.estimate.serial_s for planned in group) / len(group)
    return duration(each) if len(group) == 1 else f"{len(group)} x {duration(each)}"


def _models(count: int) -> str:
    return f"{count} model{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds in words, to two digits or so: 8 s, 12 min, 3 h 10 min, 2 d 5 h."""
    if seconds < 90:
        return f"{max(1, math.ceil(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 36 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24:02d} h"


def size(count: int) -> str:
    """Bytes in the unit that suits."""
    unit, factor = next(((u, f) for u, f in reversed(UNITS) if count >= f), UNITS[0])
    return f"{count / factor:.3g} {unit}"
