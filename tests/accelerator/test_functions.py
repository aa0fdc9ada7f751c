"""Every public function that takes data computes the CPU's numbers on an accelerator."""

import copy

import pytest
import test_data_kinds as kinds
import torch
from torch import nn

import aimc_robust as ar
from aimc_robust.seeding import seed_global_generators

pytestmark = pytest.mark.gpu

FUNCTIONS = kinds.FUNCTIONS | {
    "device_requirements": (
        "labelled",
        lambda data: (
            ar.device_requirements(kinds.net(), data, drop=50.0, required_yield=0.5, quantities=["dac-bits"]).digital
        ),
    ),
}


QUICK = {
    "evaluate",
    "attribute",
    "predict_loss",
    "gradient_sharpness",
    "hessian_spectrum",
    "calibrate",
    "recalibrate_batchnorm",
}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FUNCTIONS]
)
def test_a_function_gives_the_number_of_the_cpu(name, accelerator, monkeypatch):
    group, function = FUNCTIONS[name]
    values = []
    for device in (torch.device("cpu"), accelerator):
        tensors = {"INPUTS": kinds.INPUTS.to(device), "LABELS": kinds.LABELS.to(device)}
        with monkeypatch.context() as patch:
            patch.setattr(kinds, "net", lambda device=device: copy.deepcopy(kinds.NET).to(device))
            for key, value in tensors.items():
                patch.setattr(kinds, key, value)
            kinds.ranges.cache_clear()
            seed_global_generators(0)
            pair = tuple(tensors.values())
            values.append(float(function(pair if group == "whole" else [pair])))
    kinds.ranges.cache_clear()
    assert values[1] == pytest.approx(values[0], rel=1e-4, abs=1e-5)


def trained(device, folder, *, stop_after=None):
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(16, 3)]
    config = ar.TrainingConfig(
        epochs=3,
        batch_size=8,
        lr=0.05,
        clip_norm=1.0,
        early_stopping=ar.EarlyStopping(sigma=(0.05, 0.1), draws=2),
        precision="bf16-mixed",
    )

    def on_epoch(row):
        if row["epoch"] == stop_after:
            raise KeyboardInterrupt

    data, method = (kinds.INPUTS, kinds.LABELS), ar.SAM(rho=0.05)
    model = nn.Sequential(*layers).to(device)
    return ar.train(
        model, method, config, training_set=data, validation_set=data, folder=folder / device.type, on_epoch=on_epoch
    )


@pytest.mark.slow  # it imports Lightning Fabric
def test_a_training_stops_early_saves_and_resumes_as_on_the_cpu(accelerator, tmp_path):
    expected = trained(torch.device("cpu"), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trained(accelerator, tmp_path, stop_after=2)
    found = trained(accelerator, tmp_path)
    assert found.epoch == expected.epoch
    for key in ("train_loss", "loss", "perturbed_accuracy", "distance"):
        on_device, on_cpu = ([row[key] for row in result.history] for result in (found, expected))
        assert on_device == pytest.approx(on_cpu, rel=2e-2, abs=1e-3), key
    saved = ar.load_checkpoint(copy.deepcopy(expected.model), tmp_path / accelerator.type / "checkpoint.safetensors")
    for name, value in found.model.state_dict().items():
        assert value.device == accelerator
        assert torch.equal(value.cpu(), saved.state_dict()[name])
        torch.testing.assert_close(value.cpu(), expected.model.state_dict()[name], rtol=2e-2, atol=2e-3)
