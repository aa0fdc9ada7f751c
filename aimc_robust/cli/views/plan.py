"""Output of `plan`: the state of all trials, totals, and the measurements behind the estimates."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from aimc_robust.cli.printed_table import FILE_WIDTH, print_table
from aimc_robust.cli.progress_display import count, duration
from aimc_robust.errors import InputError
from aimc_robust.experiments.planning.plan import Plan
from aimc_robust.experiments.planning.remaining import RemainingWork, State
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.statistics.power import MOST_SEEDS, POWER, seeds_table

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
    title = f"{plan.spec.name}: {count(len(plan.trials), 'model')}"
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


def show_seeds(spec: ComparisonSpec, folder: Path, size: float) -> None:
    """Print how many seeds settle a difference of `size` in a comparison, by the spread of the results in a folder.

    Raises:
        InputError: if the results lack methods or targets of the comparison, or two trained models of each.
    """
    from aimc_robust.report.comparison.content import gather  # loads Matplotlib

    content = gather(ComparisonResults.open(folder))
    for kind, names, known in (
        ("methods", spec.labels, content.results.spec.labels),
        ("targets", [target.name for target in spec.build_targets()], content.targets),
    ):
        if missing := [name for name in names if name not in known]:
            raise InputError(f"{folder} is no pilot of this spec: it has no {kind} {', '.join(missing)}.")
    seeds = seeds_table(content.comparisons, size)
    if seeds.empty:
        raise InputError(
            f"{folder} has no two methods with two training seeds in common; run a pilot with two or more."
        )
    columns = ("target", "comparisons", "sd between models", "seeds, median", "seeds, largest")
    rows = []
    for row in seeds.itertuples():
        limits = [
            f"{n:.0f}" if math.isfinite(n) else f"over {MOST_SEEDS}" for n in (row.seeds_median, row.seeds_largest)
        ]
        rows.append(dict(zip(columns, (row.target, str(row.pairs), f"{row.sd:.2f}", *limits), strict=True)))
    print_table(rows, title=f"Seeds that settle a difference of {size:g} points with a probability of {POWER:.0%}")
    models = max(c.difference.seeds for c in content.comparisons.values() if c.difference is not None)
    print(
        f"Spread of {count(models, 'model')} of each method, corrected for {len(content.comparisons)} comparisons. "
        "The sd of few models is uncertain: the true one may be 0.6 to 2.9 times that of 5 models."
    )


def rows(plan: Plan) -> list[tuple[str, str, str, str, str]]:
    """Return the table: (method, seeds, state, chips left, time left), a row per method and state."""
    table = []
    for label in plan.spec.labels:
        trials = [work for work in plan.trials if work.trial.model == label]
        for state in dict.fromkeys(map(_state_text, trials)):
            group = [work for work in trials if _state_text(work) == state]
            seeds = " ".join(str(work.trial.train_seed) for work in group)
            chips = sum(sum(work.chips_left.values()) for work in group if work.is_pending)
            table.append((label, seeds, state, str(chips or ""), _time_left(plan, group)))
    return table


def lines(plan: Plan) -> list[str]:
    """Return the lines below the table: totals, measured costs, and costs that could not be estimated."""
    counts = [(name, sum(work.state in members for work in plan.trials)) for name, members in COUNTED_STATES]
    text = [
        f"{count(len(plan.trials), 'model')}: {', '.join(f'{number} {name}' for name, number in counts if number)}."
    ]
    estimated = [work for work in plan.pending if plan.speeds.seconds(work) is not None]
    if estimated:
        at_least = "at least " if len(estimated) < len(plan.pending) else ""
        order = f"{plan.jobs} at a time" if plan.jobs > 1 else "one after the other"
        text += [
            f"Time left: {at_least}about {duration(plan.seconds)} {order}, on this machine ({plan.device}).",
            f"Disk space of new checkpoints: {at_least}{decimal(plan.disk_bytes)}.",
            "Measured on untrained networks, medians:",
            *(f"  {line}" for line in plan.measured),
        ]
    elif not plan.pending:
        text.append("Nothing is left to do.")
    if plan.problems:
        text.append(f"{'Some costs' if estimated else 'Costs'} cannot be estimated: {' '.join(plan.problems)}")
    return text


def _state_text(work: RemainingWork) -> str:
    return {
        State.DONE: "done",
        State.FAILED: f"failed: {work.reason}",
        State.TRAINED: "trained",
        State.SHARED: "training shared with another model",
        State.STARTED: f"{work.all_epochs - work.epochs_left} of {work.all_epochs} epochs",
        State.TODO: f"to do, {count(work.all_epochs, 'epoch')}",
    }[work.state]


def _time_left(plan: Plan, group: Sequence[RemainingWork]) -> str:
    if not group[0].is_pending:
        return ""
    seconds = [plan.speeds.seconds(work) for work in group]
    known = [value for value in seconds if value is not None]
    if len(known) < len(group):
        return "unknown"
    per_trial_s = sum(known) / len(group)
    return duration(per_trial_s) if len(group) == 1 else f"{len(group)} x {duration(per_trial_s)}"
