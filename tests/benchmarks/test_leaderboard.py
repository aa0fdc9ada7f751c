"""A submission to the leaderboard is accepted whole, and refused in a sentence for whatever is changed in it."""

import json
import lzma
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from leaderboard.__main__ import main, parser
from leaderboard.benchmark import BENCHMARK, FREE, check_fixed_part, device_targets, fixed_part
from leaderboard.check import check
from leaderboard.ranking import worst_device
from leaderboard.submission import WEIGHTS, opened
from support.fixtures.report import figures_as_stubs
from support.paper_specs import BENCHMARKS
from support.shared_build import build_once

from aimc_robust.errors import AimcError, InputError
from aimc_robust.experiments.compare import compare
from aimc_robust.experiments.results.archive import ARCHIVE, pack, unpack
from aimc_robust.experiments.results.files import FAILURE
from aimc_robust.experiments.spec.inheritance import resolved_toml
from aimc_robust.experiments.spec.loading import load_spec, spec_from_dict
from aimc_robust.models.checkpoint import read_checkpoint, write_checkpoint
from aimc_robust.report.write import write_report
from aimc_robust.training.config import TrainingConfig

MINI = """
name = "mini"
train_seeds = [0, 1]
chips = 2
targets = [
    "digital", "rram-wan2022", { device = "pcm-nandakumar2019", time_s = 86400.0, compensation = ["drift"] },
]
[data]
name = "digits"
train_images = 100
[model]
name = "small-cnn"
options = { channels = 4, stages = 2 }
[training]
epochs = 2
batch_size = 32
"""
OURS = """
extends = "mini.toml"
[methods.sgd]
[methods.rwp]
sigma = 0.1
training = { lr = 0.1 }
"""
README = BENCHMARKS / "leaderboard" / "README.md"
WORDS = ["--who", "A. Name", "--what", "two methods, not tuned"]


def run(folder: Path, text: str, out: str) -> Path:
    """The results folder of a spec's text, beside the benchmark."""
    (folder / "own.toml").write_text(text, encoding="utf-8")
    spec = load_spec(folder / "own.toml")
    compare(spec, folder / out, spec_text=resolved_toml(folder / "own.toml"))
    with figures_as_stubs():
        write_report(folder / out)
    return folder / out


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """A folder with a small benchmark, results on it, and the submission `ours`."""

    def build(folder: Path) -> None:
        (folder / "mini.toml").write_text(MINI, encoding="utf-8")
        results = run(folder, OURS, "results")
        assert main(["submit", str(results), "--benchmark", str(folder / "mini.toml"), "--name", "ours", *WORDS]) == 0

    return build_once(tmp_path_factory, "leaderboard", build)


@pytest.fixture
def place(built, tmp_path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(built, tmp_path / "place"))


def refusal(place: Path, name: str = "ours") -> str:
    """Why a submission is refused."""
    with pytest.raises(AimcError) as caught, opened(place / "submissions" / name) as submission:
        check(submission, fixed_part(place / "mini.toml"), sample_seed=0, rows_per_method=100)
    text = str(caught.value)
    assert "\n" not in text
    return text


def change_rows(place: Path, change) -> None:
    """Give the submission the archive of its results after `change` of the folder."""
    folder = place / "submissions" / "ours"
    change(place / "results")
    pack(place / "results", place / "packed")
    shutil.copyfile(place / "packed" / ARCHIVE, folder / ARCHIVE)


