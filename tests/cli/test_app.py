"""The command line as a user meets it: in a process of its own where the process is what is tested."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import user_models
from support.command_line import invoke, run_process
from typer.main import get_command

import aimc_robust
from aimc_robust.cli.app import app
from aimc_robust.devices.library import card_names

COMMANDS = tuple(get_command(app).commands)


def test_version():
    assert run_process("--version").stdout == f"aimc-robust {aimc_robust.__version__}\n"


@pytest.mark.parametrize("command", [(), *[(c,) for c in COMMANDS]])
def test_every_help_has_an_example(command):
    done = invoke(*command, "--help")
    assert done.returncode == 0
    assert "Example: aimc-robust" in done.stdout


def test_options_that_hold_for_any_task_speak_of_neither_images_nor_accuracy_alone():
    options = {option.name: option.help for option in get_command(app).commands["evaluate"].params}
    for name in ("batch_size", "images", "chips", "metric", "attribute", "predict"):
        assert "image" not in options[name].lower().replace("--images", "")
    for name in ("precision", "threshold"):
        assert re.search(r"in the unit of the metric, such as .* accuracy\.$", options[name])


def test_help_and_the_list_of_devices_do_not_load_torch():
    for arguments in (["--help"], ["evaluate", "--help"], ["recommend", "--help"], ["devices"]):
        code = f"import sys; sys.argv = ['aimc-robust', *{arguments!r}]\nfrom aimc_robust.cli.app import main\n"
        code += "try:\n    main()\nexcept SystemExit:\n    pass\nprint('loaded:', 'torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert done.stdout.endswith("loaded: False\n"), done.stdout + done.stderr


def test_devices_lists_every_card_and_shows_each_with_source_and_curve():
    listed = invoke("devices").stdout
    for name in card_names():
        assert name in listed
    shown = invoke("devices", "pcm-joshi2020").stdout
    for word in ("10.1038/s41467-020-16108-9", "Fig. 3b", "0.25 to 25 uS", "█"):
        assert word in shown
    # the error at the end of the window, from the card's coefficients
    assert f"{0.28638599 + 0.07585724 * 25 - 0.00178767 * 625:.4g}" in shown


@pytest.mark.parametrize("command", ["evaluate", "require", "recommend"])
@pytest.mark.parametrize(
    ("option", "proposal"),
    [
        ("--compensation", "--set compensation=VALUE"),
        ("--adc.bits", "--set adc.bits=VALUE"),
        ("--bias-rows", "--set bias_rows=VALUE"),
        ("--devic", "--device"),
    ],
)
def test_an_unknown_option_that_describes_a_crossbar_is_a_key_of_set(command, option, proposal):
    done = invoke(command, "model.pt", option, "8")
    assert done.returncode == 2
    assert proposal in " ".join(done.stderr.split())


MISTAKES = {
    "unknown device": (["devices", "rram-milo"], "'rram-milo2021'"),
    "missing spec": (["compare", "nothing.toml"], "nothing.toml"),
    "no comparison": (["report", "."], "comparison"),
    # Told before the spec is read, so also where its answer is there already.
    "part": (["compare", "nothing.toml", "--part", "4/3"], "--part"),
    "engine": (["compare", "nothing.toml", "--engine", "slurm"], "'slurm'"),
    "jobs on ray": (
        ["compare", "nothing.toml", "--engine", "ray", "--jobs", "2"],
        "--jobs",
    ),
    "threads on ray": (["compare", "nothing.toml", "--engine", "ray", "--threads", "1"], "--threads"),
    "ray's options": (["compare", "nothing.toml", "--gpus", "1"], "--engine ray"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(mistake, tmp_path):
    arguments, words = MISTAKES[mistake]
    done = invoke(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert words in done.stderr


def test_several_errors_of_a_spec_have_a_line_each(write_spec, tmp_path):
    path = write_spec(
        ("epochs = 3", 'epochs = "3"'), ("chips = 3", "chips = 0"), ("[methods.m-rwp]", "[methods.m-rwp]\nx = 1")
    )
    done = invoke("plan", path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    first, *lines = done.stderr.splitlines()
    assert first == f"error: {path}: 3 errors:"
    assert [line.split(":")[0] for line in lines] == ["- chips", "- training.epochs", "- methods.m-rwp"]


def test_missing_data_is_told_before_anything_is_written(write_spec, tmp_path):
    path = write_spec(('name = "digits"', 'name = "npz:gone.npz"'))
    done = invoke("compare", path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "no data file" in done.stderr
    assert not (tmp_path / "out").exists()


def test_compare_prints_plain_lines_off_a_terminal_and_each_models_accuracies(write_quick_spec, tmp_path):
    done = invoke("compare", write_quick_spec(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "parameters" in lines[0]
    assert "analog" in lines[0]
    assert [line.split()[1] for line in lines[1:5]] == ["sgd-seed0:", "m-rwp-seed0:", "sgd-seed1:", "m-rwp-seed1:"]
    assert all("rram-wan2022 " in line and "\x1b" not in line for line in lines[1:5])
    assert "left" in lines[1]
    assert lines[-1] == "report: results/tiny/report.html"
    assert (tmp_path / "results" / "tiny" / "report.html").is_file()


@pytest.mark.parametrize(
    "command",
    [
        "devices",
        pytest.param("schema", marks=pytest.mark.slow),
        pytest.param("plan", marks=pytest.mark.slow),
        pytest.param("compare", marks=pytest.mark.slow),
    ],
)
def test_a_command_whose_output_nobody_reads_ends_silently(command, write_quick_spec, tmp_path):
    arguments = {"plan": [write_quick_spec()], "compare": [write_quick_spec()]}.get(command, [])
    reader, writer = os.pipe()
    os.close(reader)
    process = [sys.executable, "-m", "aimc_robust", command, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(process, stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path, env=environment, timeout=120)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_broken_pipe_of_other_code_is_told():
    code = """
