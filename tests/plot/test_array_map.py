"""The picture of arrays has one box for each array, filled as far as the array is used."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from aimc_robust import Crossbar, coverage, plot
from aimc_robust.errors import InputError
from aimc_robust.plot import array_map


def mapping_of(*layers, rows=8, columns=4):
    model = nn.Sequential(*layers)
    first = layers[0].in_features
    return coverage(model, torch.rand(1, first), crossbar=Crossbar("ideal", rows=rows, columns=columns))


def boxes(collection):
    """(left, width, height) of each box, the height in shares of an array's."""
    found = []
    for path in collection.get_paths():
        (x0, y0), (x1, y1) = path.vertices.min(axis=0), path.vertices.max(axis=0)
        found.append((x0, x1 - x0, (y1 - y0) / array_map.HEIGHT))
    return found


def test_each_layer_has_its_arrays_filled_by_the_rows_and_columns_in_use(ax):
    found = mapping_of(nn.Linear(12, 6, bias=False), nn.Linear(6, 2, bias=False))
    drawn = plot.arrays(found, ax)
    assert drawn is ax
    frames, fills, edges, second, second_fill, _ = ax.collections
    assert boxes(frames) == boxes(edges) == [(x, 1.0, pytest.approx(1.0)) for x in range(4)]
    # 12 rows are cut into 6 and 6 of 8; 6 columns into 3 and 3 of 4
    np.testing.assert_allclose(boxes(fills), [(x, 0.75, 0.75) for x in range(4)])
    assert len(second.get_paths()) == 1
    np.testing.assert_allclose(boxes(second_fill), [(0.0, 0.5, 0.75)])
    filled = sum(width * height for _, width, height in boxes(fills) + boxes(second_fill))
    assert filled / 5 == pytest.approx(found.mapping.utilization)


def test_labels_are_names_matrices_and_shares(ax):
    found = mapping_of(nn.Linear(12, 6, bias=False), nn.Linear(6, 2, bias=False))
    plot.arrays(found, ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "1"]
    assert [text.get_text() for text in ax.texts] == ["12 × 6\n56.2 % used", "6 × 2\n37.5 % used"]
    assert ax.get_xlabel() == "arrays"
    assert ax.get_title(loc="left") == "5 arrays, 52.5 % used"


def test_a_mapping_of_coverage_json_has_the_same_picture(ax):
    found = mapping_of(nn.Linear(12, 6), nn.Linear(6, 2))
    stored = json.loads(json.dumps(found.mapping.to_json()))
    once, again, third = (plot.arrays(each) for each in (found, found.mapping, stored))
    for other in (again, third):
        for mine, theirs in zip(once.collections, other.collections, strict=True):
            assert boxes(mine) == boxes(theirs)


def test_of_many_layers_the_largest_are_shown_and_the_others_summed(ax):
    layers = [nn.Linear(4, 4, bias=False) for _ in range(5)]
    layers[3] = nn.Linear(4, 40, bias=False)
    found = mapping_of(*layers[:4], nn.Linear(40, 4, bias=False))
    plot.arrays(found, ax, max_layers=3)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["3", "4", "3 other layers"]  # in the order of the network
    assert ax.texts[-1].get_text() == "3 arrays\n50.0 % used"
    assert sum(len(frames.get_paths()) for frames in ax.collections[::3]) == found.mapping.arrays


def test_more_arrays_than_can_be_seen_are_one_box_of_the_same_size(ax, monkeypatch):
    monkeypatch.setattr(array_map, "MAX_DRAWN", 3)
    found = mapping_of(nn.Linear(12, 6, bias=False))
    plot.arrays(found, ax)
    assert boxes(ax.collections[0]) == [(0.0, 4.0, pytest.approx(1.0))]
    ((_, width, height),) = boxes(ax.collections[1])
    assert width * height / 4 == pytest.approx(found.mapping.utilization)


def test_groups_and_banks_have_arrays_of_their_own(ax):
    model = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2, bias=False))
    found = coverage(model, torch.rand(1, 4, 3, 3), crossbar=Crossbar("ideal", rows=4, columns=4))
    plot.arrays(found, ax)
    np.testing.assert_allclose(boxes(ax.collections[1]), [(0.0, 0.5, 0.5), (1.0, 0.5, 0.5)])


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (coverage(nn.Linear(3, 2)), "crossbar="),
        ({"layers": []}, "no layers on arrays"),
        ({"rows": 3}, "a mapping of coverage.json, got dict"),
        (nn.Linear(3, 2), "got Linear"),
    ],
)
def test_what_has_no_arrays_is_refused(mapping, message):
    with pytest.raises(InputError, match=message):
        plot.arrays(mapping)


def test_axes_of_another_kind_and_no_layer_are_refused():
    found = mapping_of(nn.Linear(12, 6))
    with pytest.raises(InputError, match=r"such as plt.subplots.* got str"):
        plot.arrays(found, "ax")
    with pytest.raises(InputError, match="max_layers"):
        plot.arrays(found, max_layers=0)
