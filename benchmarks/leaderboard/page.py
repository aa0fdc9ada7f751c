"""The page of a leaderboard: all methods of all submissions, by the accuracy on their worst device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from matplotlib.figure import Figure as Drawing

from aimc_robust.experiments.results.folder import Estimates
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.plot.style import GRAY, figure_style
from aimc_robust.report.comparison.text import method_overrides, method_settings
from aimc_robust.report.formatting import format_interval, format_number
from aimc_robust.report.page_model import Bullets, Cell, Figure, Page, Prose, Row, Section, Table
from aimc_robust.report.rendering import RenderedFigure, render_figure
from aimc_robust.statistics.estimate import Estimate

from .benchmark import device_targets
from .check import MAX_LOSS, Verification
from .ranking import WorstDevice, mean_of_devices, places, settled_order, worst_device
from .submission import About


@dataclass(frozen=True)
class CheckedSubmission:
    """What the page needs of a submission that passed all checks."""

    name: str
    about: About
    spec: ComparisonSpec
    estimates: Estimates
    environments: Sequence[Mapping[str, object]]
    verification: Verification


@dataclass(frozen=True)
class Entry:
    """One method of a submission."""

    submission: CheckedSubmission
    label: str

    @cached_property
    def devices(self) -> dict[str, Estimate]:
        """Device -> accuracy."""
        names = device_targets(self.submission.spec)
        return {name: self.submission.estimates[self.label, name] for name in names}

    @cached_property
    def worst(self) -> WorstDevice:
        """The accuracy on the worst device."""
        return worst_device(self.devices)

    @property
    def description(self) -> str:
        """Kind, settings and overrides of the method."""
        spec = self.submission.spec
        settings, overrides = method_settings(spec, self.label), method_overrides(spec, self.label)
        return ", ".join(part for part in (spec.methods[self.label].kind, settings, overrides) if part.strip("–"))


def leaderboard_page(submissions: Sequence[CheckedSubmission]) -> Page:
    """Return the page of submissions to one benchmark; at least one."""
    entries = [Entry(submission, label) for submission in submissions for label in submission.spec.labels]
    entries.sort(key=lambda entry: -entry.worst.mean)
    ranges = places(settled_order([entry.devices for entry in entries]))
    spec = submissions[0].spec
    intro = [Prose(spec.question, "question"), _facts(spec)]
    sections = [
        Section("Ranking", [_reading(entries, ranges), _figure(entries), _ranking(entries, ranges)]),
        Section("Accuracy by device", [_by_device(entries)]),
        Section("Submissions", [_submissions(submissions)]),
        Section("How it is computed", [_method()]),
    ]
    return Page(spec.name, "leaderboard", intro, sections)


def _facts(spec: ComparisonSpec) -> str:
    config = spec.config()
    return (
        f"Data {spec.data.name}, network {spec.model.name}, {config.epochs} epochs of batches of {config.batch_size}; "
        f"{len(spec.train_seeds)} trained models of each method on {spec.chips} simulated chips of each of "
        f"{len(device_targets(spec))} devices. Accuracies in percent, with 95 % intervals over newly trained "
        "models and chips. Names of devices end in the time since programming; `-drift` is with drift compensation."
    )


def _reading(entries: Sequence[Entry], ranges: Sequence[tuple[int, int]]) -> str:
    """Say who is first, and who may be."""
    first, *others = [entry.label for entry, (best, _) in zip(entries, ranges, strict=True) if best == 1]
    if not others:
        return f"**{first}** is first: it is settled to be better on its worst device than every other method."
    return (
        f"**{first}** has the highest mean, but the first place is not settled: {', '.join(others)} may be as good. "
        f"{len(entries) - len(others) - 1} of {len(entries)} methods are settled to be worse than some other."
    )


def _ranking(entries: Sequence[Entry], ranges: Sequence[tuple[int, int]]) -> Table:
    rows: list[Row] = []
    for number, (entry, place) in enumerate(zip(entries, ranges, strict=True)):
        mean, digital = mean_of_devices(entry.devices), entry.submission.estimates[entry.label, "digital"]
        rows.append(
            [
                ("place", Cell("–".join(map(str, dict.fromkeys(place))), value=number)),
                ("method", Cell(f"{entry.label}\n{entry.submission.name}")),
                ("worst device", _interval(entry.worst.mean, entry.worst.ci, place[0] == 1)),
                ("which", entry.worst.device),
                ("mean of devices", _interval(mean.mean, mean.ci)),
                ("digital", _interval(digital.mean, digital.ci)),
                ("settings", entry.description),
            ]
        )
    return Table("Methods by accuracy on their worst device", rows, heads=2)


def _by_device(entries: Sequence[Entry]) -> Table:
    names = list(entries[0].devices)
    best = {name: max(entry.devices[name].mean for entry in entries) for name in names}
    rows: list[Row] = [
        [("method", Cell(f"{entry.label}\n{entry.submission.name}"))]
        + [(name, _interval(e.mean, e.ci, e.mean == best[name])) for name, e in entry.devices.items()]
        for entry in entries
    ]
    return Table("Accuracy by method and device", rows, kind="results")


def _interval(mean: float, ci: tuple[float, float], best: bool = False) -> Cell:
    return Cell(f"{format_number(mean, 1)}\n{format_interval(*ci)}", "best" if best else "", mean)


def _submissions(submissions: Sequence[CheckedSubmission]) -> Bullets:
    return Bullets([_about(submission) for submission in submissions])


def _about(submission: CheckedSubmission) -> str:
    done, commits = submission.verification, {str(e.get("git_commit")) for e in submission.environments}
    return (
        f"**{submission.name}** by {submission.about.who}: {submission.about.what.rstrip('.')}. Verified: the fixed "
        f"part is the benchmark's, all rows and weights are there, and {done.rows} rows drawn with seed "
        f"{done.sample_seed} were evaluated again from the weights; they differ by at most {done.accuracy:.2f} points "
        "of accuracy and "
        f"{100 * done.loss:.2g} % of the loss ({100 * MAX_LOSS:g} % is allowed). "
        f"Computed at commit {', '.join(sorted(commits))}."
    )


def _method() -> Bullets:
    return Bullets(
        [
            "**worst device**: the lowest of the devices' mean accuracies. Where devices are close, the lowest mean is "
            "below the accuracy on the truly worst device on average, for every method alike. The interval covers the "
            "accuracy on the truly worst device with 95 %, whichever it is: its lower end is the lowest of the "
            "devices' own lower bounds, its upper end is corrected for the number of devices.",
            "**place**: the places that a method can have. A method is above another only where the difference is "
            "settled: after Holm's correction for all pairs of methods and for the choice of the worst devices, with "
            "differences paired by model and chip. Two methods without a settled difference are tied.",
            "**marked** in the ranking: may be first. Marked by device: the highest mean of the column, settled or "
            "not.",
            "Test images are public. A method whose settings were chosen on them is not found out by these checks.",
        ]
    )


def _figure(entries: Sequence[Entry]) -> Figure:
    def draw() -> RenderedFigure:
        with figure_style():
            drawing = Drawing(figsize=(6.4, 0.8 + 0.34 * len(entries)), layout="constrained")
            axes = drawing.subplots()
            for y, entry in enumerate(entries):
                means = [estimate.mean for estimate in entry.devices.values()]
                axes.plot(means, [y] * len(means), "|", color=GRAY)
                low, high = entry.worst.ci
                arms = [[entry.worst.mean - low], [high - entry.worst.mean]]
                axes.errorbar([entry.worst.mean], [y], xerr=arms, fmt="o", color="#1f5fa8", capsize=2.5)
            axes.set_yticks(range(len(entries)), [entry.label for entry in entries])
            axes.set_ylim(len(entries) - 0.5, -0.5)
            axes.set_xlabel("accuracy [%]")
            return render_figure(drawing, "worst-device")

    caption = "Points: worst device with its 95 % interval. Gray strokes: the means of all devices."
    return Figure(draw, "Accuracy on the worst device of each method", caption)
