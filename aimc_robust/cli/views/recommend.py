"""Advice in the terminal."""

from rich.console import Console
from rich.table import Table

from aimc_robust.experiments.recommend.run import Recommendation
from aimc_robust.report.formatting import bounds, number, short


def show(found: Recommendation) -> None:
    """The device's errors layer by layer, what they amount to, the proposal, and what the sweep says of it."""
    console = Console(highlight=False, markup=False)
    measured = found.measurement
    table = Table(title=f"Errors of {found.target} on this model", title_justify="left", box=None, pad_edge=False)
    for column in ("layer", "weights", "std / max|w|", "rms / max|w|", "rms / filter's max|w|"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for row in found.layers.to_dict("records"):
        values = [short(row[key]) for key in ("std_layer_max", "rms_layer_max", "rms_filter_max")]
        table.add_row(row["layer"], f"{row['weights']:,}", *values)
    console.print(table)
    console.print(sigma_text(measured), soft_wrap=True)
    console.print(f"\nproposal: {found.proposal.label}", style="bold")
    for reason in found.proposal.reasons:
        console.print(f"  {reason}", soft_wrap=True)
    if found.verdict is None:
        return
    console.print(f"\n{found.verdict.word}: {found.verdict.sentence}", style="bold", soft_wrap=True)
    for row in found.verdict.table.to_dict("records"):
        question = found.proposal.questions.get(row["second_model"], "")
        console.print(
            f"  against {row['second_model']} ({question}?): {number(row['difference'])} points "
            f"{bounds(row['ci_low'], row['ci_high'], 2)}",
            soft_wrap=True,
        )


def sigma_text(measured: dict) -> str:
    """What the errors amount to, in a sentence."""
    accuracies = f"{measured['digital_accuracy']:.2f} % digital, {measured['device_accuracy']:.2f} % on the device"
    if not measured["identified"]:
        return (
            f"{accuracies} (validation images): {measured['reason']} Taken instead: the root mean square error, "
            f"sigma = {measured['sigma']:.3g} of each filter's largest weight."
        )
    high = "" if measured["high"] is None else f"{measured['high']:.3g}"
    return (
        f"{accuracies} (validation images): as much as Gaussian noise of sigma = {measured['sigma']:.3g} "
        f"[{measured['low']:.3g}, {high or 'open'}] of each filter's largest weight costs."
    )
