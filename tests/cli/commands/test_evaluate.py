"""The command `evaluate`: the example of its help, and every bad input as one line that says how to mend it."""

import argparse
import json
import os
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from support.nets import images, net

from aimc_robust.cli.app import main

MODULE = """
import torch
from torch import nn

def build(classes=7):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, classes),
    )

def confidence(outputs, labels):
    return outputs.softmax(1).max(1).values.mean()

def broken(outputs, labels):
    raise RuntimeError("no such\\nthing")

def text(outputs, labels):
    return "high"
"""


class Payload:
    """Unpickled, it would make a folder."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a module that builds the network, good files, and a bad one of each kind."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "desk_net.py").write_text(MODULE)
    state = net().state_dict()
    save_file(state, folder / "good.safetensors")
    save_file({f"module.{name}": value for name, value in state.items()}, folder / "wrapped.safetensors")
    unfit = {name: value for name, value in state.items() if name != "6.bias"} | {"8.extra": torch.ones(1)}
    save_file(unfit, folder / "unfit.safetensors")
    (folder / "payload.pkl").write_bytes(pickle.dumps(Payload()))
    torch.save({"state_dict": Payload()}, folder / "payload.pt")
    torch.save(net(), folder / "whole-model.pt")
    (folder / "noise.bin").write_bytes(bytes(range(256)))
    x = images(60)[:, 0].numpy()
    with torch.no_grad():
        y = net()(images(60)).argmax(1).numpy()
    far = y.copy()
    far[30] = 99
    arrays = {
        "good": (x, y),
        "far": (x, far),
        "negative": (x, y - 7),
        "colour": (np.stack([x] * 3, axis=-1), y),
        "small": (x[:, :4, :4], y),
        "text": (x.astype(str), y),
        "shares": (x, y.astype(float)),
        "few-labels": (x, y[:-1]),
        "empty": (x[:0], y[:0]),
        "nan": (np.where(x > 2, np.nan, x), y),
        "bytes": ((50 * np.abs(x)).astype(np.uint8), y),
    }
    for name, (inputs, labels) in arrays.items():
        np.savez(folder / f"{name}.npz", images=inputs, labels=labels)
    np.savez(folder / "other-names.npz", pictures=x, labels=y)
    np.savez(folder / "objects.npz", images=np.array([Payload(), None], dtype=object), labels=y)
    return folder


@pytest.fixture
def call(desk, monkeypatch, capsys):
    """Run the command line in this process, in the desk's folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(desk)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["aimc-robust", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        shown = capsys.readouterr()
        return stopped.value.code or 0, shown.out, shown.err

    yield call
    sys.modules.pop("desk_net", None)


CELLS = """
from aimc_robust import CellModel


class Cell(CellModel):
    name = "own-cell"
    unit = "uS"
    window = (1.0, 20.0)

    def programming_std(self, target):
        return 0.2 + 0.1 * target
"""


def command(tmp_path, *more, weights="good.safetensors", model="desk_net:build", data="npz:good.npz", device="ideal"):
    given = ["--model", model, "--data", data, "--device", device, "--out", tmp_path / "out", "--chips", 2, "--jobs", 1]
    return ["evaluate", weights, *given, *more]


def test_forward_passes_in_bf16_are_named_in_rows_and_report(call, tmp_path):
    quiet = command(tmp_path, "--set", "read_noise=false", device="rram-milo2021")
    code, _, err = call(*quiet, "--forward-precision", "bf16-mixed")
    assert code == 0, err
    table = pd.read_csv(tmp_path / "out" / "evaluations.csv")
    assert set(table["forward_precision"]) == {"bf16-mixed"}
    assert "forward_precision" not in pd.read_csv(tmp_path / "out" / "summary.csv")
    assert "bf16-mixed" in (tmp_path / "out" / "report.html").read_text()
    code, _, err = call(*quiet)
    assert code != 0
    assert "forward_precision" in err


