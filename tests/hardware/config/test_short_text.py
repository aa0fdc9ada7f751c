"""What `print` shows: a line with the options that are not at their defaults; `repr` stays whole."""

from aimc_robust import ADC, DAC, BitSliced, Crossbar, Placement, load_preset


def test_a_crossbar_shows_what_is_not_at_its_default():
    assert str(Crossbar("rram-wan2022")) == "Crossbar('rram-wan2022')"
    full = Crossbar("rram-milo2021", mapping=BitSliced(slices=4), rows=64, dac=DAC(kind="ideal"), adc=ADC(bits=8))
    options = "mapping=BitSliced(slices=4), rows=64, dac=DAC(kind='ideal'), adc=ADC(bits=8)"
    assert str(full) == f"Crossbar('rram-milo2021', {options})"


def test_placements_and_presets_are_short():
    places = Placement({"a": "digital", "*": "rram-wan2022"})
    assert str(places) == "Placement({'a': 'digital', '*': Crossbar('rram-wan2022')})"
    assert str(load_preset("rasch2023")).startswith("rasch2023: ")
    assert len(str(load_preset("rasch2023"))) < 400


def test_checkpoints_still_see_the_whole_card():
    assert repr(Crossbar("rram-wan2022", rows=8)) != repr(Crossbar("rram-milo2021", rows=8))
    assert "coefficients" in repr(places := Placement({"*": "rram-wan2022"}))
    assert hash(places) == hash(Placement({"*": "rram-wan2022"}))