def edit(path: Path, change) -> None:
    """Change the rows of a .jsonl file."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in change(rows)))


def rows_of(results: Path) -> Path:
    return results / "runs" / "rwp-seed1" / "evaluations.jsonl"


# Accepted -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_whole_submission_is_accepted_and_its_rows_reproduce_exactly(built):
    with opened(built / "submissions" / "ours") as submission:
        done = check(submission, fixed_part(built / "mini.toml"), sample_seed=0, rows_per_method=100)
    assert done.rows == 2 * 2 * (1 + 3 * 2)  # methods, models, digital and three targets on two chips
    assert done.accuracy == 0.0
    assert done.loss < 1e-5


def test_the_page_has_every_method_with_its_interval_and_how_it_was_verified(place, capsys):
    assert main(["build", "--benchmark", str(place / "mini.toml"), "--rows", "1", "--sample-seed", "7"]) == 0
    text = (place / "mini.md").read_text(encoding="utf-8")
    html = (place / "mini.html").read_text(encoding="utf-8")
    for label in ("sgd", "rwp"):
        assert re.search(rf"\| {label}<br>ours \| \**\d+\.\d\**<br>\[\d+\.\d, \d+\.\d\]", text), text
    assert "first place is not settled" in text  # two models of each method
    for word in ("A. Name", "drawn with seed 7", "pcm-nandakumar2019-1d-drift", "rwp, sigma 0.1, training.lr 0.1"):
        assert word in text
        assert word in html
    assert "mini.html" in capsys.readouterr().out


def test_check_says_that_it_is_accepted(built, capsys):
    assert main(["check", "ours", "--benchmark", str(built / "mini.toml"), "--rows", "2"]) == 0
    assert "ours is accepted: 4 rows" in capsys.readouterr().out


# Refused ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_another_fixed_part_is_refused_before_and_after_submission(place, capsys):
    results = run(place, OURS + "[training]\nepochs = 3\n", "longer")
    arguments = ["submit", str(results), "--benchmark", str(place / "mini.toml"), "--name", "longer", *WORDS]
    assert main(arguments) == 1
    assert "differs from mini in training, which the benchmark fixes" in capsys.readouterr().err
    shutil.copytree(place / "submissions" / "ours", place / "submissions" / "longer")
    pack(results, place / "submissions" / "longer")
    assert "differs from mini in training" in refusal(place, "longer")
    assert main(["build", "--benchmark", str(place / "mini.toml")]) == 1
    assert "longer is refused: the spec differs" in capsys.readouterr().err
    assert not (place / "mini.html").exists()


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("training = { epochs = 4 }", "training.epochs"),
        ("training = { batch_size = 8 }", "training.batch_size"),
        ("model = { options = { channels = 8 } }", "model"),
        ("data = { train_images = 200 }", "data"),
    ],
)
def test_a_method_cannot_change_what_is_fixed(built, table, key, tmp_path):
    shutil.copy(built / "mini.toml", tmp_path)
    (tmp_path / "own.toml").write_text(f'extends = "mini.toml"\n[methods.sgd]\n{table}\n')
    with pytest.raises(InputError, match=rf"methods\.sgd sets {re.escape(key)}, which the benchmark fixes"):
        check_fixed_part(load_spec(tmp_path / "own.toml"), fixed_part(tmp_path / "mini.toml"))


def test_a_changed_device_card_is_another_benchmark(built):
    spec = load_spec(built / "own.toml")
    values = spec.model_dump(mode="json")
    values["targets"][1]["device"]["programming"]["coefficients"][0] *= 0.5
    with pytest.raises(InputError, match="differs from mini in targets"):
        check_fixed_part(spec_from_dict(values), fixed_part(built / "mini.toml"))


def test_a_missing_row_is_refused(place):
    change_rows(place, lambda results: edit(rows_of(results), lambda rows: rows[:-1]))
    assert "rwp-seed1 has no row of pcm-nandakumar2019-1d-drift on chip 1" in refusal(place)


def test_a_failed_training_is_refused(place):
    change_rows(place, lambda results: (results / "runs" / "rwp-seed1" / FAILURE).write_text('{"reason": "diverged"}'))
    assert "rwp-seed1 failed (diverged)" in refusal(place)


@pytest.mark.parametrize(("key", "by"), [("accuracy", 3.0), ("loss", -0.2)])
def test_an_altered_number_is_refused(place, key, by):
    def alter(rows):
        rows[3][key] += by
        return rows

    change_rows(place, lambda results: edit(rows_of(results), alter))
    assert re.match(r"rwp-seed1 on \S+, chip \d: the row says accuracy .* the weights give", refusal(place))


def test_rows_of_another_model_are_refused(place):
    def swap(results):
        shutil.copy(results / "runs" / "sgd-seed1" / "evaluations.jsonl", rows_of(results))

    change_rows(place, swap)
    assert "it is of sgd-seed1, not of rwp-seed1" in refusal(place)


def test_weights_of_another_training_are_refused(place):
    path = place / "submissions" / "ours" / WEIGHTS
    tensors, _ = read_checkpoint(path)
    write_checkpoint(path, {name: value + 0.3 * torch.ones_like(value) for name, value in tensors.items()}, {})
    assert "the weights give" in refusal(place)


def test_missing_weights_are_refused(place):
    path = place / "submissions" / "ours" / WEIGHTS
    tensors, _ = read_checkpoint(path)
    write_checkpoint(path, {name: value for name, value in tensors.items() if "sgd-seed0" not in name}, {})
    assert "no weights of sgd-seed0" in refusal(place)
    path.unlink()
    assert f"has no {WEIGHTS}" in refusal(place)


def test_a_spec_that_names_code_is_refused_before_it_is_imported(place, monkeypatch):
    monkeypatch.syspath_prepend(str(place))
    (place / "intruder.py").write_text("raise SystemExit('imported')\n")

    def name_code(results):
        path = results / "question.json"
        stored = json.loads(path.read_text())
        path.write_text(json.dumps(stored | {"metrics": ["intruder:metric"]}))

    folder = place / "submissions" / "ours"
    unpack(folder)
    name_code(folder)
    with tarfile.open(folder / "new.tar", "w") as archive:
        for path in sorted((folder / "runs").rglob("*")):
            archive.add(path, path.relative_to(folder).as_posix())
        archive.add(folder / "question.json", "question.json")
    (folder / ARCHIVE).write_bytes(lzma.compress((folder / "new.tar").read_bytes()))
    (folder / "question.json").unlink()
    assert "code to import and run" in refusal(place)


def test_a_name_that_is_taken_or_no_name_is_refused(built, capsys):
    for name, reason in (("ours", "there is a submission ours already"), ("../x", "the name must be")):
        arguments = ["submit", str(built / "results"), "--benchmark", str(built / "mini.toml"), "--name", name, *WORDS]
        assert main(arguments) == 1
        assert reason in capsys.readouterr().err


# The benchmark itself -----------------------------------------------------------------------------------------------


def test_the_toolkits_spec_is_of_the_benchmark_and_has_every_kind_of_method():
    from aimc_robust.training.methods.registry import METHODS

    spec = load_spec(BENCHMARKS / "leaderboard" / "toolkit.toml")
    check_fixed_part(spec, fixed_part(BENCHMARK))
    assert {method.kind for method in spec.methods.values()} == set(METHODS)
    assert len(spec.train_seeds) >= 15
    assert spec.chips >= 10


def test_every_device_counts_once_and_late_ones_with_compensation():
    devices = device_targets(load_spec(BENCHMARKS / "leaderboard" / "toolkit.toml"))
    assert len(devices) == len(set(devices)) == 10
    assert "digital" not in devices
    assert [name for name in devices if re.search(r"\d+d", name) and not name.endswith("-drift")] == []


def test_keys_that_a_method_may_set_exist_and_the_readme_lists_them():
    assert set(TrainingConfig.__dataclass_fields__) >= FREE
    listed = re.search(r"in its `training`: (.+?)\. Everything", README.read_text(), re.DOTALL)[1]
    assert set(re.findall(r"`(\w+)`", listed)) == FREE


# The README ---------------------------------------------------------------------------------------------------------


def test_the_readmes_commands_are_ours_with_the_options_that_are_shown():
    commands = re.findall(r"^python -m benchmarks\.leaderboard (.+)$", README.read_text(), re.MULTILINE)
    assert {parser().parse_args(shlex.split(command)).command for command in commands} == {"submit", "check", "build"}
    with pytest.raises(SystemExit):
        parser().parse_args(["check", "mine", "--row", "3", "--nothing"])


def test_the_readmes_spec_is_of_the_benchmark(tmp_path):
    shutil.copy(BENCHMARK, tmp_path)
    (tmp_path / "mine.toml").write_text(re.search(r"```toml\n(.*?)```", README.read_text(), re.DOTALL)[1])
    check_fixed_part(load_spec(tmp_path / "mine.toml"), fixed_part(BENCHMARK))


@pytest.mark.slow
def test_the_commands_run_as_a_module_from_the_root():
    command = [sys.executable, "-m", "benchmarks.leaderboard", "check", "nobody"]
    done = subprocess.run(command, cwd=BENCHMARKS.parent, capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(
        r"nobody is refused: \S+ has no rows.tar.xz, .+; `submit` writes a complete folder\.\n", done.stderr
    )


# What is published ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", sorted((BENCHMARKS / "leaderboard" / "submissions").glob("*")), ids=lambda f: f.name)
def test_a_published_submission_is_accepted(folder):
    with opened(folder) as submission:
        done = check(submission, fixed_part(BENCHMARK), sample_seed=1, rows_per_method=2)
        assert done.rows == 2 * len(submission.results.spec.labels)


@pytest.mark.slow
def test_the_published_page_is_of_the_published_submissions():
    text = BENCHMARK.with_suffix(".md").read_text(encoding="utf-8")
    for folder in (BENCHMARKS / "leaderboard" / "submissions").glob("*"):
        with opened(folder) as submission:
            for label in submission.results.spec.labels:
                entry = worst_device(
                    {
                        name: submission.results.estimates()[label, name]
                        for name in device_targets(submission.results.spec)
                    }
                )
                low, high = entry.ci
                shown = rf"\| {label}<br>{folder.name} \| \**{entry.mean:.1f}\**<br>\[{low:.1f}, {high:.1f}\]"
                assert re.search(shown, text), label