def test_bf16_is_refused_before_anything_runs_where_reads_are_noisy(call, tmp_path):
    more = ["--set", "read_noise=true", "--forward-precision", "bf16-mixed"]
    code, _, err = call(*command(tmp_path, *more, device="pcm-nandakumar2019"))
    assert code != 0
    assert "read noise" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_example_of_the_issue_runs_to_its_report(call, tmp_path):
    devices = ["--device", "rram-milo2021", "--device", "sonos-agrawal2022", "--times", "0,1h,1d,5d"]
    given = ["--model", "desk_net:build", "--data", "npz:good.npz", "--chips", 3, "--out", tmp_path / "out"]
    extra = ["--metric", "desk_net:confidence", "--threshold", 90, "--jobs", 1]
    code, out, err = call("evaluate", "good.safetensors", *given, *devices, *extra)
    assert code == 0
    assert err == "note: rram-milo2021 has a card without drift: it is evaluated once, not at 1h, 1d, 5d too.\n"
    table = pd.read_csv(tmp_path / "out" / "evaluations.csv")
    targets = ["digital", "rram-milo2021", "sonos-agrawal2022", *(f"sonos-agrawal2022-{t}" for t in ("1h", "1d", "5d"))]
    assert list(dict.fromkeys(table["target"])) == targets
    assert table.groupby("target", sort=False).size().tolist() == [1, 3, 3, 3, 3, 3]
    assert table.loc[0, "accuracy"] == 100.0
    lines = out.splitlines()
    assert lines[0].startswith("1 model on 6 targets. ")
    assert lines[-1] == f"report: {tmp_path / 'out' / 'report.html'}"
    summary = pd.read_csv(tmp_path / "out" / "summary.csv").set_index("target")
    assert summary["confidence"].between(0, 1).all()
    for target, row in summary.iterrows():
        (line,) = [line for line in lines if line.split()[:2] == ["good", target]]
        for value in (row["mean"], row["reached_by_95"], row["worst"]):
            assert f"{value:.2f}" in line
        assert f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}]" in line or target == "digital"
    code, out, _ = call("report", tmp_path / "out")
    assert (code, out) == (0, f"report: {tmp_path / 'out' / 'report.html'}\n")


def test_a_precision_that_is_not_reached_and_a_yield_without_chips_are_said(call, tmp_path):
    given = ["--precision", 0.01, "--chips", 3, "--threshold", 90]
    code, out, err = call(*command(tmp_path, *given, device="gaussian-0.8"))
    assert (code, err) == (0, "")
    reached = pd.read_csv(tmp_path / "out" / "summary.csv").set_index("target").loc["gaussian-0.8", "half_width"]
    assert f"note: good-seed0 on gaussian-0.8: ±{reached:.2g} points with 3 chips; ±0.01 needs " in out
    lines = {line.split()[1]: line for line in out.splitlines() if line.startswith("good ")}
    assert lines["gaussian-0.8"].rstrip().endswith(f"3, only ±{reached:.2g}")
    assert "100 –" in lines["digital"]


def test_a_cell_model_in_python_is_a_device(call, tmp_path):
    Path("desk_cells.py").write_text(CELLS)
    code, _, err = call(*command(tmp_path, device="desk_cells:Cell"))
    assert (code, err) == (0, "")
    table = pd.read_csv(tmp_path / "out" / "evaluations.csv")
    assert table["target"].tolist() == ["digital", "own-cell", "own-cell"]
    (target,) = json.loads((tmp_path / "out" / "question.json").read_text())["targets"]
    assert target["device"] == "desk_cells:Cell"
    assert list(target["code_digests"]) == ["desk_cells:Cell"]
    assert "Cell model in Python: desk_cells.Cell" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("named", [True, False])
