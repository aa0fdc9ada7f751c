"""Invalid drift, read noise and stuck cells raise InputError that names file, key and remedy."""

import pytest

from aimc_robust.devices.library import cards_folder, load_card
from aimc_robust.errors import InputError

PCM, WAN = "pcm-nandakumar2019", "rram-wan2022-drift"

# what is wrong -> (card, its text, the replacement, what the message must hold besides the file)
BAD = {
    "unknown kind of drift": (PCM, '"power-law"', '"power"', ["drift", "'table'", "'power-law'", "'logarithmic'"]),
    "unknown kind of read noise": (PCM, '"one-over-f"', '"1/f"', ["read", "'one-over-f'", "'log10-one-over-f'"]),
    "unknown key of drift": (PCM, "t0_s = 20.0\nref", "t0 = 20.0\nref", ["drift", "'t0'", "'t0_s'"]),
    "no limits": (PCM, "limits_s = [0.0, 31536000.0]\n", "", ["drift", "limits_s", "required and missing"]),
    "limits upside down": (PCM, "[0.0, 31536000.0]", "[5.0, 1.0]", ["limits_s", "low < high", "[5, 1]"]),
    "t0 of 0": (PCM, "t0_s = 20.0\nref", "t0_s = 0.0\nref", ["drift.t0_s", "greater than"]),
    "exponent limits upside down": (PCM, "min = 0.049", "min = 0.2", ["exponent_mean", "min <= max"]),
    "negative std of the exponent": (PCM, "min = 0.008", "min = -0.008", ["exponent_std.min", "equal to 0"]),
    "a polynomial from nowhere": (PCM, "max = 0.045", "max = 0.045, polynomial = [1.0]", ["exponent_std", "together"]),
    "a polynomial that is missing": (
        PCM,
        "max = 0.1 ",
        "max = 0.1, polynomial_from = 0.5 ",
        ["exponent_mean", "together"],
    ),
    "NaN in the read noise": (PCM, "q = 0.0088", "q = nan", ["read.q", "finite"]),
    "no time of a read": (PCM, "t_read_s = 2.5e-7", "t_read_s = 0.0", ["t_read_s", "greater than"]),
    "times that fall": (WAN, "time_s = 172800.0", "time_s = 86400.0", ["at", "rise", "1, 86400, 86400"]),
    "time 0 in the logarithm": (WAN, "time_s = 1.0", "time_s = 0.0", ["'log'", "above 0"]),
    "negative time": (WAN, "time_s = 1.0", "time_s = -1.0", ["at.0.time_s", "equal to 0"]),
    "mixed references": (
        WAN,
        "-16.458], reference = 40.0",
        "-16.458], reference = 1.0",
        ["reference", "every row"],
    ),
    "mixed kinds": (
        WAN,
        'std = { kind = "polynomial", coefficients = [0.782, 20.274, -43.507, 37.062, -11.934], reference = 40.0 }',
        'std = { kind = "saturating-exponential", amplitude = 1.0, constant = 1.0 }',
        ["std.kind", "every row"],
    ),
    "unknown interpolation": (WAN, '"log"', '"cubic"', ["interpolation", "'linear'", "'log'", "'cubic'"]),
    "stuck above 1": (PCM, "[read]", "[stuck]\nlow = 1.5\n[read]", ["stuck.low", "less than or equal to 1", "1.5"]),
    "stuck above 1 together": (PCM, "[read]", "[stuck]\nlow = 0.6\nhigh = 0.6\n[read]", ["stuck", "<= 1", "0.6 + 0.6"]),
    "unknown key of stuck": (PCM, "[read]", "[stuck]\nlo = 0.6\n[read]", ["stuck", "'lo'", "'low'"]),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_law_is_refused_naming_file_key_and_remedy(fault, tmp_path):
    name, good, bad, wanted = BAD[fault]
    text = (cards_folder() / f"{name}.toml").read_text(encoding="utf-8")
    assert good in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(good, bad, 1), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_card(path)
    message = str(caught.value)
    assert [part for part in [str(path), *wanted] if part not in message] == []
    assert "pydantic" not in message


def test_one_row_is_no_table():
    values = load_card(WAN).model_dump(exclude_none=True)
    values["drift"]["at"] = values["drift"]["at"][:1]
    with pytest.raises(InputError, match=r"drift\.at.*2"):
        load_card(values)
