"""Output of `require`: the level of each error, the budget of all of them, and the devices that meet it."""

from rich.console import Console
from rich.table import Table

from aimc_robust.evaluation.requirements.quantity_search import TOGETHER
from aimc_robust.evaluation.requirements.result import DeviceRequirements
from aimc_robust.report.requirements.text import (
    STATUS,
    level_text,
    limit_text,
    loss_text,
    margin_text,
    setting_text,
    yield_text,
)


def show(found: DeviceRequirements) -> None:
    """Print the requirements."""
    console = Console(highlight=False, markup=False)
    console.print(found.sentence, style="bold", soft_wrap=True)
    console.print(setting_text(found), soft_wrap=True)
    table = Table(title="\nHow large may each error be", title_justify="left", box=None, pad_edge=False)
    for column in ("error", "limit alone", "second order", "chips that keep it", "status", "all together"):
        table.add_column(column, overflow="fold")
    for row in found.table.to_dict("records"):
        table.add_row(
            str(row["title"]),
            limit_text(found, row),
            level_text(found, row, row["predicted"]),
            yield_text(row).replace("\n", ", yield "),
            STATUS[row["status"]],
            level_text(found, row, row[TOGETHER]),
        )
    console.print(table)
    if found.devices.empty:
        return
    judged = Table(title="\nDevices", title_justify="left", box=None, pad_edge=False)
    for column in ("device", "requirement", "chips that keep it", "margin", "largest loss"):
        judged.add_column(column, overflow="fold")
    for row in found.devices.sort_values("margin", ascending=False, kind="stable").to_dict("records"):
        judged.add_row(
            str(row["device"]),
            str(row["judgement"]),
            f"{row['passing']} of {row['chips']}",
            margin_text(row["margin"]),
            loss_text(found.metric, row["worst_loss"]),
        )
    console.print(judged)
