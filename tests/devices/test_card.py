"""The contract of a device card: the library's cards meet it, and an invalid card raises InputError."""

import re
from pathlib import Path

import numpy as np
import pydantic
import pytest
import torch
from support.draws import draws

from aimc_robust import Card, card_names, load_card
from aimc_robust.devices.cell_model_checks import programming_std, read_std
from aimc_robust.devices.library import cards_folder
from aimc_robust.devices.states import cell_states
from aimc_robust.errors import InputError, UnknownNameError

# Standard deviation of the programmed state, as published with CrossSim 3.2.0 (BSD-3, sandialabs/cross-sim):
# RRAMMilo, RRAMWan, PCMJoshi [uS of uS] and SONOS at time 0 [nA of nA].
PUBLISHED_STD = {
    "rram-milo2021": lambda g: 4.782321 - 0.009107 * g,
    "rram-wan2022": lambda g: 1.536e-4 * g**3 - 1.167e-2 * g**2 + 0.2374 * g + 1.053,
    "pcm-joshi2020": lambda g: -0.00178767 * g**2 + 0.07585724 * g + 0.28638599,
    "sonos-agrawal2022": lambda i: 19.88665 * (1.0 - np.exp(-i / 176.3115)),
}
PUBLISHED_WINDOW = {
    "rram-milo2021": (50.0, 225.0),
    "rram-wan2022": (1.0, 39.0),
    "pcm-joshi2020": (0.25, 25.0),
    "sonos-agrawal2022": (0.0, 1600.0),
}


def states(card: Card) -> np.ndarray:
    return np.linspace(card.range.min, card.range.max, 1001)


def std_of(card: Card, state: np.ndarray) -> np.ndarray:
    return programming_std(card, torch.from_numpy(state)).numpy()


def before_table(card: Card, time_s: float) -> bool:
    return card.drift.kind == "table" and time_s <= card.drift.at[0].time_s


@pytest.mark.parametrize("name", card_names())
class TestEveryCard:
    def test_is_named_as_its_file(self, name):
        assert load_card(name).name == name

    def test_says_where_its_numbers_come_from(self, name):
        source = load_card(name).source
        if source.citation.startswith("Definition:"):
            assert load_card(name).technology.startswith("No device:")
        else:
            assert source.doi
            assert source.figure or "coefficients as in" in source.fit

    def test_has_its_window_within_the_limits_of_its_fit(self, name):
        window = load_card(name).range
        assert 0 <= window.limits[0] <= window.min < window.max <= window.limits[1]

    def test_has_a_finite_std_of_at_least_0_over_its_limits(self, name):
        card = load_card(name)
        std = std_of(card, np.linspace(*card.range.limits, 1001))
        assert np.isfinite(std).all()
        assert (std >= 0).all()

    def test_has_an_error_somewhere_unless_it_says_none(self, name):
        card = load_card(name)
        assert std_of(card, states(card)).any() == (card.programming.kind != "none")

    def test_states_what_its_source_leaves_open_about_drift_and_read_noise(self, name):
        card = load_card(name)
        if card.drift is not None:
            assert re.search("(source|literature|paper)s? do(es)? not", card.source.note)
        if card.read is not None:
            assert re.search("from read to read|between reads", card.source.note)

    def test_ages_to_finite_states_at_every_time_within_its_limits(self, name):
        card = load_card(name)
        target = torch.linspace(*((card.drift and card.drift.state_limits) or card.range.limits), 301)
        last_s = card.drift.limits_s[1] if card.drift else 0.0
        for time_s in (0.0, 1e-3, 1.0, 5.0, last_s / 3, last_s):
            aged = cell_states(card, target, draws(7), time_s=time_s)
            for state in aged:
                assert state.shape == target.shape
                assert state.dtype == target.dtype
                assert torch.isfinite(state).all()
                assert (state >= 0).all()
            assert (aged.now is aged.programmed) == (card.drift is None or time_s == 0 or before_table(card, time_s))

    def test_has_a_finite_read_std_of_at_least_0(self, name):
        card = load_card(name)
        target = torch.cat([torch.zeros(1), torch.linspace(*card.range.limits, 301)])
        for time_s in (0.0, 1.0, 86400.0) if card.drift else (0.0,):
            std = read_std(card, cell_states(card, target, draws(8), time_s=time_s), time_s=time_s)
            assert torch.isfinite(std).all()
            assert (std >= 0).all()
            assert std.any() == (card.has_read_noise and (time_s > 0 or card.read.kind != "log10-one-over-f"))

    def test_has_a_drift_table_that_starts_from_the_programming_error(self, name):
        card = load_card(name)
        if card.drift is None or card.drift.kind != "table":
            return
        state = torch.from_numpy(states(card))
        assert not any(card.drift.at[0].shift)
        torch.testing.assert_close(card.drift.at[0].std.std(state), programming_std(card, state))

    def test_reads_the_same_by_path_and_as_an_object(self, name):
        card = load_card(cards_folder() / f"{name}.toml")
        assert card == load_card(name)
        assert load_card(card) is card


