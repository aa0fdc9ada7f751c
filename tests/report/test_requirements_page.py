"""The page of device requirements names only what was searched, and writes rare faults in parts per million."""

import pytest
import torch
from torch import nn

from aimc_robust import device_requirements
from aimc_robust.report.requirements.page import write_requirements
from aimc_robust.report.requirements.text import level_text

MODEL = nn.Linear(2, 2, bias=False)
BATCHES = [(torch.eye(2).repeat(8, 1), torch.tensor([0, 1]).repeat(8))]


def page(folder, quantity):
    with torch.no_grad():
        MODEL.weight.copy_(2 * torch.eye(2))
    found = device_requirements(MODEL, BATCHES, drop=5.0, required_yield=0.5, quantities=[quantity], jobs=1)
    write_requirements(found, folder, "a test")
    return found, (folder / "requirements.md").read_text()


@pytest.mark.parametrize("quantity", ["programming", "drift-compensated", "read-noise"])
def test_only_what_was_searched_is_explained(tmp_path, quantity):
    _, text = page(tmp_path, quantity)
    assert ("Drift is that of" in text) == (quantity == "drift-compensated")
    assert ("for compensated drift" in text) == (quantity == "drift-compensated")
    assert ("for read noise" in text) == (quantity == "read-noise")


@pytest.mark.parametrize(
    ("level", "text"), [(0.02, "2 %"), (1e-5, "0.001 %"), (3.14e-7, "0.31 ppm"), (9.7e-6, "9.7 ppm")]
)
def test_rare_faults_are_in_parts_per_million(tmp_path, level, text):
    found, _ = page(tmp_path, "stuck-low")
    (row,) = found.table.to_dict("records")
    assert level_text(found, row, level) == f"{text} of all devices"
