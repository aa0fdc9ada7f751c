"""Times and windows: invalid ones raise, those outside the device's limits warn or raise."""

import warnings

import pytest

from aimc_robust.devices.library import load_card
from aimc_robust.devices.limits import check_states, check_time
from aimc_robust.errors import InputError

SONOS, PCM, MILO = map(load_card, ("sonos-agrawal2022", "pcm-nandakumar2019", "rram-milo2021"))


@pytest.mark.parametrize("time_s", [True, float("nan"), float("inf"), -1.0, -1e-9, 3.3e9, "1 day", None])
@pytest.mark.parametrize("on_out_of_range", ["warn", "error"])
def test_what_is_no_time_is_refused(time_s, on_out_of_range):
    with pytest.raises(InputError, match="time_s"):
        check_time(PCM, time_s, on_out_of_range=on_out_of_range)


@pytest.mark.parametrize(
    ("card", "time_s"),
    [(SONOS, 0), (SONOS, 432000.0), (SONOS, 432431.0), (PCM, 1e-3), (PCM, 3e7), (MILO, 0.0), (MILO, 0)],
)
def test_a_time_within_the_limits_passes_in_silence(card, time_s):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_time(card, time_s)
        check_time(card, time_s, on_out_of_range="error")


@pytest.mark.parametrize(
    ("card", "time_s", "words"),
    [
        (SONOS, 432433.0, "0 to 432000 s (5 d)"),
        (SONOS, 864000.0, "864000 s (10 d) is outside"),
        (PCM, 1e9, "0 to 3.1536e+07 s (1 y)"),
        (MILO, 5.0, "no drift, so time_s = 5 s has"),
        (MILO, 3600.0, "time_s = 3600 s (1 h) has"),
    ],
)
def test_a_time_beyond_the_limits_is_told_or_refused(card, time_s, words):
    with pytest.warns(UserWarning, match="time_s") as caught:
        check_time(card, time_s)
    message = str(caught[0].message)
    assert all(part in message for part in (card.name, words, f"{time_s:g}"))
    assert caught[0].filename == __file__
    with pytest.raises(InputError) as refused:
        check_time(card, time_s, on_out_of_range="error")
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("window", "time_s", "words"),
    [
        ((0.0, 1600.0), 0.0, None),
        ((0.0, 1800.0), 1.0, None),
        ((0.0, 3200.0), 0.0, None),
        ((0.0, 3200.0), 1.0, "0.*1800"),
        ((0.0, 3300.0), 0.0, "0.*3200"),
    ],
)
def test_a_window_beyond_the_states_of_the_fit_is_told_or_refused(window, time_s, words):
    if words is None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_states(SONOS, window, time_s=time_s)
        return
    with pytest.warns(UserWarning, match=f"sonos-agrawal2022: the window 0 to {window[1]:g} nA .* {words}") as caught:
        check_states(SONOS, window, time_s=time_s)
    assert caught[0].filename == __file__
    with pytest.raises(InputError, match=words):
        check_states(SONOS, window, time_s=time_s, on_out_of_range="error")