def test_a_checkpoint_of_a_comparison_is_deployed_with_its_model_and_data(call, finished_comparison, tmp_path, named):
    runs = [
        (label, finished_comparison / "runs" / f"{label}-seed{seed}") for label in ("sgd", "m-rwp") for seed in (0, 1)
    ]
    checkpoints = [f"{f'{label}=' if named else ''}{folder / 'checkpoint.safetensors'}" for label, folder in runs]
    model = ["--model", "small-cnn", "--option", "channels=4", "--option", "stages=2", "--data", "digits"]
    given = ["--device", "gaussian-0.2", "--chips", 2, "--jobs", 1, "--out", tmp_path / "out"]
    code, out, err = call("evaluate", *checkpoints, *model, *given)
    assert (code, err) == (0, "")
    summary = pd.read_csv(tmp_path / "out" / "summary.csv")
    assert summary["models"].tolist() == [2] * 4
    trials = ["m-rwp-seed0", "m-rwp-seed1", "sgd-seed0", "sgd-seed1"]
    assert sorted(path.name for path in (tmp_path / "out" / "runs").iterdir()) == trials
    assert summary.loc[summary["target"] == "digital", "mean"].min() > 50.0  # trained, and normalised as in training
    assert "sd_seed" in out
    assert "2 x 2" in out


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-10])])
def test_weights_that_a_comparison_lost_are_trained_again_by_the_advice(damage, call, run, comparison_copy, write_spec):
    weights = comparison_copy / "runs" / "sgd-seed0" / "checkpoint.safetensors"
    trained = weights.read_bytes()
    damage(weights)
    done = call("evaluate", weights, "--model", "small-cnn", "--data", "digits", "--device", "rram-wan2022")
    assert done[0] == 2
    assert f"delete the folder {weights.parent}" in done[2]
    shutil.rmtree(weights.parent)
    run(write_spec(), comparison_copy)
    assert weights.read_bytes() == trained


def test_whole_weights_of_a_comparison_are_not_to_be_deleted(call, finished_comparison):
    weights = finished_comparison / "runs" / "sgd-seed0" / "checkpoint.safetensors"
    given = ["--model", "small-cnn", "--data", "digits", "--device", "rram-wan2022", "--prefix", "none."]
    code, _, err = call("evaluate", weights, *given)
    assert code == 2
    assert "none." in err
    assert "delete" not in err


def test_how_weights_were_read_is_said(call, tmp_path):
    code, out, _ = call(*command(tmp_path, weights="wrapped.safetensors"))
    assert code == 0
    (note,) = [line for line in out.splitlines() if line.startswith("note: wrapped.safetensors: ")]
    assert "'module.'" in note


def test_averages_of_a_timm_checkpoint_are_other_weights_than_its_raw_ones(call, desk, tmp_path):
    good = net().state_dict()
    raw = {name: -value if value.ndim > 1 else value for name, value in good.items()}
    held = {"state_dict": raw, "args": argparse.Namespace(lr=0.1), "epoch": 3}
    torch.save(held | {"state_dict_ema": good}, desk / "last.pth.tar")
    arguments = command(tmp_path, weights="timm=last.pth.tar")
    code, out, _ = call(*arguments)
    assert code == 0
    assert "'state_dict_ema' (choose by --key state_dict_ema)." in out
    code, _, err = call(*arguments, "--key", "state_dict_ema")
    assert code == 2  # its rows would be mixed with those of the raw weights
    assert "models" in err
    arguments[arguments.index("--out") + 1] = tmp_path / "ema"
    code, out, _ = call(*arguments, "--key", "state_dict_ema")
    assert code == 0
    assert "timm-seed0 on digital: 100.00 %" in out
    assert json.loads((tmp_path / "ema" / "question.json").read_text())["selection"]["key"] == "state_dict_ema"
    page = (tmp_path / "ema" / "report.md").read_text()
    assert "`--key state_dict_ema`" in page
    assert "read the weights under 'state_dict_ema'" in page


