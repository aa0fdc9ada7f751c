"""The results kept in benchmarks/results are whole, answer the specs as they are, and say what their README says."""

import atexit
import io
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from published.claims import HELD, NOT_HELD, NOT_SETTLED, ClaimResult, check_claims
from support.paper_specs import BENCHMARKS, NAMES, layout, loaded

from aimc_robust.experiments.results.archive import ARCHIVE, READABLE, unpack
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.summary import summary_table
from aimc_robust.report.comparison.content import ComparisonContent, gather
from aimc_robust.statistics.paired_difference import paired_difference

RESULTS = BENCHMARKS / "results"
FOLDERS = {name: RESULTS / f"{name.replace('/', '-')}-mini" for name in NAMES}
KEPT = [name for name, folder in FOLDERS.items() if folder.exists()]
LANDED = [f"incorruptible/table{n}" for n in (1, 2, 3, 5, 6)] + ["m-rwp/table1-resnet18", "m-rwp/tableA1"]
LINK, CLAIM, STATE = r"\[(\S+)\]\(\S+-mini/report\.md\)", "(.+)", r"(?:\*\*)?([a-z ]+)(?:\*\*)?"
ROW = re.compile(rf"^\| {LINK} \| {CLAIM} \| {STATE}: (\S+) \[(\S+), (\S+)\]", re.MULTILINE)


@cache
def unpacked(name: str) -> Path:
    """A copy of the packed results with their rows restored."""
    folder = Path(shutil.copytree(FOLDERS[name], Path(tempfile.mkdtemp()) / FOLDERS[name].name))
    atexit.register(shutil.rmtree, folder.parent)
    unpack(folder)
    return folder


@cache
def kept(name: str) -> ComparisonContent:
    return gather(ComparisonResults.open(unpacked(name)))


def claims(name: str) -> list[ClaimResult]:
    spec = kept(name).results.spec
    return check_claims(layout(name).build_claims(spec.labels), spec, kept(name).estimates, kept(name).comparisons)


@pytest.fixture(scope="module")
def text() -> str:
    return (RESULTS / "README.md").read_text(encoding="utf-8")


def test_the_tables_named_are_there():
    assert set(LANDED) <= set(KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_rows_are_whole_and_of_the_spec_as_it_is(name):
    ComparisonResults(unpacked(name), loaded(name, "mini")).check()  # raises where they are another question's
    assert (kept(name).missing, kept(name).failures) == (0, {})


@pytest.mark.parametrize("folder", sorted(path.name for path in RESULTS.iterdir() if path.is_dir()))
def test_a_folder_holds_what_a_reader_needs_and_the_archive(folder):
    assert {path.name for path in (RESULTS / folder).iterdir()} == {ARCHIVE, *READABLE}


@pytest.mark.parametrize("name", KEPT)
def test_the_summary_follows_from_the_archived_rows(name):
    content = kept(name)
    # As text; the last digits of a number depend on the processor.
    found = pd.read_csv(io.StringIO(summary_table(content.estimates).to_csv(index=False)))
    pd.testing.assert_frame_equal(found, pd.read_csv(FOLDERS[name] / "summary.csv"), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", KEPT)
def test_the_readme_states_every_claim_as_the_rows_do(name, text):
    stated = [row[1:] for row in ROW.findall(text) if row[0] == name.replace("/", "-")]
    found = [
        (v.text, v.state, f"{v.difference.mean:+.1f}", *(f"{end:.1f}" for end in v.difference.ci)) for v in claims(name)
    ]
    assert stated == found


def test_the_readme_counts_the_claims(text):
    total, held, failed, undecided = (
        int(n) for n in re.search(r"Of (\d+) claims.* (\d+) held, (\d+) did not and (\d+) are not", text).groups()
    )
    states = [verdict.state for name in KEPT for verdict in claims(name)]
    assert total == len(states)
    assert [states.count(state) for state in (HELD, NOT_HELD, NOT_SETTLED)] == [held, failed, undecided]


def test_the_numbers_of_the_summary_are_the_rows(text):
    """RWP 0.06 against SGD in Table 1: on digital weights, and under the largest noise."""
    estimates = kept("incorruptible/table1").estimates
    found = [
        paired_difference(estimates["rwp-0.06", target], estimates["sgd", target])
        for target in ("digital", "gaussian-0.07")
    ]
    short = " ".join(text[text.index("**In short.**") : text.index("| folder")].split())
    stated = re.findall(r"([+-]\d+\.\d \[[^\]]+\])", short)
    assert stated == [f"{d.mean:+.1f} [{d.ci[0]:.1f}, {d.ci[1]:.1f}]" for d in found]


def test_the_flatness_that_is_stated_is_the_rows(text):
    said = " ".join(text[text.index("Two figures have no claims") : text.index("| folder")].split())
    eight, six = (kept(name).landscapes for name in ("incorruptible/figure8", "m-rwp/figureA6"))
    training, test = eight["training-plane"], eight["test-plane"]
    ends = [f"{plane[f'rwp-{sigma}'].flat_percent:.1f}" for plane in (training, test) for sigma in (0.02, 0.07)]
    assert re.findall(r"from (\S+) %(?: at 0.02)? to (\S+) %", said) == [tuple(ends[:2]), tuple(ends[2:])]
    sam = [plane[f"sam-{rho}"].flat_percent for plane in (training, test) for rho in (0.2, 0.3, 0.5)]
    assert f"SAM's is {min(sam):.1f} to {max(sam):.1f} % on both" in said
    assert f"RWP 0.05 ({test['rwp-0.05'].flat_percent:.1f} %)" in said
    assert {f"{surface.flat_percent:.1f}" for surface in six["plane"].values()} == {
        re.search(r"(\S+) % for SAM", said)[1]
    }
