"""The results kept in benchmarks/results are whole, answer the specs as they are, and say what their README says."""

import atexit
import io
import re
import shutil
import tempfile
import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from published.claims import HELD, NOT_HELD, NOT_SETTLED, ClaimResult
from published.overview import RESULTS, SCALES, agreement_table, claims_of, claims_table, counts_table, stored
from support.paper_specs import NAMES, SPECS, loaded

from aimc_robust.experiments.recommend.proposal import propose
from aimc_robust.experiments.results.archive import ARCHIVE, READABLE, unpack
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.summary import summary_table
from aimc_robust.report.comparison.content import ComparisonContent, gather
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.paired_difference import paired_difference
from aimc_robust.statistics.t_interval import t_interval

Kept = tuple[str, str]  # paper/file of the spec, and its scale
# By the names in the files: loading every spec takes seconds, which any run of tests would wait for.
TITLES = {
    name: tomllib.loads(path.read_text(encoding="utf-8"))["name"] for name, path in zip(NAMES, SPECS, strict=True)
}
FOLDERS = {(name, scale): folder for name in NAMES for scale in SCALES if (folder := stored(TITLES[name], scale))}
SEVEN = [f"incorruptible/table{n}" for n in (1, 2, 3, 5, 6)] + ["m-rwp/table1-resnet18", "m-rwp/tableA1"]
CPU_SCALES = {
    "cpu-digits": "digits",
    "cpu-fashion": "Fashion-MNIST",
    "cpu-cifar-ten": "ten classes of CIFAR-100",
    "cpu-cifar-twenty": "twenty classes",
}
LANDED = {(name, scale) for name in SEVEN for scale in (*CPU_SCALES, "mini")}
LANDED |= {("m-rwp/figureA5-resnet18", scale) for scale in ("cpu-digits", "cpu-fashion", "cpu-cifar-ten")}
LANDED |= {("m-rwp/figureA6", scale) for scale in ("cpu-digits", "cpu-cifar-ten")}


@cache
def unpacked(kept: Kept) -> Path:
    """A copy of the packed results with their rows restored."""
    folder = Path(shutil.copytree(FOLDERS[kept], Path(tempfile.mkdtemp()) / FOLDERS[kept].name))
    atexit.register(shutil.rmtree, folder.parent)
    unpack(folder)
    return folder


@cache
def content(kept: Kept) -> ComparisonContent:
    return gather(ComparisonResults.open(unpacked(kept)))


@cache
def all_claims() -> dict[Kept, list[ClaimResult]]:
    found = {(content(kept).results.spec.name, kept[1]): claims_of(content(kept)) for kept in FOLDERS}
    return {kept: claims for kept, claims in found.items() if claims}


@pytest.fixture(scope="module")
def text() -> str:
    return (RESULTS / "README.md").read_text(encoding="utf-8")


def test_the_tables_named_are_there():
    assert set(FOLDERS) >= LANDED


@pytest.mark.slow
@pytest.mark.parametrize("kept", FOLDERS, ids="-".join)
def test_rows_are_whole_and_of_the_spec_as_it_is(kept):
    ComparisonResults(unpacked(kept), loaded(*kept)).check()  # raises where they are another question's
    assert (content(kept).missing, content(kept).failures) == (0, {})


@pytest.mark.parametrize("folder", sorted(path.name for path in RESULTS.iterdir() if path.is_dir()))
def test_a_folder_holds_what_a_reader_needs_and_the_archive(folder):
    assert {path.name for path in (RESULTS / folder).iterdir()} == {ARCHIVE, *READABLE}


