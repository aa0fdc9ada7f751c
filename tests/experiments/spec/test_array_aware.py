"""The table of a method that trains through arrays."""

import pytest

from aimc_robust.devices.library import cards_folder
from aimc_robust.errors import InputError
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.noise.distributions import Laplace
from aimc_robust.training.methods.array_aware import ArrayAware
from aimc_robust.training.methods.learned_ranges import LearnedRanges
from aimc_robust.training.methods.ramp import Ramp

CARD = "pcm-nandakumar2019"
CROSSBAR = 'crossbar = { device = "card.toml", rows = 64, dac = { bits = 4 }, adc = { bits = 5 } }'
TABLE = f"""[methods.aware]
kind = "array-aware"
{CROSSBAR}
time_s = [1.0, 1e6]
drift_compensation = true
noise = "laplace-0.02"
lam = 0.5
ramp = {{ shape = "linear", fraction = 0.5 }}

[methods.sgd]"""


def test_its_keys_are_those_of_the_method_and_of_a_target(write_spec):
    path = write_spec(("[methods.sgd]", TABLE))
    card = path.parent / "card.toml"
    card.write_bytes((cards_folder() / f"{CARD}.toml").read_bytes())
    spec = load_spec(path)
    card.unlink()
    expected = ArrayAware(
        Crossbar(CARD, rows=64, dac=DAC(bits=4), adc=ADC(bits=5)),
        time_s=(1.0, 1e6),
        drift_compensation=True,
        noise=Laplace(0.02),
        lam=0.5,
        ramp=Ramp(shape="linear", fraction=0.5),
        seed=7,
    )
    assert spec.method("aware", seed=7) == expected
    # As a results folder keeps it, without the card's file.
    assert type(spec).model_validate(spec.model_dump()).method("aware", seed=7) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"learned"', LearnedRanges()),
        ("{ decay = 0.005, init_batches = 20 }", LearnedRanges(decay=0.005, init_batches=20)),
    ],
)
def test_ranges_may_be_learned(write_spec, value, expected):
    table = TABLE.replace("lam = 0.5", f"ranges = {value}").replace("card.toml", CARD)
    spec = load_spec(write_spec(("[methods.sgd]", table)))
    assert spec.method("aware", seed=0).ranges == expected
    assert type(spec).model_validate(spec.model_dump()).method("aware", seed=0).ranges == expected
    assert spec.recipe("aware", 0) != load_spec(write_spec(("[methods.sgd]", TABLE.replace("card.toml", CARD)))).recipe(
        "aware", 0
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("rows = 64", "time_s = 5.0", "keys of the method"),
        ("rows = 64", 'compensation = ["drift"]', "drift_compensation"),
        (CROSSBAR, 'crossbar = "gaussian-0.1"', "device"),
        (CROSSBAR, "", "crossbar"),
        ("[1.0, 1e6]", "[0.0, 1e6]", "above 0"),
        ("[1.0, 1e6]", "[1.0]", "time_s"),
        ("lam = 0.5", "ranges = 1", "ranges"),
        ("lam = 0.5", 'ranges = "learnt"', "learned"),
        ("lam = 0.5", "ranges = { decay = 3.0 }", "decay"),
        ("lam = 0.5", "ranges = { start = 3.0 }", "start"),
        ("laplace-0.02", "rram-wan2022", "crossbar"),
        ("lam = 0.5", 'scope = "all"', "scope"),
    ],
)
def test_mistakes_are_told_with_the_method(write_spec, old, new, words):
    assert old in TABLE
    table = TABLE.replace(old, new).replace("card.toml", CARD)
    with pytest.raises(InputError, match=words) as told:
        load_spec(write_spec(("[methods.sgd]", table)))
    assert "methods.aware" in str(told.value)