import sys
from unittest.mock import patch
from aimc_robust.cli.app import main
sys.argv = ["aimc-robust", "devices"]
with patch("aimc_robust.cli.views.devices.show_library", side_effect=BrokenPipeError(32, "Broken pipe")):
    main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "Broken pipe" in done.stderr) == (2, True)


NETWORK = 'name = "small-cnn"\noptions = { channels = 4, stages = 2 }'
USER_FUNCTIONS_THAT_LEAVE = {
    "network": ("leaves", (NETWORK, 'name = "user_models:leaves"')),
    "forward": ("Leaves.forward", (NETWORK, 'name = "user_models:Leaves"')),
    "cell model": ("LeavingCells.programming_std", ('"rram-wan2022"', '"user_models:LeavingCells"')),
}


@pytest.mark.parametrize("case", USER_FUNCTIONS_THAT_LEAVE)
def test_a_function_of_the_user_that_leaves_is_named(case, write_quick_spec, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(user_models.__file__).parent)
    name, change = USER_FUNCTIONS_THAT_LEAVE[case]
    done = invoke("compare", write_quick_spec(change), cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(rf"error: {name} \(.*user_models\.py, line \d+\) raised SystemExit\(0\)", done.stderr)


def test_a_part_counts_its_own_models(write_quick_spec, tmp_path):
    done = invoke("compare", write_quick_spec(), "--part", "2/2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, *lines, _ = done.stdout.splitlines()
    assert first.startswith("2 models, 1 epoch each")
    assert [line.split()[:2] for line in lines] == [["[1/2]", "m-rwp-seed0:"], ["[2/2]", "m-rwp-seed1:"]]


def test_a_failed_model_is_named_and_the_exit_code_says_so(write_quick_spec, tmp_path):
    path = write_quick_spec(("[methods.sgd]", '[methods.sgd]\n[methods.wild]\nkind = "rwp"\nsigma = 1e39'))
    done = invoke("compare", path, cwd=tmp_path)
    assert done.returncode == 3
    assert "wild-seed0: FAILED, the loss is not finite at update 1" in done.stdout
    assert "failed: wild-seed0, wild-seed1" in done.stderr
    assert "sgd-seed1: digital" in done.stdout


@pytest.mark.slow
def test_on_a_terminal_a_bar_names_method_seed_and_epoch_and_a_table_fills_up(write_spec, tmp_path):
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "aimc_robust", "compare", str(write_spec(("epochs = 3", "epochs = 8")))],
        stdout=slave,
        stderr=slave,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # Linux's way of saying that the other end has closed
            break
        if not piece:
            break
        shown += piece
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert "sgd-seed0: epoch " in text
    assert "all models" in text
    assert "left" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    table = plain[plain.rindex("method") :]  # as it was drawn last
    assert all(target in table for target in ("digital", "rram-wan2022"))
    assert re.search(r"sgd +2/2( +\*?\d+\.\d){3}", table)