@pytest.mark.slow
@pytest.mark.parametrize("kept", FOLDERS, ids="-".join)
def test_the_summary_follows_from_the_archived_rows(kept):
    # As text; the last digits of a number depend on the processor.
    found = pd.read_csv(io.StringIO(summary_table(content(kept).estimates).to_csv(index=False)))
    pd.testing.assert_frame_equal(found, pd.read_csv(FOLDERS[kept] / "summary.csv"), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_the_readme_counts_the_claims_and_states_each_as_the_rows_do(text):
    assert counts_table(all_claims()) in text
    assert agreement_table(all_claims()) in text
    assert claims_table(all_claims()) in text


@pytest.mark.slow
@pytest.mark.parametrize("scale", CPU_SCALES)
def test_as_many_claims_are_settled_as_the_readme_counts(text, scale):
    found = [claim for (_, at), claims in all_claims().items() if at == scale for claim in claims]
    states, reasons = [claim.state for claim in found], [claim.reason for claim in found]
    opposite = reasons.count("the opposite is settled")
    said = (
        f"On {CPU_SCALES[scale]}, {len(found) - states.count(NOT_SETTLED)} of the {len(found)} claims are settled: "
        f"{states.count(HELD)} held and {states.count(NOT_HELD)} did not, {opposite} because the opposite is settled "
        f"and {states.count(NOT_HELD) - opposite} because any lead is below half a point"
    )
    assert said in " ".join(text.split())


@pytest.mark.slow
def test_at_least_four_in_five_claims_are_settled_on_some_data_set():
    claims: dict[tuple[str, str], set[str]] = {}
    for (name, _), found in all_claims().items():
        for claim in found:
            claims.setdefault((name, claim.text), set()).add(claim.state)
    assert sum(states != {NOT_SETTLED} for states in claims.values()) >= 0.8 * len(claims)


@pytest.mark.slow
def test_what_recommend_says_of_noise_and_ramps_is_what_the_results_say():
    texts = propose(0.05).reasons
    assert "on three data sets here" in texts[0]
    assert "was nowhere settled to be better" in texts[2]
    for scale in CPU_SCALES:
        noise = {claim.state for claim in all_claims()["incorruptible-table1", scale]}
        assert noise == ({HELD} if scale != "cpu-cifar-twenty" else {HELD, NOT_SETTLED})
        ramps = [
            claim for claim in all_claims()["incorruptible-table3", scale] if "than any constant RWP" in claim.text
        ]
        assert len(ramps) == 8
        assert HELD not in {claim.state for claim in ramps}


def test_an_overview_has_a_row_for_each_claim_and_a_column_for_each_scale():
    held = ClaimResult("RWP wins", HELD, difference=difference(2.0), interval=(1.0, 3.0))
    failed = ClaimResult("RWP wins", NOT_HELD, difference=difference(-2.0), interval=(-3.04, -1.0))
    unknown = ClaimResult("SAM wins", NOT_SETTLED, reason="no rows")
    found = {("a-table1", "cpu-digits"): [held, unknown], ("a-table1", "mini"): [failed]}
    assert claims_table(found).splitlines() == [
        "| table | claim | cpu-digits | mini |",
        "|---|---|---|---|",
        "| a-table1 | RWP wins | **held** +2.0 [1.0, 3.0] | **did not hold** -2.0 [-3.0, -1.0] |",
        "| a-table1 | SAM wins | – | – |",
    ]
    assert counts_table(found).splitlines()[2:] == [
        "| [a-table1-cpu-digits](a-table1-cpu-digits/report.md) | 2 | 1 | 0 | 1 |",
        "| [a-table1-mini](a-table1-mini/report.md) | 1 | 0 | 1 | 0 |",
    ]
    assert agreement_table(found).splitlines() == [
        "| over the data sets | a | all |",
        "|---|---|---|",
        "| held wherever settled | 0 | 0 |",
        "| did not hold wherever settled | 0 | 0 |",
        "| held on one, did not hold on another | 1 | 1 |",
        "| settled nowhere | 1 | 1 |",
    ]


def difference(mean):
    first, second = (
        Estimate(pd.DataFrame({"train_seed": [0, 1], "chip": [0, 0], "accuracy": [value, value + 1.0]}))
        for value in (50.0 + mean, 50.0)
    )
    return paired_difference(first, second)


@pytest.mark.slow
def test_the_numbers_of_the_summary_are_the_rows(text):
    """RWP 0.06 against SGD in Table 1: on digital weights, and under the largest noise."""
    estimates = content(("incorruptible/table1", "mini")).estimates
    found = [
        paired_difference(estimates["rwp-0.06", target], estimates["sgd", target])
        for target in ("digital", "gaussian-0.07")
    ]
    words = " ".join(text.split())
    short = words[words.index("**Length of training**") : words.index("### What was run")]
    stated = re.findall(r"([+-]\d+\.\d \[[^\]]+\])", short)
    assert stated == [f"{d.mean:+.1f} [{d.ci[0]:.1f}, {d.ci[1]:.1f}]" for d in found]


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["cpu-digits", "cpu-cifar-ten"])
def test_the_eigenvalues_that_are_stated_are_the_rows(text, scale):
    text, results = " ".join(text.split()), content(("m-rwp/figureA6", scale)).results
    found = {t: results.analyses(t)["training"]["eigenvalues"][0] for t in results.trials}
    sam, mixed = (np.array([found[t] for t in results.trials if t.model == name]) for name in ("sam", "m-rwp"))
    logarithms = np.log(mixed / sam)
    ratio, low, high = np.exp([logarithms.mean(), *t_interval(logarithms)])
    assert f"{sam.mean():.3f} with SAM and {mixed.mean():.3f} with m-RWP" in text
    assert f"ratio to SAM is {ratio:.2f} [{low:.2f}, {high:.2f}]" in text


def test_the_accuracies_that_are_stated_of_figure_a5_are_those_of_the_summaries(text):
    words, chosen = " ".join(text.split()), []
    for scale, named in (
        ("cpu-digits", 0),
        ("cpu-fashion", 2),
        ("cpu-cifar-ten", 0),
    ):  # the lowest, stated by themselves
        means = pd.read_csv(FOLDERS["m-rwp/figureA5-resnet18", scale] / "summary.csv").set_index("model")["mean"]
        others = means.sort_values()[named:]
        assert len(means) == 20
        assert f"lie between {others.iloc[0]:.1f} and {others.iloc[-1]:.1f} %" in words
        chosen.append(f"{means['m-rwp-0.015-0.5']:.1f}")
    assert f"sigma 0.015 and lambda 0.5, has {chosen[0]}, {chosen[1]} and {chosen[2]} %" in words


@pytest.mark.slow
def test_the_flatness_that_is_stated_is_the_rows(text):
    said = " ".join(text[text.index("Two figures have no claims") : text.index("## cifar100-20")].split())
    eight, six = (content((name, "mini")).landscapes for name in ("incorruptible/figure8", "m-rwp/figureA6"))
    training, test = eight["training-plane"], eight["test-plane"]
    ends = [f"{plane[f'rwp-{sigma}'].flat_percent:.1f}" for plane in (training, test) for sigma in (0.02, 0.07)]
    assert re.findall(r"from (\S+) %(?: at 0.02)? to (\S+) %", said) == [tuple(ends[:2]), tuple(ends[2:])]
    sam = [plane[f"sam-{rho}"].flat_percent for plane in (training, test) for rho in (0.2, 0.3, 0.5)]
    assert f"SAM's is {min(sam):.1f} to {max(sam):.1f} % on both" in said
    assert f"RWP 0.05 ({test['rwp-0.05'].flat_percent:.1f} %)" in said
    assert {f"{surface.flat_percent:.1f}" for surface in six["plane"].values()} == {
        re.search(r"(\S+) % for SAM", said)[1]
    }
