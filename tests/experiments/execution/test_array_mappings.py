"""What a results folder stores of a network's arrays, and the table that reports make of it."""

import json

import torch
from torch import nn

from aimc_robust import Crossbar, coverage
from aimc_robust.experiments.execution.array_mappings import array_mappings
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.report.evaluation.content import gather
from aimc_robust.report.evaluation.sections import devices
from aimc_robust.report.mapping_section import array_figures, mapping_sections
from aimc_robust.report.mapping_table import mapping_rows
from aimc_robust.targets.target import CrossbarTarget, DigitalTarget

SMALL, LARGE = Crossbar("rram-wan2022", rows=16), Crossbar("sonos-agrawal2022")
TARGETS = [
    DigitalTarget(),
    CrossbarTarget("small", SMALL),
    CrossbarTarget("large", LARGE),
    CrossbarTarget("large-1h", LARGE, time_s=3600.0),
]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 6), nn.ReLU(), nn.Linear(6, 2))


def test_each_crossbar_is_mapped_once_for_one_example():
    model, inputs = network(), torch.rand(5, 20)
    small, large = array_mappings("net", model, inputs, TARGETS)
    assert (small["targets"], large["targets"]) == (["small"], ["large", "large-1h"])
    for found, crossbar in ((small, SMALL), (large, LARGE)):
        expected = coverage(model, inputs[:1], crossbar=crossbar).mapping.to_json()
        own = {"network": "net", "targets": found["targets"], "inputs": [[1, 20]], "digital_layers": {}}
        assert found == {**own, **expected}
    json.dumps([small, large])


def test_a_network_that_takes_no_single_example_is_mapped_without_reads():
    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(x[0] + x[1])

    (found,) = array_mappings("net", Pairs(), torch.rand(2, 4), TARGETS[1:2])
    assert found["inputs"] == []
    assert found["digital_layers"] is None
    assert found["total"]["activity"] is None
    ((_, name), *_, (_, conversions)) = mapping_rows(found)[0]
    assert (name, conversions) == ("layer", "–")


def test_the_table_has_the_numbers_of_each_layer_and_their_sum():
    mappings = array_mappings("net", network(), torch.rand(1, 20), TARGETS)
    (section,) = mapping_sections(mappings, "small")
    assert section.title == "3 arrays"
    first, second, total = (dict(row) for row in section.blocks[0].rows)
    assert (first["layer"], first["rows × columns"], first["arrays"], first["reads"]) == (
        "0",
        "20 × 6",
        "2\n2 × 1",
        "1",
    )
    assert (first["DAC\nconversions"], first["ADC\nconversions"]) == ("20", "12")
    assert (second["arrays"], second["used"]) == ("1", "37.5 %")
    assert (total["layer"], total["arrays"], total["DAC\nconversions"]) == ("all layers", "3", "26")
    assert mapping_sections(mappings, "digital") == []


def test_folders_of_evaluate_and_compare_have_the_mappings_and_their_pages_a_table(
    finished_evaluation, finished_comparison
):
    evaluation, comparison = finished_evaluation.results, ComparisonResults.open(finished_comparison)
    for results in (evaluation, comparison):
        names = {name for mapping in results.mappings for name in mapping["targets"]}
        assert names == {target.name for target in results.targets if isinstance(target, CrossbarTarget)}
        assert all(mapping["inputs"][0][0] == 1 for mapping in results.mappings)
    content = gather(evaluation)
    assert content.devices
    for (target, *_), section in zip(content.devices, devices(content).blocks[-1].blocks, strict=True):
        assert mapping_sections(evaluation.mappings, target.name) == section.blocks[-1:]


def test_a_folder_keeps_the_mappings_of_other_networks(finished_comparison, tmp_path):
    results = ComparisonResults.open(finished_comparison)
    other = ComparisonResults(tmp_path, results.spec)
    (first,) = array_mappings("first", network(), torch.rand(1, 20), TARGETS[1:2])
    other.record_coverage("a", [first])
    other.record_coverage("b", [first | {"network": "second"}])
    other.record_coverage("c", [first])
    assert sorted(mapping["network"] for mapping in other.mappings) == ["first", "second"]
    other.record_coverage("d")
    assert len(other.mappings) == 2


def test_networks_on_arrays_of_one_size_have_one_picture_and_arrays_without_a_limit_none():
    small, large = array_mappings("net", network(), torch.rand(1, 20), TARGETS)
    targets = [CrossbarTarget(name, SMALL) for name in ("small", "other", "large")]
    (picture,) = array_figures([small, large, {**small, "targets": ["other"]}], [targets])
    assert picture.caption.startswith("On `small`, `other`: each box is an array")
    assert picture.draw().name == "arrays"
    assert array_figures([small, large], [targets[1:]]) == []
