"""`fit` and `verify` in the terminal, as the commands call them."""

import pytest
from support.measurements import measure, noisy

from aimc_robust.cli.views.fit import show_fit, show_verification
from aimc_robust.devices import states
from aimc_robust.devices.library import load_card
from aimc_robust.errors import DataError, InputError
from aimc_robust.fitting.verify import verify_card
from aimc_robust.report.figures.fit import fit_and_write


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "dumb")


@pytest.mark.drawn_figures
def test_a_fit_is_printed_with_its_tables_and_the_card_written(tmp_path, capsys):
    rows = measure("sonos-agrawal2022", cells=300, reads=3, times_s=(0.0, 432000.0))
    rows.to_csv(tmp_path / "rows.csv", index=False)
    card, plot = tmp_path / "mine.toml", tmp_path / "mine.svg"
    show_fit(fit_and_write(tmp_path / "rows.csv", name="mine", unit="nA", out=card, plot=plot), card=card, plot=plot)
    shown = capsys.readouterr()
    for words in ("programming error: ", "read noise: ", "drift: table of 2 times", "Kolmogorov-Smirnov D", "5 d"):
        assert words in shown.out
    assert shown.err == ""
    assert load_card(tmp_path / "mine.toml").name == "mine"
    assert (tmp_path / "mine.svg").read_bytes().startswith(b"<?xml")


def test_a_bad_fit_is_a_warning_on_stderr(tmp_path, capsys):
    rows = noisy(lambda t: 0.02 * t, noise=lambda rng, n: rng.standard_t(3, size=n))
    rows.to_csv(tmp_path / "rows.csv", index=False)
    card = tmp_path / "mine.toml"
    show_fit(fit_and_write(tmp_path / "rows.csv", name="mine", out=card), card=card)
    assert "warning: the card does not describe these measurements well: " in capsys.readouterr().err
    assert (tmp_path / "mine.toml").exists()


def test_what_cannot_be_written_is_refused_before_the_fit(tmp_path):
    with pytest.raises(InputError, match=r"ends in \.toml"):
        fit_and_write(tmp_path / "gone.csv", name="mine", out=tmp_path / "mine.txt")
    with pytest.raises(InputError, match=r"\.png, \.svg or \.pdf"):
        fit_and_write(tmp_path / "gone.csv", name="mine", out=tmp_path / "mine.toml", plot=tmp_path / "mine.jpg")
    with pytest.raises(DataError, match="there is no file"):
        fit_and_write(tmp_path / "gone.csv", name="mine", out=tmp_path / "mine.toml")
    assert list(tmp_path.iterdir()) == []


def test_a_verification_prints_every_check(capsys):
    verification = verify_card("rram-milo2021", cells=300)
    assert verification.verified
    show_verification(verification)
    shown = capsys.readouterr().out
    assert shown.count("the standard deviation") == 7
    assert "rram-milo2021 verified at alpha = 0.01: 25 checks, smallest corrected p = " in shown


def test_a_failed_verification_names_its_checks(capsys, monkeypatch):
    right = states.programming_std
    monkeypatch.setattr(states, "programming_std", lambda card, state: right(card, state) * 1.2)
    verification = verify_card("rram-milo2021", cells=300)
    assert not verification.verified
    show_verification(verification)
    shown = capsys.readouterr().out
    assert "FAILED" in shown
    assert "rram-milo2021 NOT verified at alpha = 0.01: " in shown
    assert "the standard deviation of target 50 uS at 0 s: expected 4.327, observed 5." in shown
