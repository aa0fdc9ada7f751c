"""What is said and drawn of landscapes: only of whole ones, and nothing of what overflowed."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.axes import Axes

from aimc_robust.analysis.landscape import Landscape
from aimc_robust.experiments.results.files import LANDSCAPE
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.report.comparison.landscapes import LossSurface, landscape_figure, loss_surfaces
from aimc_robust.statistics.primary_metric import ACCURACY

PLANE = Landscape(2)


@pytest.fixture
def gathered(tmp_path):
    """The surfaces of a folder with the loss at each place of each (method, seed), in any order."""

    def surfaces(losses):
        for trial, values in losses.items():
            folder = tmp_path / "-".join(map(str, trial))
            folder.mkdir(exist_ok=True)
            rows = [
                {"landscape": "plane", "point": point, "accuracy": 50.0, "loss": loss, "n": 9}
                for point, loss in enumerate(values)
            ]
            (folder / LANDSCAPE).write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
        results = SimpleNamespace(
            landscapes={"plane": LandscapeSpec(name="plane", points=2)},
            metric=ACCURACY,
            spec=SimpleNamespace(labels=["sgd", "rwp"]),
            trials=[Trial(*trial) for trial in losses],
            run_folder=lambda trial: tmp_path / f"{trial.model}-{trial.train_seed}",
        )
        return loss_surfaces(results)

    return surfaces


def test_a_grid_is_the_mean_over_models_that_have_every_place(gathered):
    found = gathered({("sgd", 0): [1, 2, 3, 4], ("sgd", 1): [3, 4, 5, 6], ("sgd", 2): [9, 9], ("rwp", 0): [1.0]})
    assert list(found["plane"]) == ["sgd"]
    assert found["plane"]["sgd"].loss.tolist() == [[2.0, 3.0], [4.0, 5.0]]
    assert found["plane"]["sgd"].models == 2
    assert gathered({("rwp", 0): [1.0]}) == {}


def test_a_place_where_one_model_overflowed_has_no_mean(gathered):
    surface = gathered({("sgd", 0): [1, 2, 3, None], ("sgd", 1): [3, 4, 5, 6]})["plane"]["sgd"]
    np.testing.assert_array_equal(surface.loss, [[2.0, 3.0], [4.0, math.nan]])
    assert surface.lowest == 2.0
    assert surface.flat_percent == 50.0  # at 2 and 3; not at 4, nor where nothing is known
    nothing = LossSurface(np.full((2, 2), math.nan), 1)
    assert math.isnan(nothing.lowest)
    assert math.isnan(nothing.flat_percent)


@pytest.mark.slow
@pytest.mark.drawn_figures
@pytest.mark.parametrize("methods", [1, 3, 7])
def test_there_is_a_panel_for_each_method(methods):
    grids = {f"method-{i}": LossSurface(np.array([[0.1, 1.0], [2.0, math.nan]]) + i, 1) for i in range(methods)}
    grids["overflowed"] = LossSurface(np.full((2, 2), math.nan), 1)
    picture = landscape_figure("plane", PLANE, grids)
    assert picture.name == "landscape-plane"
    assert all(f">{method}</text>" in picture.svg for method in grids)
    if methods == 1:
        assert picture == landscape_figure("plane", PLANE, grids)  # to the last byte


@pytest.mark.drawn_figures
def test_the_first_direction_goes_to_the_right(monkeypatch):
    seen = []
    contourf = Axes.contourf
    monkeypatch.setattr(
        Axes, "contourf", lambda axes, *given, **how: seen.append(given) or contourf(axes, *given, **how)
    )
    landscape_figure(
        "plane", PLANE, {"sgd": LossSurface(np.array([[1.0, 1.0], [5.0, 9.0]]), 1)}
    )  # rises along the first
    across, up, values, _ = seen[0]
    assert (across, up) == ([-1.0, 1.0], [-1.0, 1.0])
    np.testing.assert_allclose(values, [[1.0, 5.0], [1.0, 9.0]])  # rows from below, columns from the left


@pytest.mark.parametrize("values", [[[1.0, 1.0], [1.0, 1.0]], [[math.nan] * 2] * 2, [[0.0, 1e-5], [0.0, 0.0]]])
def test_what_is_the_same_everywhere_has_no_picture(values):
    assert landscape_figure("plane", PLANE, {"sgd": LossSurface(np.array(values), 1)}) is None
