"""docs/reference/models.md has what its script prints, and ideal chips compute what the digital models do."""

import re
from pathlib import Path

import pytest
from models.architectures import all_names, row

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "models.md"
ROW = re.compile(r"^\| ((?:torchvision|timm|transformers):\S+) \| (.*) \|$", re.MULTILINE)
QUICK = [
    "torchvision:squeezenet1_1",
    "timm:tf_mobilenetv3_small_minimal_100",
    "transformers:GPT-2",
    "transformers:Mixtral",
]


def documented() -> dict[str, list[str]]:
    return {name: cells.split(" | ") for name, cells in ROW.findall(PAGE.read_text(encoding="utf-8"))}


def test_every_model_is_documented_and_computes_right_or_is_refused():
    table = documented()
    assert list(table) == all_names()
    assert len(table) >= 60
    for name, (*_, weights, arrays) in table.items():
        for difference in (weights, arrays):
            assert difference.startswith("refused: ") or float(difference) < 1e-5, name


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_row_is_what_the_script_prints(name):
    cells = ROW.findall(row(name))[0][1].split(" | ")
    expected = documented()[name]
    assert cells[:3] == expected[:3]
    assert all(float(cell) < 1e-5 for cell in cells[3:])
