"""Every spec runs at the scale `smoke`, on real digits and through the whole of `compare` and its report."""

import math

import pytest
from published.measured import measured_entries
from support.paper_specs import BENCHMARKS, NAMES, layout, loaded

from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.compare import compare
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.spec.inheritance import resolved_toml
from aimc_robust.report.comparison.content import gather
from aimc_robust.report.write import write_report

pytestmark = pytest.mark.slow

WATCHED = "incorruptible/figure2"  # with diagnostics, whose many pictures take longer than all the rest
DRAWN = ("incorruptible/table1", "m-rwp/table1")  # pictures are the same code for all specs


@pytest.fixture(autouse=True)
def _figures_of_few_are_drawn(name, request):
    if name not in DRAWN:
        request.getfixturevalue("stub_figures")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Trained models that the specs share, as at full scale."""
    return tmp_path_factory.mktemp("models")


@pytest.mark.parametrize("name", NAMES)
def test_the_smoke_scale_fills_every_place_whose_methods_it_keeps(name, models, tmp_path):
    path, spec, out = BENCHMARKS / f"{name}.toml", loaded(name, "smoke"), tmp_path / "out"
    if name != WATCHED:
        spec = spec.model_copy(update={"diagnostics": None})
    text = resolved_toml(path, scale="smoke")
    options = {"data_folder": path.parent, "progress": ExperimentProgress(), "model_cache": models}
    done = compare(spec, out, spec_text=text, **options)
    assert done.failed == {}
    page = write_report(out).read_text(encoding="utf-8")
    assert layout(name).place in page
    assert layout(name).citation in page

    content = gather(ComparisonResults.open(out))
    entries = measured_entries(layout(name), spec.labels, content.estimates, content.costs)
    found = [entry for row in entries for entry in row]
    kept = [entry for entry in found if entry.cell.methods]
    assert len(kept) >= 3
    assert [(entry.cell.row, entry.cell.column) for entry in kept if entry.measured is None] == []
    assert all(math.isfinite(entry.measured.value) for entry in kept)
