"""A page and a full report for each folder of benchmarks/results, and a table of all of them."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from build_cache import ROOT, cached_folder
from reference import _escaped

from aimc_robust.experiments.results.archive import ARCHIVE, unpack
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.report.comparison.content import gather
from aimc_robust.report.comparison.page import comparison_page
from aimc_robust.report.page_files import page_files

RESULTS = ROOT / "benchmarks/results"
INDEX = "benchmarks/results/all.md"
FULL = "full-report.html"
FACTS = "facts.json"
MANY = "figures/diagnostics-"  # dozens of small figures, which only the full report shows

sys.path.append(str(ROOT / "benchmarks"))  # where specs find their section of published values
from published.layout import FOLDER as LAYOUTS  # noqa: E402
from published.layout import read_layout  # noqa: E402
from published.overview import STATES, claims_of  # noqa: E402


def result_names():
    """Return the names of the folders of results."""
    return sorted(path.parent.name for path in RESULTS.glob(f"*/{ARCHIVE}"))


def result_files():
    """Return the files of all results, by their place in the site: full reports, figures, specs, and the table."""
    files, facts = {}, {}
    for name in result_names():
        source = RESULTS / name
        made = cached_folder(f"results/{name}", [source, Path(__file__)], partial(_make, source))
        facts[name] = json.loads((made / FACTS).read_text(encoding="utf-8"))
        for path in made.rglob("*"):
            if path.is_file() and path.name != FACTS:
                files[f"benchmarks/results/{name}/{path.relative_to(made).as_posix()}"] = path
        files[f"benchmarks/results/{name}/spec.toml"] = source / "spec.toml"
    return files | {INDEX: _index(facts)}


def _make(source, folder):
    """Write the full report, its figures and what the table of all results says into a folder."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(source, Path(place) / source.name))
        unpack(copy)
        content = gather(ComparisonResults.open(copy))
        files = page_files(comparison_page(content))
    (folder / FULL).write_text(files["report.html"], encoding="utf-8")
    (folder / "figures").mkdir()
    for name, text in files.items():
        if name.endswith(".svg") and not name.startswith(MANY):
            (folder / name).write_text(text, encoding="utf-8")
    (folder / FACTS).write_text(json.dumps(_facts(source, content)), encoding="utf-8")


def _facts(source, content):
    spec = content.results.spec
    facts = {"question": spec.question, "scale": source.name.removeprefix(spec.name).removeprefix("-")}
    if (LAYOUTS / f"{spec.name}.toml").is_file():
        layout, states = read_layout(spec.name), [claim.state for claim in claims_of(content)]
        facts["of"] = f"{layout.place} of {layout.citation.split(', ')[0]}"
        facts["claims"] = [states.count(state) for state in STATES] if states else []
    return facts


def _index(facts):
    dates = _dates()
    papers, others = [], []
    for name, fact in facts.items():
        title = f"[{name}]({name}/report.md)<br>{_escaped(fact['question'])}"
        last = f"{dates.get(name, '')}<br>[full report]({name}/{FULL})"
        counts = [f"{count} {state}" for count, state in zip(fact.get("claims") or [], STATES, strict=False)]
        if of := fact.get("of"):
            papers.append([title, f"{_escaped(of)}<br>{fact['scale']}", "<br>".join(counts), last])
        else:
            others.append([title, last])
    return (
        "---\nhide: [toc]\n---\n\n# All results\n\nThe comparisons that were run, and are stored with all their rows."
        "\n\n## Tables and figures of papers\n\nThe claims are the paper's, tested on the rows of the run. "
        "[Results](README.md) describes the scales and sums up.\n\n"
        + _table(["results", "of, and scale", "claims", "date"], papers)
        + "\n\n## Questions of our own\n\n"
        + _table(["results", "date"], others)
    )


def _table(heads, rows):
    lines = [heads, ["---"] * len(heads), *rows]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f'<div class="results" markdown>\n\n{body}\n\n</div>\n'


def _dates():
    """Return the day on which the rows of each folder landed; nothing if the history is not there."""

    def git(*words):
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    try:
        if git("rev-parse", "--is-shallow-repository").strip() == "true":
            return {}
        log = git("log", "--format=%cs", "--name-only", "--", f"benchmarks/results/*/{ARCHIVE}")
    except (OSError, subprocess.CalledProcessError):
        return {}
    dates, date = {}, ""
    for line in log.split():
        if re.fullmatch(r"\d{4}-\d\d-\d\d", line):
            date = line
        else:
            dates.setdefault(Path(line).parent.name, date)
    return dates


def result_page(markdown, name, files):
    """Return the text of a report as a page of the site: with its name, its figures and a link to the full report.

    Args:
        markdown: report.md.
        name: Name of the folder of results.
        files: Places in the site of all files.
    """
    text = re.sub(r"\A# .*", f"# {name}", markdown)
    text = re.sub(r"^Files: .*\n\n?", "", text, flags=re.MULTILINE)
    count = text.count(f"Figure `{MANY}")
    more = f", with {count} figures more" if count else ""
    head = (
        f"[Full report]({FULL}): tables that sort, all figures{more}. [The spec](spec.toml). All rows are in the "
        f"repository: `aimc-robust report benchmarks/results/{name}` writes tables, figures and report again.\n"
    )
    text = re.sub(rf"^Figure `{MANY}.*\n\n?", "", text, flags=re.MULTILINE)

    def figure(match):
        path, caption = match.groups()
        label = re.sub(r"[\[\]`*]", "", caption)
        shown = f"benchmarks/results/{name}/{path}" in files
        return f"![{label}]({path})\n\n{caption}" if shown else match[0]

    text = re.sub(r"^Figure `([^`]+)`: (.*)$", figure, text, flags=re.MULTILINE)
    title, rest = text.split("\n", 1)
    return f"{title}\n\n{head}{rest}"
