"""`require` writes a report, numbers and a card that other commands take; mistakes are one sentence."""

import json
import re
import shlex

import pandas as pd
import pytest
import torch
from support.command_line import invoke

from aimc_robust import load_card
from aimc_robust.data.evaluation_images import load_evaluation_images
from aimc_robust.models.networks.small_cnn import SmallCNN

MODEL = ("--model", "small-cnn", "--option", "channels=2", "--option", "stages=1", "--data", "digits", "--images", "60")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    model = SmallCNN(in_channels=1, classes=10, channels=2, stages=1)
    ((inputs, labels),) = load_evaluation_images("digits").batches("test", 1000)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(400):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.save(model.state_dict(), path)
    return path


@pytest.mark.slow
def test_the_report_has_the_levels_of_the_numbers(weights, tmp_path):
    options = ["--drop", "8", "--yield", "0.5", "--chips", "6", "--jobs", "1", "--set", "rows=64", "--out", tmp_path]
    quantities = [word for name in ("programming", "read-noise", "adc-bits") for word in ("--quantity", name)]
    done = invoke("require", weights, *MODEL, *options, *quantities, "--device", "sonos-agrawal2022")
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "requirements.json").read_text())
    assert [row["quantity"] for row in numbers["quantities"]] == ["programming", "read-noise", "adc-bits", "together"]
    assert (numbers["chips"], numbers["required_yield"], numbers["drop"]) == (6, 0.5, 8.0)
    assert [row["device"] for row in numbers["devices"]] == ["sonos-agrawal2022"]
    page = (tmp_path / "requirements.md").read_text()
    assert f"{numbers['quantities'][2]['level']:.0f} bits" in page
    assert "arrays of 64 rows and 256 columns" in page
    assert "Drift is that of 1 d after" in page  # of the devices
    assert "for read noise that of" in page
    assert "for compensated drift" not in page
    assert "sonos-agrawal2022" in done.stdout
    card = load_card(tmp_path / "error-budget.toml")
    assert card.programming.stds[0] == pytest.approx(numbers["together"]["programming"][0][1])
    assert card.read.coefficients[0] == pytest.approx(numbers["together"]["read_noise"])


@pytest.mark.slow
def test_the_command_of_the_page_evaluates_the_budget(weights, tmp_path):
    options = ["--drop", 8, "--yield", 0.5, "--chips", 6, "--jobs", 1, "--set", "rows=64", "--out", tmp_path / "out"]
    options += ["--batch-size", 30]
    quantities = [word for name in ("read-noise", "adc-bits") for word in ("--quantity", name)]
    done = invoke("require", weights, *MODEL, *options, *quantities)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "requirements.md").read_text()
    (command,) = re.findall(r"aimc-robust evaluate.*?(?=\n```)", page, re.DOTALL)
    words = shlex.split(command.replace("\\\n", ""))
    assert "--batch-size" in words
    assert not {"--drop", "--quantity", "--jobs"} & set(words)
    done = invoke(*words[1:], "--jobs", 1)
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "out" / "requirements.json").read_text())
    chips = pd.read_csv(tmp_path / "out" / "evaluation" / "evaluations.csv")
    chips = chips[chips["target"] == "error-budget"]
    assert len(chips) == 6
    assert (chips["accuracy"] >= numbers["digital"] - 8.0).all()  # none of 6 may fail


BAD = {
    "percent": (["--drop", "1", "--yield", "95"], "0 to 1"),
    "no drop": (["--drop", "0"], "drop must be above 0"),
    "times": (["--drop", "1", "--time", "0,1d"], "for one time"),
    "compensation": (["--drop", "1", "--set", "compensation=['drift']"], "leave compensation"),
    "quantity": (["--drop", "1", "--quantity", "noise"], "'noise'"),
    "device": (["--drop", "1", "--device", "rram-wan2023"], "rram-wan2022"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_one_sentence(mistake, weights, tmp_path):
    options, words = BAD[mistake]
    done = invoke("require", weights, *MODEL, *options, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("error: ") == 1
    assert not (tmp_path / "out").exists()
