"""An unknown argument of a class with many options is told in a sentence that names the nearest."""

import inspect

import pytest
from support.for_each import for_each

import aimc_robust as ar
from aimc_robust.errors import UnknownNameError

CLASSES = [
    "ADC", "AdaptiveSAM", "Augmentation", "BitSliced", "Crossbar", "DAC", "Deployment", "DiagnosticsConfig",
    "EarlyStopping", "Gaussian", "Laplace", "LayerRanges", "Machine", "MixedRWP", "RWP", "Ramp", "SAM", "SGD",
    "TrainingConfig",
]  # fmt: skip


@for_each("name", CLASSES)
def test_a_misspelt_argument_is_told_with_the_nearest(name):
    kind = getattr(ar, name)
    argument = list(inspect.signature(kind).parameters)[-1]
    with pytest.raises(UnknownNameError, match=rf"argument of {name} '{argument}x': did you mean '{argument}'"):
        kind(**{f"{argument}x": 1})


def test_a_part_of_a_name_is_enough():
    with pytest.raises(UnknownNameError, match="'row': did you mean 'rows'"):
        ar.Crossbar("rram-wan2022", row=3)
