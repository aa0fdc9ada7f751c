"""Lay a report out: report.html, self-contained, and report.md."""

from pathlib import Path

import aimc_robust
from aimc_robust.bench.store import QUESTION, Store
from aimc_robust.evaluation.paired import PairedDifference
from aimc_robust.files import read_json, write_whole
from aimc_robust.report import evaluation_page, figures, training_figures
from aimc_robust.report.content import Content, gather
from aimc_robust.report.rendering import environment, interval
from aimc_robust.report.setup import ranges_over_models, setup


def write_report(folder: Path) -> Path:
    """Write the tables and both reports of a results folder from its rows; returns the path of report.html.

    The folder of a comparison or of an evaluation. Works on unfinished results too, and says so in the page. Raises
    InputError when the folder holds neither.
    """
    question = read_json(folder / QUESTION)
    if isinstance(question, dict) and question.get("kind") == "evaluation":
        return evaluation_page.write_report(folder)
    store = Store.open(folder)
    store.write_tables()
    content = gather(store)
    write_whole(folder / "report.md", _render("report.md.j2", content))
    write_whole(folder / "report.html", _render("report.html.j2", content))
    return folder / "report.html"


def _render(template: str, content: Content) -> str:
    templates = environment(template)
    templates.filters |= {"gain": gain}
    return templates.get_template(template).render(
        content=content,
        spec=content.store.spec,
        recipe=content.store.spec.config(),
        figures=figures,
        training=training_figures,
        settings=settings,
        passes=passes,
        partly=partly,
        setup=setup,
        ranges_over_models=ranges_over_models,
        version=aimc_robust.__version__,
    )


def gain(difference: PairedDifference) -> str:
    """A difference with its sign and interval."""
    return f"{difference.mean:+.2f} points {interval(difference, 2)}".rstrip()


def partly(content: Content, difference: PairedDifference) -> str:
    """A remark where failures or unfinished work leave a difference over fewer models than the spec asks for."""
    wanted = len(content.store.spec.seeds)
    return "" if difference.seeds == wanted else f" (over the {difference.seeds} of {wanted} models that both have)"


def settings(content: Content, label: str) -> str:
    """A method's settings as its spec gives them."""
    table = {key: value for key, value in content.store.spec.methods[label].items() if key != "kind"}
    ramp = table.get("ramp")
    if isinstance(ramp, dict):
        length = f" over {ramp['updates']} updates" if "updates" in ramp else ""
        length = f" over {100 * ramp['fraction']:g} % of the run" if "fraction" in ramp else length
        table["ramp"] = ramp["shape"] + length
    if isinstance(table.get("noise"), dict):
        noise = table["noise"]
        table["noise"] = noise.get("name") or noise["device"]["name"]  # not the whole card
    return ", ".join(f"{key} {value}" for key, value in table.items()) or "–"


def passes(content: Content, label: str) -> dict[str, str]:
    """How a method works: kind, batches per update, whose BatchNorm statistics are kept."""
    method = content.store.spec.method(label, seed=0)
    kind = content.store.spec.methods[label].get("kind", label)
    return {"kind": kind, "batches": str(method.batches_per_update), "bn_stats": method.bn_stats}