@pytest.mark.parametrize("name", PUBLISHED_STD)
def test_the_std_is_the_published_one(name):
    card = load_card(name)
    assert (card.range.min, card.range.max) == PUBLISHED_WINDOW[name]
    np.testing.assert_allclose(std_of(card, states(card)), PUBLISHED_STD[name](states(card)), rtol=1e-12)


def test_the_std_is_never_negative_where_a_fit_falls_below_0():
    card = load_card("rram-milo2021")
    assert std_of(card, np.array([600.0]))[0] == 0.0 > PUBLISHED_STD["rram-milo2021"](600.0)


MILO = (cards_folder() / "rram-milo2021.toml").read_text(encoding="utf-8")

# what is wrong -> (text of the card, its replacement, what the message must hold besides the file)
BAD_CARDS = {
    "unknown key": ("technology", "tecnology", ["'tecnology'", "'technology'"]),
    "unknown key in a table": ('figure = "', 'figur = "', ["source", "'figur'", "'figure'"]),
    "unknown key in the error": ("clip =", "clipp =", ["programming", "'clipp'", "'clip'"]),
    "wrong unit": ('unit = "uS"', 'unit = "S"', ["unit", "'S'", "'uS' for conductance", "'nA' for current"]),
    "unknown state": ('state = "conductance"', 'state = "charge"', ["state", "'conductance'", "'current'", "'charge'"]),
    "missing key": ("max = 225.0\n", "", ["range.max", "required and missing"]),
    "min above max": ("min = 50.0", "min = 250.0", ["range", "min < max", "250", "225"]),
    "min equal to max": ("min = 50.0", "min = 225.0", ["range", "min < max"]),
    "window outside the limits": ("limits = [50.0,", "limits = [60.0,", ["limits", "[60, 225]", "50 to 225"]),
    "negative limits": ("limits = [50.0,", "limits = [-1.0,", ["limits", "0 <=", "[-1, 225]"]),
    "negative min": ("min = 50.0", "min = -1.0", ["range.min", "greater than or equal to 0", "-1.0"]),
    "one limit": ("limits = [50.0, 225.0]", "limits = [50.0]", ["range.limits"]),
    "NaN coefficient": ("[4.782321,", "[nan,", ["coefficients.0", "finite", "nan"]),
    "infinite coefficient": ("[4.782321,", "[inf,", ["coefficients.0", "finite", "inf"]),
    "no coefficients": ("[4.782321, -0.009107]", "[]", ["coefficients", "at least 1"]),
    "not a DOI": ("10.1109/IRPS46558", "doi.org/10.1109/IRPS46558", ["source.doi", "expected a DOI such as 10."]),
    "unknown kind": ('"polynomial"', '"polynom"', ["programming", "'polynomial'", "'saturating-exponential'"]),
    "unknown clip": ('"nonnegative"', '"positive"', ["clip", "'nonnegative'", "'window'", "'positive'"]),
    "unknown distribution": ("clip =", 'distribution = "beta"\nclip =', ["distribution", "'normal'", "'uniform'"]),
    "reference of 0": ("clip =", "reference = 0.0\nclip =", ["programming.reference", "greater than"]),
    "name with capitals": ('"rram-milo2021"', '"RRAM Milo"', ["name", "RRAM Milo"]),
    "name of exact weights": ('"rram-milo2021"', '"digital"', ["name: 'digital' is reserved for exact weights"]),
    "text for a number": ("min = 50.0", 'min = "fifty"', ["range.min", "number", "'fifty'"]),
    "not TOML": ("[source]", "[source", ["TOML", "line 6"]),
}


@pytest.mark.parametrize("fault", BAD_CARDS)
def test_a_bad_card_is_refused_naming_file_key_and_remedy(fault, tmp_path):
    good, bad, wanted = BAD_CARDS[fault]
    assert MILO.count(good) >= 1
    path = tmp_path / "mine.toml"
    path.write_text(MILO.replace(good, bad, 1), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_card(path)
    message = str(caught.value)
    assert [part for part in [str(path), *wanted] if part not in message] == []
    assert "pydantic" not in message


def test_two_faults_are_told_at_once(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MILO.replace("min = 50.0", "min = -1.0").replace("[4.782321,", "['x',"), encoding="utf-8")
    with pytest.raises(InputError, match=r"2 errors:\n- range\.min.*\n- .*coefficients"):
        load_card(path)


def test_the_unchanged_card_is_accepted(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MILO, encoding="utf-8")
    assert load_card(path) == load_card(str(path)) == load_card("rram-milo2021")


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "nowhere.toml"
    with pytest.raises(InputError, match=f"no device card at {re.escape(str(path))}; give the path"):
        load_card(path)


def test_a_file_that_is_not_text_is_named(tmp_path):
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=re.escape(str(path))):
        load_card(path)


@pytest.mark.parametrize("name", ["rram-milo", "rram-milo2012", Path("rram-milo2021x")])
def test_an_unknown_device_is_answered_with_the_nearest_and_the_way_to_ones_own(name):
    with pytest.raises(UnknownNameError, match="'rram-milo2021'") as caught:
        load_card(name)
    assert all(part in str(caught.value) for part in [repr(str(name)), *card_names(), "path", ".toml"])


def test_a_card_cannot_be_changed_after_it_was_checked():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        load_card("ideal").range.min = 5.0
