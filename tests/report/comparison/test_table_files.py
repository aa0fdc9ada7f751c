"""Tables and figures as files: the numbers of the summary, text that LaTeX takes, the same bytes for the same rows."""

import csv
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.report.comparison.content import gather
from aimc_robust.report.formatting import escape_latex
from aimc_robust.report.markdown_page import markdown_table
from aimc_robust.report.write import write_report


def test_the_wide_table_holds_the_summary_in_full(finished_comparison):
    summary = pd.read_csv(finished_comparison / "summary.csv").set_index(["model", "target"])
    with (finished_comparison / "tables" / "accuracy.csv").open(newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["sgd", "m-rwp"]
    for (method, target), expected in summary.iterrows():
        for column, key in (("", "mean"), (" sd_noise", "sd_noise"), (" sd_seed", "sd_seed"), (" ci_low", "ci_low")):
            text = rows[method][target + column]
            assert text == "" if pd.isna(expected[key]) else float(text) == pytest.approx(expected[key], rel=1e-14)


def test_markdown_and_latex_hold_mean_and_both_deviations_with_the_best_in_bold(finished_comparison):
    content = gather(ComparisonResults.open(finished_comparison))
    markdown, latex = ((finished_comparison / "tables" / f"accuracy.{kind}").read_text() for kind in ("md", "tex"))
    for target, rankings in content.rankings.items():
        for s in rankings.values():
            e, best = s.estimate, s.is_best
            noise = "–" if target == "digital" else f"{e.sd_noise:.2f}"
            spread = f" ± {noise} ± {e.sd_seed:.2f}"
            mean = f"**{e.mean:.2f}**" if best else f"{e.mean:.2f}"
            assert f"| {mean}{spread} |" in markdown
            mean = rf"\mathbf{{{e.mean:.2f}}}" if best else f"{e.mean:.2f}"
            assert f"${mean}{spread}$".replace("±", r"\pm").replace("–", r"\mbox{--}") in latex
    assert latex.count(r"\mathbf") == markdown.count("**") / 2 == len(content.targets)


def test_latex_writes_out_its_special_signs():
    assert escape_latex(r"a_b & 50% #1 {x} $y ~^\ – ± σ") == (
        r"a\_b \& 50\% \#1 \{x\} \$y \textasciitilde{}\textasciicircum{}\textbackslash{} -- $\pm$ $\sigma$"
    )


def test_a_bar_in_a_title_does_not_end_a_cell_of_markdown():
    assert markdown_table([[("a|b", "c")]]) == "| a\\|b |\n| --- |\n| c |"


def test_the_lines_of_a_cell_stay_apart():
    assert markdown_table([[("time\nper epoch", "1.72 ×\n0.087 s\n")]]).splitlines()[::2] == [
        "| time<br>per epoch |",
        "| 1.72 ×<br>0.087 s |",
    ]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_latex_compiles(comparison_with_paper, tmp_path):
    body = "\n".join((comparison_with_paper / "tables" / f"{name}.tex").read_text() for name in ("accuracy", "paper"))
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "t.tex").write_text(document)
    subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_every_row_of_latex_has_as_many_cells_as_the_tabular_has_columns(comparison_with_paper):
    for name in ("accuracy", "paper"):
        latex = (comparison_with_paper / "tables" / f"{name}.tex").read_text()
        columns = re.search(r"\\begin\{tabular\}\{(l?r*)\}", latex)[1]
        cells = [re.sub(r"\\&", "", line).count("&") for line in latex.splitlines() if line.endswith(r"\\")]
        assert set(cells) == {len(columns) - 1}


def test_figures_are_files_too_the_very_drawings_of_the_page(finished_comparison):
    page = (finished_comparison / "report.html").read_text()
    drawn = sorted(path.stem for path in (finished_comparison / "figures").glob("*.svg"))
    assert drawn == ["device-rram-wan2022", "sigma", "targets", "training", "yields"]
    for name in drawn:
        svg = (finished_comparison / "figures" / f"{name}.svg").read_text()
        assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
        assert svg.split(">", 2)[2] in page  # after the element's own head, which the page gives a description
        png = (finished_comparison / "figures" / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert int.from_bytes(png[16:20], "big") in (630, 960)  # 4.2 and 6.4 inches at 150 dots


def test_all_files_are_the_same_bytes_for_the_same_rows(comparison_with_paper, tmp_path):
    folder = Path(shutil.copytree(comparison_with_paper, tmp_path / "copy"))
    made = [path for kind in ("tables/*", "figures/*", "report.*", "*.csv") for path in folder.glob(kind)]
    assert len(made) == 7 + 10 + 2 + 2
    before = {path: path.read_bytes() for path in made}
    for path in made:
        path.unlink()
    write_report(folder)
    assert {path: path.read_bytes() for path in made} == before
