"""What methods cost: passes as each method makes them, and time as it was measured, beside the same network's sgd."""

import json

import pytest
import torch
from torch import nn

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.loading import spec_from_dict
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.report.comparison.content import gather
from aimc_robust.report.comparison.histories import training_costs
from aimc_robust.training.methods.registry import METHODS

CASES = [
    ("sgd", {}, 1),
    ("sam", {"rho": 0.1}, 2),
    ("sam", {"rho": 0.1, "batches": "different"}, 2),
    ("asam", {"rho": 0.1}, 2),
    ("array-aware", {"crossbar": Crossbar("rram-wan2022")}, 1),
    ("array-aware", {"crossbar": Crossbar("rram-wan2022"), "lam": 0.5, "draws": 2}, 3),
    ("rwp", {"sigma": 0.1}, 1),
    ("rwp", {"sigma": 0.1, "draws": 3}, 3),
    ("m-rwp", {"sigma": 0.1}, 2),
    ("m-rwp", {"sigma": 0.1, "batches": "same", "draws": 2}, 3),
    ("m-rwp", {"sigma": 0.1, "lam": 1.0, "bn_stats": "perturbed"}, 1),
]


@pytest.mark.parametrize(("kind", "options", "passes"), CASES)
def test_passes_are_those_that_an_update_makes(kind, options, passes):
    method = METHODS[kind](**options)
    model, runs = nn.Linear(3, 2), []
    model.register_forward_hook(lambda *_: runs.append(1))
    batch = torch.randn(4, 3), torch.randint(2, (4,))
    method.backward(model, nn.functional.cross_entropy, [batch] * method.batches_per_update, step=1)
    assert method.passes_per_update == passes == len(runs)


def test_every_kind_of_method_is_counted():
    assert {kind for kind, _, _ in CASES} == set(METHODS)


def spec(**methods):
    return spec_from_dict(
        {
            "name": "costs",
            "targets": ["digital"],
            "data": {"name": "digits"},
            "model": {"name": "small-cnn"},
            "training": {"epochs": 1},
            "methods": methods,
        }
    )


def rows(*seconds):
    return [{"epoch": i, "seconds": value} for i, value in enumerate(seconds, start=1)]


LARGE = {"model": {"options": {"channels": 32}}}
BOTH = {
    "sgd": {},
    "sam": {"rho": 0.1},
    "large-sgd": {"kind": "sgd", **LARGE},
    "large-sam": {"kind": "sam", "rho": 0.1, **LARGE},
}


def test_time_is_the_median_over_epochs_and_seeds_over_that_of_sgd_of_the_same_network():
    history = {
        Trial("sgd", 0): rows(1.0, 1.0, 50.0),  # one epoch shared the machine
        Trial("sgd", 1): rows(1.0, 3.0),
        Trial("sam", 0): rows(2.5),
        Trial("large-sgd", 0): rows(10.0),
        Trial("large-sam", 0): rows(19.0, 21.0),
    }
    found = training_costs(spec(**BOTH), history)
    assert {label: (cost.passes, cost.time) for label, cost in found.items()} == {
        "sgd": (1, 1.0),
        "sam": (2, 2.5),
        "large-sgd": (1, 1.0),
        "large-sam": (2, 2.0),
    }


def test_other_images_are_no_reference():
    found = training_costs(spec(sgd={}, sam={"rho": 0.1, "data": {"test_share": 0.2}}), {Trial("sgd", 0): rows(1.0)})
    assert (found["sam"].passes, found["sam"].time) == (2, None)


def test_sgd_is_the_method_of_that_label_before_another_of_that_kind():
    history = {Trial("plain", 0): rows(4.0), Trial("sgd", 0): rows(2.0), Trial("rwp", 0): rows(4.0)}
    assert training_costs(spec(plain={"kind": "sgd"}, sgd={}, rwp={"sigma": 0.1}), history)["rwp"].time == 2.0
    assert training_costs(spec(plain={"kind": "sgd"}, rwp={"sigma": 0.1}), history)["rwp"].time == 1.0
    assert training_costs(spec(rwp={"sigma": 0.1}), history)["rwp"].time is None


def test_every_report_has_the_costs_of_its_trainings(finished_comparison, tmp_path):
    seconds = {
        method: sorted(
            json.loads(line)["seconds"]
            for path in finished_comparison.glob(f"runs/{method}-seed*/history.jsonl")
            for line in path.read_text().splitlines()
        )
        for method in ("sgd", "m-rwp")
    }
    medians = {method: (values[2] + values[3]) / 2 for method, values in seconds.items()}  # 2 seeds of 3 epochs
    found = gather(ComparisonResults.open(finished_comparison)).costs
    assert found["m-rwp"].time == pytest.approx(medians["m-rwp"] / medians["sgd"])
    assert (found["m-rwp"].passes, found["sgd"].passes) == (2, 1)
    text = f"2 ×<br>2 passes per update | {found['m-rwp'].time:.3g} ×<br>{medians['m-rwp']:.3g} s |"
    assert text in (finished_comparison / "report.md").read_text()
    assert "2 × <small>2 passes per update</small>" in (finished_comparison / "report.html").read_text()
