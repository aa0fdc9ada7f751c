"""Forward passes in bf16: close to float32, in the passes alone, and refused where products have errors."""

import pytest
import torch
from support.training_examples import conv_net, digits
from torch import nn

import aimc_robust as ar
from aimc_robust.errors import InputError
from aimc_robust.evaluation.forward_precision import forward_in

WEIGHTS_ALONE = ar.Crossbar("pcm-nandakumar2019", read_noise=False)
CONDITIONS = {"digital": None, "noise": ar.Gaussian(0.1), "a crossbar": WEIGHTS_ALONE}


@pytest.fixture(scope="module")
def trained():
    model, (images, labels) = conv_net(), digits()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(60):
        batch = slice(20 * step, 20 * step + 20)
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step(), optimizer.zero_grad()
    return model.eval()


BATCH = [tuple(part[1200:] for part in digits())]


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_accuracies_are_close_to_those_of_float32(trained, condition):
    exact = ar.evaluate(trained, BATCH, condition, chips=5).table
    mixed = ar.evaluate(trained, BATCH, condition, chips=5, forward_precision="bf16-mixed").table
    assert (exact["accuracy"] > 60).all()
    assert (exact["accuracy"] - mixed["accuracy"]).abs().max() < 1.5
    differences = (exact["loss"] - mixed["loss"]).abs()
    assert 0 < differences.max() < 0.02
    assert differences.max() > 1e-5  # more than rounding in float32


class Recorder(nn.Module):
    """Notes the dtypes of what it gets; it has its own `forward`, as some wrappers do."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.seen = inner, []
        self.forward = self.record

    def record(self, images):
        outputs = self.inner(images)
        self.seen.append((outputs.dtype, self.inner[0].weight.dtype))
        return outputs


def test_passes_alone_are_in_bf16(trained):
    model = Recorder(trained)
    with forward_in(model, "bf16-mixed"):
        model(BATCH[0][0])
        assert not torch.is_autocast_enabled("cpu")
        outside = trained(BATCH[0][0])
    model(BATCH[0][0])
    assert model.seen == [(torch.bfloat16, torch.float32), (torch.float32, torch.float32)]
    assert outside.dtype == torch.float32
    assert model.forward == model.record
    with forward_in(trained, "bf16-mixed"):
        pass
    assert "forward" not in vars(trained)


def test_scores_are_those_of_outputs_in_float32_outside_autocast(trained):
    def dtype(outputs, labels):
        return float(outputs.dtype == torch.float32 and not torch.is_autocast_enabled("cpu"))

    options = {"chips": 2, "metrics": {"dtype": dtype}, "forward_precision": "bf16-mixed"}
    assert (ar.evaluate(trained, BATCH, WEIGHTS_ALONE, **options).table["dtype"] == 1.0).all()


REFUSED = {
    "read noise": (ar.Crossbar("pcm-nandakumar2019"), None),
    "converters": (WEIGHTS_ALONE.replace(adc=ar.ADC(bits=8, range=(-4, 4))), None),
    "CrossSim": (WEIGHTS_ALONE, ar.Deployment(backend="crosssim")),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_it_is_refused_where_products_have_errors(trained, reason):
    condition, deployment = REFUSED[reason]
    with pytest.raises(InputError, match=reason):
        ar.evaluate(trained, BATCH, condition, deployment=deployment, forward_precision="bf16-mixed")


def test_other_names_are_refused(trained):
    with pytest.raises(ar.AimcError, match="forward_precision"):
        ar.evaluate(trained, BATCH, None, forward_precision="16-mixed")


def test_the_equivalent_noise_of_a_device_is_that_of_passes_in_bf16(trained):
    options = {"chips": 5, "forward_precision": "bf16-mixed"}
    found = ar.equivalent_sigma(trained, BATCH, WEIGHTS_ALONE, **options)
    assert found.device.mean == ar.evaluate(trained, BATCH, WEIGHTS_ALONE, **options).mean
    assert found.digital == ar.evaluate(trained, BATCH, None, **options).mean
    row = found.curve.iloc[-1]
    assert row["value"] == ar.evaluate(trained, BATCH, ar.Gaussian(row["sigma"], scale=found.scale), **options).mean
    exact = ar.equivalent_sigma(trained, BATCH, WEIGHTS_ALONE, chips=5)
    assert not found.curve.equals(exact.curve)


def test_layers_to_keep_digital_are_measured_in_bf16(trained):
    options = {"chips": 3, "forward_precision": "bf16-mixed"}
    kept = ar.keep_digital(trained, BATCH, WEIGHTS_ALONE, required=20.0, **options)
    none_digital = kept.curve.set_index("kept").loc[0]
    assert none_digital["mean"] == ar.evaluate(trained, BATCH, WEIGHTS_ALONE, **options).mean
    exact = ar.keep_digital(trained, BATCH, WEIGHTS_ALONE, required=20.0, chips=3)
    assert not kept.confirmation.table.equals(exact.confirmation.table)
    with pytest.raises(InputError, match="read noise"):
        ar.keep_digital(trained, BATCH, ar.Crossbar("pcm-nandakumar2019"), required=20.0, **options)
