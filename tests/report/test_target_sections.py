"""What the pages say of the conditions themselves: devices at their times, and noises with their settings."""

import json
import shutil

import pytest

from aimc_robust.devices.library import load_card
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.noise.distributions import Gaussian, Laplace
from aimc_robust.report import terms
from aimc_robust.report.comparison.text import trained_uncompensated
from aimc_robust.report.device_section import describe_target
from aimc_robust.report.evaluation.content import gather
from aimc_robust.report.evaluation.explanation_sections import attribution
from aimc_robust.report.noise_section import describe_noise_target, noise_section
from aimc_robust.report.page_model import Prose
from aimc_robust.report.write import write_report
from aimc_robust.targets.build import build_targets
from aimc_robust.targets.target import AscentTarget, CrossbarTarget, DigitalTarget, NoiseTarget, RadiusTarget

NOISES = [
    (NoiseTarget("a", Gaussian(0.1)), ["normal", "(sigma) of 0.1 × the largest absolute weight of its filter"]),
    (NoiseTarget("a", Gaussian(0.1, "filter_norm")), ["0.1 × the L2 norm of its filter"]),
    (NoiseTarget("a", Gaussian(0.1, "layer_max")), ["0.1 × the largest absolute weight of its layer"]),
    (NoiseTarget("a", Gaussian(0.1, "absolute")), ["(sigma) of 0.1"]),
    (NoiseTarget("a", Laplace(0.2)), ["Laplace", "b = 0.2 × the largest", "standard deviation is √2 b"]),
    (NoiseTarget("a", Laplace(0.2, matched_std=True)), ["Laplace", "standard deviation of 0.2 × the largest"]),
    (RadiusTarget("a", 3.5), ["length 3.5", "L2 norm of its filter"]),
    (AscentTarget("a", 2.5), ["length 2.5", "gradient"]),
]


@pytest.mark.parametrize(("target", "words"), NOISES)
def test_a_noise_is_described_with_its_strength_and_unit(target, words):
    assert [word for word in words if word not in describe_noise_target(target)] == []


def test_only_targets_without_a_device_are_listed():
    crossbar = CrossbarTarget("wan", Crossbar(load_card("rram-wan2022")))
    section = noise_section([DigitalTarget(), NOISES[0][0], crossbar])
    assert [item[:4] for item in section.blocks[0].items] == ["`a`:"]
    assert noise_section([DigitalTarget(), crossbar]) is None


@pytest.mark.parametrize(
    ("times_s", "end"),
    [
        ([0.0], "right after programming"),
        ([86400.0], "1d after programming"),
        ([0.0, 3600.0], "right after programming and again 1h later"),
        ([0.0, 3600.0, 86400.0, 864000.0], "right after programming and again 1h, 1d and 10d later"),
        ([3600.0, 86400.0], "1h and 1d after programming"),
    ],
)
def test_a_device_is_described_at_all_its_times(times_s, end):
    crossbar = Crossbar(load_card("rram-wan2022-drift"))
    text = describe_target([CrossbarTarget(f"wan-{t:g}", crossbar, time_s=t) for t in times_s])
    assert text.endswith(f", {end}")


def test_both_pages_describe_noises(finished_comparison, finished_evaluation, tmp_path, stub_figures):
    for number, folder in enumerate((finished_comparison, finished_evaluation.folder)):
        text = write_report(shutil.copytree(folder, tmp_path / str(number))).with_suffix(".md").read_text()
        (line,) = [line for line in text.splitlines() if line.startswith("- `gaussian-")]
        assert "× the largest absolute weight of its filter" in line


@pytest.mark.parametrize("low", [-0.5, 0.5, None])
def test_an_attribution_names_the_largest_contributor_only_beyond_chance(finished_evaluation, tmp_path, low):
    folder = shutil.copytree(finished_evaluation.folder, tmp_path / "copy")
    path = folder / "attribution.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    changed = [row | {"cost_alone": 1.25, "cost_alone_low": low, "cost_alone_high": low and 2.0} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in changed))
    note, *parts = attribution(gather(EvaluationResults.open(folder))).blocks
    assert note == Prose("Of several models of a label the first is explained.")
    assert len(parts) == 4
    for part in parts:
        text = next(block for block in part.blocks if isinstance(block, str | Prose))
        assert text.startswith("On 2 chips: accuracy")
        assert ("No layer alone has a cost beyond chance." in text) == (low == -0.5)
        assert ("which alone costs 1.25 points" in text) == (low != -0.5)


def test_names_of_compensated_targets_are_explained_once_where_there_are_any():
    card = {"device": "pcm-nandakumar2019", "read_noise": False}
    tables = [card | {"time_s": time_s, "compensation": "drift"} for time_s in (60.0, 3600.0)]
    tables += [card | {"name": "both", "compensation": ["drift", "batchnorm"]}]
    targets = [target for table in tables for target in build_targets(table)]
    assert terms.compensations(targets) == [
        "**-drift** after the name of another target: with global drift compensation, on the same chips.",
        "**-drift-batchnorm** after the name of another target: with global drift compensation and BatchNorm "
        "recalibrated on the chip, on the same chips.",
    ]
    assert terms.compensations([DigitalTarget(), *targets[::2]]) == []


AWARE = """[methods.aware]
kind = "array-aware"
crossbar = { device = "pcm-nandakumar2019", rows = 64 }
time_s = [1.0, 1e6]

[methods.sgd]"""
TARGETS = [
    {"device": "pcm-nandakumar2019", "time_s": 3600.0, "compensation": compensation}
    for compensation in ([], ["batchnorm"], ["drift"])
]


@pytest.mark.parametrize(
    ("change", "targets", "warned"),
    [
        ("", TARGETS, True),
        ("", TARGETS[:2], False),
        ("", [TARGETS[2] | {"time_s": 0.0}], False),
        ("drift_compensation = true", TARGETS, False),
        ("time_s = 0.0", TARGETS, False),
    ],
)
def test_training_without_the_compensation_of_its_targets_is_noted(write_spec, change, targets, warned):
    replaced = "time_s = [1.0, 1e6]" if "time_s" in change else "\n\n"
    table = AWARE.replace(replaced, f"\n{change}\n")
    spec = load_spec(write_spec(("[methods.sgd]", table)))
    note = trained_uncompensated(spec, [target for table in targets for target in build_targets(table)])
    assert (note is not None) == warned
    if warned:
        assert note.text.startswith("`aware`: trained on arrays after a time without drift compensation")
        assert "`drift_compensation = true`" in note.text
