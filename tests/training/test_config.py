"""Recipes and data that cannot be trained with are refused before any work is lost."""

import pytest
from support.training_examples import conv_net, digits

from aimc_robust.errors import DataError, InputError, UnknownNameError
from aimc_robust.training.config import EarlyStopping, TrainingConfig
from aimc_robust.training.loop import train
from aimc_robust.training.methods.sgd import SGD

IMAGES, LABELS = digits()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs.*got 0"),
        ({"epochs": 1.5}, "epochs"),
        ({"epochs": True}, "epochs"),
        ({"epochs": 1, "batch_size": 0}, "batch_size"),
        ({"epochs": 1, "lr": -0.1}, "lr"),
        ({"epochs": 1, "lr": float("inf")}, "lr"),
        ({"epochs": 1, "weight_decay": float("nan")}, "weight_decay"),
        ({"epochs": 1, "momentum": 1.5}, "momentum"),
        ({"epochs": 1, "label_smoothing": 2.0}, "label_smoothing"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        TrainingConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"sigma": -0.1}, InputError, "sigma"),
        ({"sigma": float("nan")}, InputError, "sigma"),
        ({"sigma": 0.1, "scale": "layer_maxx"}, UnknownNameError, "'layer_max'"),
        ({"sigma": 0.1, "draws": 0}, InputError, "draws.*got 0"),
    ],
)
def test_a_selection_that_cannot_be_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        EarlyStopping(**settings)


BAD_DATA = {
    "no images": (IMAGES[:0], LABELS[:0]),
    "more images than labels": (IMAGES[:200], LABELS[:150]),
    "more labels than images": (IMAGES[:150], LABELS[:200]),
}


@pytest.mark.parametrize("data", BAD_DATA.values(), ids=BAD_DATA)
@pytest.mark.parametrize("part", ["training_set", "validation_set"])
def test_data_whose_arrays_do_not_fit_together_are_refused(part, data):
    whole = (IMAGES[:200], LABELS[:200])
    with pytest.raises(DataError):
        train(
            conv_net(), SGD(), TrainingConfig(epochs=1), **{"training_set": whole, "validation_set": whole, part: data}
        )