@pytest.mark.slow
def test_extra_names_of_lightning_and_shards_of_hugging_face(call, desk, tmp_path):
    good = net().state_dict()
    torch.save({"state_dict": {f"net.{n}": v for n, v in good.items()} | {"loss.w": torch.ones(7)}}, desk / "pl.ckpt")
    code, _, err = call(*command(tmp_path, weights="pl.ckpt"))
    assert code == 2
    assert "The names fit with --prefix 'net.'" in err
    (desk / "sharded").mkdir()
    shards = {"m-1-of-2.safetensors": list(good)[:3], "m-2-of-2.safetensors": list(good)[3:]}
    for shard, names in shards.items():
        save_file({name: good[name] for name in names}, desk / "sharded" / shard)
    weight_map = {name: shard for shard, names in shards.items() for name in names}
    (desk / "sharded" / "m.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    for file, *options in [("pl.ckpt", "--prefix", "net."), ("pl.ckpt", "--ignore", "loss.*"), ("sharded",)]:
        code, out, _ = call(*command(tmp_path / "-".join([file, *options[:1]]), *options, weights=f"m={file}"))
        assert code == 0
        assert "m-seed0 on digital: 100.00 %" in out
    (desk / "sharded" / "m-2-of-2.safetensors").unlink()
    code, _, err = call(*command(tmp_path, weights="sharded"))
    assert code == 2
    assert err.count("\n") == 1
    assert "m-2-of-2.safetensors" in err


BAD = {
    "weights that do not fit": ({"weights": "unfit.safetensors"}, (), ["6.bias", "8.extra"]),
    "a model of other outputs": ({}, ("--option", "classes=9"), ["good.safetensors", "6.weight"]),
    "no weights": ({"weights": "gone.safetensors"}, (), ["gone.safetensors"]),
    "a pickle": ({"weights": "payload.pkl"}, (), ["safetensors.torch.save_file"]),
    "a pickle of torch": ({"weights": "payload.pt"}, (), ["safetensors.torch.save_file"]),
    "a pickled model": ({"weights": "whole-model.pt"}, (), ["safetensors.torch.save_file"]),
    "no weights at all": ({"weights": "noise.bin"}, (), ["noise.bin"]),
    "a key of a plain file": ({}, ("--key", "ema"), ["good.safetensors", "--key"]),
    "a prefix of no name": ({}, ("--prefix", "net."), ["good.safetensors", "--prefix 'net.'", "its names are"]),
    "nothing left": ({}, ("--ignore", "*"), ["good.safetensors", "--ignore"]),
    "a folder of several weights": ({"weights": "."}, (), ["several weights"]),
    "the same weights twice": ({}, ("good.safetensors",), ["good.safetensors"]),
    "a label far out": ({"data": "npz:far.npz"}, (), ["0 to 99"]),
    "a label beyond the classes": ({"data": "npz:far.npz"}, ("--classes", 7), ["99", "7 outputs"]),
    "a negative label": ({"data": "npz:negative.npz"}, (), ["label -7"]),
    "images in colour": ({"data": "npz:colour.npz"}, (), ["(3, 6, 6)"]),
    "images too small": ({"data": "npz:small.npz"}, (), ["(1, 4, 4)"]),
    "images of text": ({"data": "npz:text.npz"}, (), ["<U"]),
    "images with NaN": ({"data": "npz:nan.npz"}, (), ["NaN"]),
    "labels that are shares": ({"data": "npz:shares.npz"}, (), ["float64"]),
    "labels that are too few": ({"data": "npz:few-labels.npz"}, (), ["(60)"]),
    "no images": ({"data": "npz:empty.npz"}, (), ["(0, 6, 6, 1)"]),
    "other arrays": ({"data": "npz:other-names.npz"}, (), ["images", "pictures"]),
    "pickled arrays": ({"data": "npz:objects.npz"}, (), ["objects.npz"]),
    "bytes without a normalisation": ({"data": "npz:bytes.npz"}, (), ["--normalize"]),
    "no data file": ({"data": "npz:gone.npz"}, (), ["gone.npz"]),
    "unknown data": ({"data": "cifar"}, (), ["npz:FILE"]),
    "more images than there are": ({}, ("--images", 61), ["--images", "60", "61"]),
    "unknown device": ({"device": "rram-milo"}, (), ["'rram-milo2021'"]),
    "no card": ({"device": "mine.toml"}, (), ["mine.toml"]),
    "unknown model": ({"model": "resnets"}, (), ["'resnet'"]),
    "no module": ({"model": "desk_nets:build"}, (), ["desk_nets"]),
    "no function": ({"model": "desk_net:make"}, (), ["make"]),
    "an option of the model": ({}, ("--option", "depth=3"), ["depth"]),
    "a metric that raises": ({}, ("--metric", "desk_net:broken"), ["'broken'", "RuntimeError: no such thing."]),
    "a metric of text": ({}, ("--metric", "desk_net:text"), ["'text'", "ValueError"]),
    "no metric's module": ({}, ("--metric", "desk_nets:broken"), ["desk_nets"]),
    "no metric's function": ({}, ("--metric", "desk_net:recall"), ["recall"]),
    "a metric without a module": ({}, ("--metric", "recall"), ["unknown metric 'recall'", "package.module:function"]),
    "a metric called as another column": ({}, ("--metric", "desk_net:mean"), ["'mean'", "another column"]),
    "two metrics of one name": ({}, ("--metric", "desk_net:text") * 2, ["'text'"]),
    "bad times": ({}, ("--times", "0,1h,soon"), ["got 'soon'"]),
    "a setting without value": ({}, ("--set", "rows"), ["KEY=VALUE"]),
    "an unknown key": ({}, ("--set", "adc.bit=8"), ["'bits'"]),
    "a value that cannot be": ({}, ("--set", "rows=many"), ["rows"]),
    "a precision of 0": ({}, ("--precision", 0), ["half-width above 0"]),
    "a precision of one chip": ({}, ("--precision", 1, "--chips", 1), ["at least 2 chips"]),
    "an accelerator that is not there": ({}, ("--accelerator", "tpu"), ["'tpu'", "use auto or cpu"]),
    "a yield of nothing": ({}, ("--threshold", "nan"), ["threshold"]),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_bad_input_is_one_line_and_nothing_is_written(mistake, call, desk, tmp_path):
    changes, more, words = BAD[mistake]
    code, out, err = call(*command(tmp_path, *more, **changes))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert not (tmp_path / "out").exists()
    assert not (desk / "executed").exists()


def test_a_missing_option_is_named(call):
    code, out, err = call("evaluate", "good.safetensors")
    assert (code, out) == (2, "")
    assert "--model" in err
    assert "Traceback" not in err


def test_the_payload_would_run_if_it_were_unpickled(desk, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    pickle.loads((desk / "payload.pkl").read_bytes())  # the control of the test above
    assert (tmp_path / "executed").is_dir()


def test_a_folder_that_cannot_be_written_is_one_line(call, tmp_path):
    (tmp_path / "out").write_text("a file")
    code, _, err = call(*command(tmp_path))
    assert code == 2
    assert err.count("\n") == 1
    assert "give --out another folder" in err


def test_what_was_not_foreseen_is_one_line_with_the_way_to_more(call, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise LookupError("deep\ndown")

    monkeypatch.setattr("aimc_robust.experiments.evaluate.run.evaluate_models", fails)
    code, out, err = call(*command(tmp_path))
    assert (code, out) == (1, "")
    assert err.startswith("error: LookupError: deep down. ")
    assert "--debug" in err
    assert err.count("\n") == 1
    for arguments in (["--debug", *command(tmp_path)], command(tmp_path, "--debug")):
        monkeypatch.setattr(sys, "argv", ["aimc-robust", *map(str, arguments)])
        with pytest.raises(LookupError, match="deep") as raised:
            main()
        assert raised.traceback[-1].name == "fails"  # the traceback leads to where it happened
    assert call(*command(tmp_path))[0] == 1  # and --debug holds for that command alone


def test_a_user_who_stops_it_learns_that_the_same_command_goes_on(call, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("aimc_robust.experiments.results.evaluation.EvaluationResults.add_evaluations", stopped)
    code, _, err = call(*command(tmp_path))
    assert (code, err) == (130, "Interrupted. Run the same command again to continue.\n")
