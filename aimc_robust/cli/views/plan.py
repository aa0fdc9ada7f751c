"""Output of `plan`: the state of all trials, totals, and the measurements behind the estimates."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from aimc_robust.experiments.planning.plan import Plan, PlannedTrial, State

FILE_WIDTH = 200  # width of a table that is written to a file or pipe, where nothing needs to wrap [characters]
COUNTED_STATES = (
    ("done", (State.DONE,)),
    ("to evaluate", (State.TRAINED, State.SHARED)),
    ("started", (State.STARTED,)),
    ("to do", (State.TODO,)),
    ("failed", (State.FAILED,)),
)


@contextmanager
def timing_status() -> Iterator[Callable[[str], None]]:
    """Show a status line on a terminal's standard error while costs are timed; yield what sets its text."""
    with Console(stderr=True).status("") as status:
        yield status.update


def show(plan: Plan) -> None:
    """Print a plan."""
    console = Console()
    title = f"{plan.spec.name}: {_model_count(len(plan.trials))}"
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for column in ("method", "seeds", "state"):
        table.add_column(column, overflow="fold")
    for column in ("chips left", "time left"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows(plan):
        table.add_row(*row)
    (console if console.is_terminal else Console(width=FILE_WIDTH)).print(table, markup=False, highlight=False)
    for line in lines(plan):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def rows(plan: Plan) -> list[tuple[str, str, str, str, str]]:
    """Return the table: (method, seeds, state, chips left, time left), one row per method and state."""
    table = []
    for label in plan.spec.labels:
        trials = sorted(
            (planned for planned in plan.trials if planned.trial.model == label),
            key=lambda planned: (_state_text(planned), planned.trial.train_seed),
        )
        for state, members in groupby(trials, key=_state_text):
            group = list(members)
            seeds = " ".join(str(planned.trial.train_seed) for planned in group)
            chips = sum(sum(planned.missing.values()) for planned in group if planned.is_pending)
            table.append((label, seeds, state, str(chips or ""), _time_left(group)))
    return table


def lines(plan: Plan) -> list[str]:
    """Return the lines below the table: totals, measured costs, and costs that could not be estimated."""
    counts = [(name, sum(p.state in states for p in plan.trials)) for name, states in COUNTED_STATES]
    text = [f"{_model_count(len(plan.trials))}: {', '.join(f'{count} {name}' for name, count in counts if count)}."]
    pending = [planned for planned in plan.trials if planned.is_pending]
    estimated = [planned for planned in pending if planned.estimate]
    if estimated:
        at_least = "at least " if len(estimated) < len(pending) else ""
        order = f"{plan.jobs} at a time" if plan.jobs > 1 else "one after the other"
        text += [
            f"Time left: {at_least}about {duration(plan.seconds)} {order}, on this machine ({plan.device}).",
            f"Disk space of new checkpoints: {at_least}{decimal(plan.disk_bytes)}.",
            "Measured on untrained networks, medians:",
            *(f"  {line}" for line in plan.measured),
        ]
    elif not pending:
        text.append("Nothing is left to do.")
    if plan.problems:
        text.append(f"{'Some costs' if estimated else 'Costs'} cannot be estimated: {' '.join(plan.problems)}")
    return text


def duration(seconds: float) -> str:
    """Format a duration to about two digits: 8 s, 12 min, 3 h 10 min, 2 d 05 h."""
    if seconds < 90:
        return f"{max(1, math.ceil(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 36 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24:02d} h"


def _state_text(planned: PlannedTrial) -> str:
    return {
        State.DONE: "done",
        State.FAILED: f"failed: {planned.reason}",
        State.TRAINED: "trained",
        State.SHARED: "training shared with another model",
        State.STARTED: f"{planned.epochs} of {planned.all_epochs} epochs",
        State.TODO: f"to do, {planned.all_epochs} epoch{'s' if planned.all_epochs > 1 else ''}",
    }[planned.state]


def _time_left(group: Sequence[PlannedTrial]) -> str:
    if not group[0].is_pending:
        return ""
    estimates = [planned.estimate for planned in group if planned.estimate is not None]
    if len(estimates) < len(group):
        return "unknown"
    per_trial_s = sum(estimate.seconds for estimate in estimates) / len(group)
    return duration(per_trial_s) if len(group) == 1 else f"{len(group)} x {duration(per_trial_s)}"


def _model_count(count: int) -> str:
    return f"{count} model{'' if count == 1 else 's'}"
