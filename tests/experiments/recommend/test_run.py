"""From a device and a spec to a proposal that a sweep has judged: measured, trained, and kept, once."""

import html
import json
import re
import sys
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from support.fixtures.report import figures_as_stubs

from aimc_robust.cli.app import main
from aimc_robust.data.batches import split_batches
from aimc_robust.evaluation.equivalent_noise import equivalent_sigma, layer_errors
from aimc_robust.experiments.recommend.proposal import propose
from aimc_robust.experiments.recommend.verdict import judge
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.models.checkpoint import read_checkpoint
from aimc_robust.models.registry import build_model
from aimc_robust.report.recommendation.page import write_recommendation

DEVICE = "rram-wan2022"
CARD = Path(__file__).parents[3] / "device_models" / f"{DEVICE}.toml"
SHORT = ["--epochs", 1, "--seeds", 1, "--chips", 2, "--jobs", 1]


class Text(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.text = ""
        self.feed(page)

    def handle_data(self, data):
        self.text += data


def call(capsys, *arguments):
    """Run the command line in this process: (exit code, stdout, stderr)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["aimc-robust", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
    shown = capsys.readouterr()
    return stopped.value.code or 0, shown.out, shown.err


@pytest.fixture(scope="module")
def spec_file(tmp_path_factory, tiny):
    path = tmp_path_factory.mktemp("advice") / "spec.toml"
    path.write_text(tiny)
    return path


@pytest.fixture(scope="module")
def recommendation(spec_file):
    """The folder of finished advice, and what the command printed."""
    folder = spec_file.parent / "out"
    with pytest.MonkeyPatch.context() as patch, figures_as_stubs():
        arguments = ["recommend", "--spec", spec_file, "--device", DEVICE, "--out", folder, *SHORT]
        patch.setattr(sys, "argv", ["aimc-robust", *map(str, arguments)])
        lines = []
        patch.setattr("rich.console.Console.print", lambda self, *values, **_: lines.extend(map(str, values)))
        with pytest.raises(SystemExit) as stopped:
            main()
    assert not stopped.value.code
    return folder, "\n".join(lines)


@pytest.mark.slow
def test_the_measurement_is_that_of_the_trained_baseline_on_validation_images(recommendation, spec_file):
    from aimc_robust.data.loading import load_data

    folder, _ = recommendation
    measured, spec = json.loads((folder / "measurement.json").read_text()), load_spec(spec_file)
    data = load_data(spec.data, data_seed=spec.data_seed, folder=folder)
    model = build_model(spec.model, data, seed=0)
    model.load_state_dict(read_checkpoint(folder / "baseline" / "runs" / "sgd-seed0" / "checkpoint.safetensors")[0])
    model.eval()
    layers = layer_errors(model, Crossbar(DEVICE))
    pd.testing.assert_frame_equal(pd.DataFrame(measured["layers"]), layers, check_exact=False, rtol=1e-9)
    found = equivalent_sigma(
        model, split_batches(data.validation, 500), Crossbar(DEVICE), chips=20, chip_seed=0, jobs=1
    )
    assert (measured["sigma"], measured["rms"], measured["identified"]) == (found.sigma, found.rms, found.identified)
    assert (measured["device"], measured["digital"]) == (found.device.mean, found.digital)
    assert measured["examples"] == len(data.validation[1])


def test_the_proposal_follows_from_the_measurement_and_the_verdict_from_the_sweep(recommendation):
    folder, out = recommendation
    measured, written = (json.loads((folder / f"{name}.json").read_text()) for name in ("measurement", "advice"))
    proposal = propose(measured["sigma"], identified=measured["identified"])
    assert written["proposal"]["label"] == proposal.label
    assert written["proposal"]["settings"] == proposal.settings
    store = ComparisonResults.open(folder / "sweep")
    verdict = judge(proposal.label, "sgd", DEVICE, store.estimates())
    assert (written["verdict"]["word"], written["verdict"]["sentence"]) == (verdict.judgement, verdict.sentence)
    assert [row["second_model"] for row in written["verdict"]["comparisons"]] == list(proposal.questions)
    assert store.spec.labels == list(proposal.methods)
    for words in (f"proposal: {proposal.label}", f"{verdict.judgement}: {verdict.sentence}", *proposal.reasons):
        assert words in out
    assert f"report: {folder / 'advice.html'}" not in out  # it is the last line, which is not rich's


def test_the_sweep_has_the_same_baseline_not_another_one(recommendation):
    folder, _ = recommendation
    baseline, sweep = (folder / name / "runs" / "sgd-seed0" for name in ("baseline", "sweep"))
    for name in ("checkpoint.safetensors", "history.jsonl"):
        assert (sweep / name).read_bytes() == (baseline / name).read_bytes()
    assert not list(folder.glob("sweep/runs/.*"))


def test_the_spec_of_the_sweep_asks_the_same_question_again(recommendation):
    folder, _ = recommendation
    again = load_spec(folder / "sweep" / "spec.toml")
    assert again == ComparisonResults.open(folder / "sweep").spec
    text = tomllib.loads((folder / "sweep" / "spec.toml").read_text())
    assert (text["chips"], text["train_seeds"], text["training"]["epochs"]) == (2, [0], 1)


def test_the_page_says_what_was_measured_proposed_and_judged(recommendation):
    folder, _ = recommendation
    page = (folder / "advice.html").read_text()
    measured, written = (json.loads((folder / f"{name}.json").read_text()) for name in ("measurement", "advice"))
    text = " ".join(Text(page).text.split())
    for row in measured["layers"]:
        assert re.search(rf"{re.escape(row['layer'])}\s*{row['weights']:,}", text)
        assert f"{row['std_layer_max']:.3g}" in text
        assert f"{row['rms_filter_max']:.3g}" in text
    for row in written["verdict"]["comparisons"]:
        assert f"{row['difference']:z.2f}" in text
        if row["ci_low"] is not None:
            assert f"[{row['ci_low']:z.2f}, {row['ci_high']:z.2f}]" in text
    assert written["verdict"]["sentence"] in text
    label, settings = written["proposal"]["label"], written["proposal"]["settings"]
    (block,) = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)
    assert tomllib.loads(html.unescape(block)) == {"methods": {label: settings}}  # to be put into a spec as it stands
    assert f"{measured['device']:.2f} %" in text
    for forbidden in ("src=", "@import", "<link"):
        assert forbidden not in page
    assert page.count("<script") == 1  # that which sorts tables, in the page
    assert not {"nan", "None"} & set(text.split())
    assert '<svg role="img" ' in page
    assert (folder / "sweep" / "report.html").is_file()  # which the page links to


def test_the_same_command_trains_and_measures_nothing_again(recommendation, spec_file, capsys, monkeypatch):
    folder, _ = recommendation
    kept = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"]
    before, runs = {path: path.read_bytes() for path in kept}, [path for path in kept if "runs" in path.parts]
    written = {path: path.stat().st_mtime_ns for path in runs}
    module = sys.modules["aimc_robust.experiments.recommend.measurement"]
    monkeypatch.setattr(module, "equivalent_sigma", lambda *_, **__: pytest.fail("measured again"))
    arguments = ["recommend", "--spec", spec_file, "--device", DEVICE, "--out", folder, *SHORT]
    code, out, err = call(capsys, *arguments)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"report: {folder / 'advice.html'}"
    assert {path: path.read_bytes() for path in kept} == before
    assert {path: path.stat().st_mtime_ns for path in runs} == written
    assert len([path for path in runs if path.name == "checkpoint.safetensors"]) == 1 + 7


@pytest.mark.parametrize(
    "change", [["--device", "rram-milo2021"], ["--epochs", 2], ["--time", "1h", "--device", "pcm-joshi2020"]]
)
def test_another_question_in_the_same_folder_is_refused(recommendation, spec_file, capsys, change):
    folder, _ = recommendation
    before = (folder / "measurement.json").read_bytes()
    arguments = ["recommend", "--spec", spec_file, "--device", DEVICE, "--out", folder, *SHORT, *change]
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: {folder} holds the recommendation of another question")
    assert all(line.startswith("note: ") for line in err.splitlines()[:-1])  # that this card has no drift
    assert (folder / "measurement.json").read_bytes() == before


def test_weights_that_are_given_are_measured_and_not_trained(finished_comparison, spec_file, tmp_path, capsys):
    weights = finished_comparison / "runs" / "sgd-seed0" / "checkpoint.safetensors"
    given = ["recommend", "--spec", spec_file, "--device", DEVICE, "--out", tmp_path / "out", "--jobs", 1]
    code, out, err = call(capsys, *given, "--weights", weights, "--no-sweep")
    assert (code, err) == (0, "")
    assert f"measuring the errors of {DEVICE} on {weights}" in out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        *(f"advice.{kind}" for kind in ("html", "json", "md")),
        "measurement.json",
    ]
    measured = json.loads((tmp_path / "out" / "measurement.json").read_text())
    assert measured["identified"]
    assert measured["low"] <= measured["sigma"] <= measured["high"]
    assert json.loads((tmp_path / "out" / "advice.json").read_text())["verdict"] is None
    assert "Gaussian noise of sigma = " in out
    assert "**" not in out
    assert "Confirmation by a sweep" not in (tmp_path / "out" / "advice.html").read_text()
    other = finished_comparison / "runs" / "sgd-seed1" / "checkpoint.safetensors"
    code, _, err = call(capsys, *given, "--weights", other, "--no-sweep")
    assert code == 2
    assert "another question" in err


def test_options_choose_among_weights_and_are_part_of_the_question(finished_comparison, spec_file, tmp_path, capsys):
    raw, ema = (
        load_file(finished_comparison / "runs" / f"sgd-seed{seed}" / "checkpoint.safetensors") for seed in (0, 1)
    )
    torch.save({"state_dict": raw, "ema": {f"net.{name}": value for name, value in ema.items()}}, tmp_path / "x.pt")
    given = ["recommend", "--spec", spec_file, "--device", DEVICE, "--out", tmp_path / "out", "--jobs", 1, "--no-sweep"]
    code, out, _ = call(capsys, *given, "--weights", tmp_path / "x.pt")
    assert code == 0
    assert "choose by --key ema" in out
    code, _, err = call(capsys, *given, "--weights", tmp_path / "x.pt", "--key", "ema", "--prefix", "net.")
    assert code == 2
    assert "another question" in err
    code, _, err = call(capsys, *given, "--key", "ema")
    assert code == 2
    assert "--key ema choose among the weights of a file; give --weights" in err


TABLE_SPEC = """name = "table"
train_seeds = [0]
chips = 2
targets = ["digital"]
task = {{ kind = "{task}" }}
data = {{ name = "{data}" }}
model = {{ name = "mlp", options = {{ hidden = [8] }} }}
training = {{ epochs = 2, batch_size = 10 }}
methods.sgd = {{}}
"""
TABLE = "x,z,y\n" + "".join(f"{i % 7},{i % 5},{(i % 7) - 0.5 * (i % 5)}\n" for i in range(60))
CODE = """import torch


def data(split):
    inputs = torch.arange(60.0).view(30, 2) % 7
    return inputs, inputs.sum(1)


def net():
    return torch.nn.Linear(2, 1)


from aimc_robust.tasks.regression import Regression as Base


class Task(Base):
    pass
"""


@pytest.mark.parametrize("changed", ["table", "data function", "task", "network", "card"])
def test_data_code_or_a_card_that_changed_since_is_another_question(changed, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table, code, card = tmp_path / "t.csv", tmp_path / f"advice_{changed.replace(' ', '_')}.py", tmp_path / "card.toml"
    table.write_text(TABLE)
    code.write_text(CODE)
    card.write_text(CARD.read_text())
    spec = TABLE_SPEC.format(
        task=f"{code.stem}:Task" if changed == "task" else "regression",
        data=f"{code.stem}:data" if changed == "data function" else "csv:t.csv",
    )
    if changed == "network":
        spec = spec.replace('name = "mlp", options = { hidden = [8] }', f'name = "{code.stem}:net"')
    (tmp_path / "spec.toml").write_text(spec)
    given = ["recommend", "--spec", "spec.toml", "--device", card, "--out", "out", "--jobs", 1, "--no-sweep"]
    for _ in range(2):
        found, _, err = call(capsys, *given)
        assert (found, err) == (0, "")
    before = (tmp_path / "out" / "measurement.json").read_bytes()
    if changed == "table":
        table.write_text(TABLE.replace("\n6,", "\n9,"))
    elif changed == "card":
        card.write_text(card.read_text().replace("0.0001536", "0.0001537"))
    else:
        code.write_text(CODE + "# changed\n")
    found, _, err = call(capsys, *given)
    assert found == 2
    assert err.startswith("error: out holds the recommendation of another question: ")
    assert (tmp_path / "out" / "measurement.json").read_bytes() == before


BAD = {
    "unknown device": (["--device", "rram-wan"], "'rram-wan2022'"),
    "a noise": (["--device", "gaussian-0.1"], "'gaussian-0.1'"),
    "digital weights": (["--device", "digital"], "--device"),
    "two times": (["--device", "pcm-joshi2020", "--time", "0,1h"], "--time"),
    "no spec": (["--device", DEVICE, "--spec", "gone.toml"], "gone.toml"),
    "no weights": (["--device", DEVICE, "--weights", "gone.pt"], "gone.pt"),
    "bad setting": (["--device", DEVICE, "--set", "rows"], "KEY=VALUE"),
    "no such layer": (["--device", DEVICE, "--layer", "conv1=digital"], "no layer of the model matches the pattern"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_bad_input_is_one_line_and_nothing_is_written(mistake, spec_file, tmp_path, capsys):
    more, words = BAD[mistake]
    code, out, err = call(capsys, "recommend", "--spec", spec_file, "--out", tmp_path / "out", *more)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
    assert not (tmp_path / "out").exists()


def test_a_device_without_error_needs_no_advice(finished_comparison, spec_file, tmp_path, capsys):
    weights = finished_comparison / "runs" / "sgd-seed0" / "checkpoint.safetensors"
    given = ["--out", tmp_path / "out", "--jobs", 1, "--weights", weights]
    code, _, err = call(capsys, "recommend", "--spec", spec_file, "--device", "ideal", *given)
    assert code == 2
    assert err.count("\n") == 1
    assert "a device without errors needs no robust training" in err


@pytest.mark.parametrize("way", ["fold = false", 'backend = "crosssim"'])
def test_advice_is_for_a_device_as_it_is(spec_file, tmp_path, capsys, way):
    device = f'{{device = "{DEVICE}", {way}}}'
    code, _, err = call(capsys, "recommend", "--spec", spec_file, "--device", device, "--out", tmp_path / "out", *SHORT)
    assert code == 2
    assert "native backend with folded BatchNorms" in err
    assert not (tmp_path / "out").exists()


def test_the_device_is_measured_and_judged_with_its_compensation(finished_comparison, spec_file, tmp_path, monkeypatch):
    from aimc_robust.data.loading import load_data
    from aimc_robust.experiments.recommend import measurement, run

    monkeypatch.setattr(measurement, "CHIPS", 3)
    monkeypatch.setattr(run, "compare", lambda spec, *_, **__: pytest.fail(f"no sweep: {spec.name}"))
    weights = finished_comparison / "runs" / "sgd-seed0" / "checkpoint.safetensors"
    spec = load_spec(spec_file)
    target = {"name": "pcm", "device": "pcm-nandakumar2019", "time_s": 1e6, "rows": 64}
    found = {
        kinds: run.recommend(
            spec,
            target | {"compensation": list(kinds)},
            tmp_path / "-".join(kinds),
            weights=weights,
            sweep=False,
            jobs=1,
        )
        for kinds in ((), ("drift",))
    }
    compensated = found["drift",]
    assert compensated.target == "pcm-drift"
    data = load_data(spec.data, data_seed=spec.data_seed, folder=tmp_path)
    model = build_model(spec.model, data, seed=0)
    model.load_state_dict(read_checkpoint(weights)[0])
    for kinds, advice in found.items():
        expected = equivalent_sigma(
            model.eval(),
            split_batches(data.validation, 500),
            Crossbar("pcm-nandakumar2019", rows=64),
            chips=3,
            time_s=1e6,
            deployment=Deployment(compensation=kinds),
            jobs=1,
        )
        assert advice.measurement["device"] == expected.device.mean
        assert advice.measurement["sigma"] == expected.sigma
    assert found[()].measurement["device"] != compensated.measurement["device"]
    assert compensated.measurement["arrays"]["method"]["drift_compensation"] is True
    assert "drift_compensation" not in found[()].measurement["arrays"]["method"]
    assert compensated.proposal.methods.keys() >= {"sgd"}
    write_recommendation(compensated)
    assert "before compensation" in (compensated.folder / "advice.md").read_text()


def test_the_sweep_is_judged_on_the_compensated_target(finished_comparison, spec_file, tmp_path, monkeypatch):
    from aimc_robust.experiments.recommend import measurement, run

    judged = []
    monkeypatch.setattr(measurement, "CHIPS", 2)
    monkeypatch.setattr(run, "judge", lambda proposal, baseline, target, estimates: judged.append((target, estimates)))
    proposed = propose(0.1)
    few = {name: proposed.methods[name] for name in ("sgd", proposed.label)}
    monkeypatch.setattr(run, "propose", lambda *_, **__: replace(proposed, methods=few))
    weights = finished_comparison / "runs" / "sgd-seed0" / "checkpoint.safetensors"
    target = {"device": "pcm-nandakumar2019", "time_s": 1e6, "compensation": ["drift"], "read_noise": False}
    options = {"seeds": 1, "epochs": 1, "chips": 2, "jobs": 1}
    run.recommend(load_spec(spec_file), target, tmp_path, weights=weights, **options)
    ((name, estimates),) = judged
    assert name.endswith("-drift")
    assert ("sgd", name) in estimates


def test_a_share_in_place_of_a_percentage_is_told_before_anything_is_trained(spec_file, tmp_path, capsys):
    arguments = ["--spec", spec_file, "--device", DEVICE, "--out", tmp_path / "out", "--keep-digital", "0.96"]
    code, _, err = call(capsys, "recommend", *arguments)
    assert code == 2
    assert "is in percent: write 96, not 0.96." in err
    assert not (tmp_path / "out").exists()
