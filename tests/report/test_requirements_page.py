"""The page of device requirements names only what was searched, and writes rare faults in parts per million."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from aimc_robust import ADC, Crossbar, device_requirements
from aimc_robust.report.requirements.page import write_requirements
from aimc_robust.report.requirements.text import level_text, setting_text

MODEL = nn.Linear(2, 2, bias=False)
BATCHES = [(torch.eye(2).repeat(8, 1), torch.tensor([0, 1]).repeat(8))]


def page(folder, *quantities, **options):
    with torch.no_grad():
        MODEL.weight.copy_(2 * torch.eye(2))
    options = {"drop": 5.0, "required_yield": 0.5, "jobs": 1} | options
    found = device_requirements(MODEL, BATCHES, quantities=quantities or None, **options)
    write_requirements(found, folder, "a test")
    return found, (folder / "requirements.md").read_text()


@pytest.mark.parametrize("quantity", ["programming", "drift-compensated", "read-noise"])
def test_only_what_was_searched_is_explained(tmp_path, quantity):
    _, text = page(tmp_path, quantity)
    assert ("Drift is that of" in text) == (quantity == "drift-compensated")
    assert ("for compensated drift" in text) == (quantity == "drift-compensated")
    assert ("for read noise" in text) == (quantity == "read-noise")


@pytest.mark.parametrize(
    ("level", "text", "count"),
    [
        (0.02, "2 %", "about 7,000"),
        (1.2e-5, "0.0012 %", "about 4"),
        (3.14e-7, "0.31 ppm", "fewer than one"),
        (9.7e-6, "9.7 ppm", "about 3"),
    ],
)
def test_rare_faults_are_in_parts_per_million_and_counted(tmp_path, level, text, count):
    found, _ = page(tmp_path, "stuck-low")
    assert found.device_count == 8  # two for each weight
    (row,) = found.table.to_dict("records")
    large = replace(found, device_count=350_000)
    assert level_text(large, row, level) == f"{text} of all devices ({count} of 350,000)"


@pytest.mark.slow
def test_what_was_not_searched_is_said_to_be_ideal(tmp_path):
    fixed = Crossbar("ideal", rows=64, adc=ADC(bits=8))
    _, text = page(tmp_path, "programming-proportional", "read-noise", crossbar=fixed)
    ideal = "drift, devices stuck at the low end, devices stuck at the high end, DACs."
    assert f"Not searched, and taken as ideal: {ideal}" in text
    assert "arrays of 64 rows and unlimited columns" in text
    assert f"Ideal in it, as not searched or without a confirmed limit: {ideal}" in text
    assert "Not searched" not in setting_text(page(tmp_path)[0])


def test_the_spread_of_the_drift_exponent_is_stated_where_drift_was_searched(tmp_path):
    words = "the standard deviation of its exponent over devices is 0.25 times the mean"
    assert words in page(tmp_path, "drift", drift_spread=0.25)[1]
    assert "exponent" not in page(tmp_path, "read-noise", devices=["ideal"])[1]


def test_a_drop_below_one_example_is_said_to_allow_no_loss(tmp_path):
    words = "A drop of 5.00 points is less than one of the 16 images, so no image may be lost."
    assert words in page(tmp_path, "programming")[1]
    assert "no image" not in page(tmp_path, "programming", drop=6.25)[1]
