"""Disks that are full, rows that are half written, processes that died: what was done stays, and is told plainly."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys

import pytest

from aimc_robust.errors import ResultsError
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.files import lock_folder
from aimc_robust.experiments.results.merge import merge
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.io.atomic import append_rows, atomic_link, atomic_write, read_rows

ROWS = [{"chip": n, "accuracy": 90.5 + n} for n in range(3)]
LARGE = "x" * 200_000


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk, and not everywhere")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("size", [20, LARGE])
def test_a_full_disk_leaves_the_rows_and_says_so(size, small_disk):
    path = small_disk / "rows.jsonl"
    append_rows(path, ROWS)
    before = path.read_bytes()

    def fill():
        for number in range(10_000):
            append_rows(path, [{"chip": number, "more": LARGE if size == LARGE else "x" * size}])

    with pytest.raises(ResultsError, match=r"rows\.jsonl"):
        fill()
    rows = read_rows(path)  # without a warning: no part of a row is left
    assert rows[:3] == ROWS
    assert path.read_bytes().startswith(before)
    assert [row["chip"] for row in rows[3:]] == list(range(len(rows) - 3))
    assert len(rows) > 500 or size == LARGE
    path.write_bytes(before)
    append_rows(path, [{"chip": 3}])  # there is room again
    assert read_rows(path) == [*ROWS, {"chip": 3}]


def test_a_full_disk_leaves_the_file_that_was_to_be_replaced(small_disk, tmp_path):
    path = small_disk / "checkpoint.safetensors"
    atomic_write(path, "old")
    (tmp_path / "large").write_text(LARGE)
    for replace in (lambda: atomic_write(path, LARGE), lambda: atomic_link(tmp_path / "large", path)):
        with pytest.raises(ResultsError, match=r"checkpoint\.safetensors"):
            replace()
        assert path.read_text() == "old"
        assert [p.name for p in small_disk.iterdir()] == ["checkpoint.safetensors"]  # the room is free again
    atomic_write(path, "new")
    assert path.read_text() == "new"


def test_a_limit_on_the_size_of_files_is_told_in_the_same_way(tmp_path):
    code = """
import resource, signal
from pathlib import Path
from aimc_robust.io.atomic import append_rows, atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
writes = [
    lambda: append_rows(Path("rows.jsonl"), [{"more": "x" * 400}]),
    lambda: atomic_write(Path("file"), "x" * 2000),
]
for write in writes:
    try:
        for _ in range(9):
            write()
    except OSError as error:
        print(type(error).__name__, error)
"""
    atomic_write(tmp_path / "file", "old")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert [line.split(" cannot")[0] for line in lines] == ["ResultsError rows.jsonl", "ResultsError file"], done.stderr
    assert all("File too large" in line for line in lines)
    assert read_rows(tmp_path / "rows.jsonl") == [{"more": "x" * 400}] * 2
    assert (tmp_path / "file").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "rows.jsonl"]


def test_a_comparison_on_a_full_disk_stops_with_one_sentence_and_goes_on_from_there(run, write_spec, small_disk):
    path = write_spec(("epochs = 3", "epochs = 1"), ("train_seeds = [0, 1]", "train_seeds = [0]"))
    (small_disk / "fill").write_bytes(b"x" * 48_000)
    with pytest.raises(ResultsError, match=r"disk/out/.*No space left"):
        run(path, small_disk / "out")
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert not run(path, small_disk / "out").failed
    assert len(ComparisonResults.open(small_disk / "out").table()) == 14


def test_a_merge_onto_a_full_disk_keeps_what_it_has(finished_comparison, small_disk, tmp_path):
    with pytest.raises(ResultsError, match="No space left"):
        merge([finished_comparison, shutil.copytree(finished_comparison, tmp_path / "copy")], small_disk / "out")
    for path in (small_disk / "out" / "runs").rglob("*.jsonl"):
        assert read_rows(path) == read_rows(finished_comparison / path.relative_to(small_disk / "out"))


def test_a_half_written_last_row_is_dropped_with_a_notice_that_names_file_and_count(write_spec, tmp_path):
    store = ComparisonResults.create(tmp_path, load_spec(write_spec()))
    trial = Trial("sgd", 0)
    store.run_folder(trial).mkdir(parents=True)
    rows = [
        {"model": "sgd", "train_seed": 0, "target": "digital", "backend": "digital", "sigma": 0.0, "time_s": 0.0}
        | row
        | {"loss": None, "n": 9}
        for row in ROWS
    ]
    store.add_evaluations(trial, rows)
    path = store.run_folder(trial) / "evaluations.jsonl"
    path.write_bytes(path.read_bytes() + b'{"chip": 3, "accu')
    with pytest.warns(UserWarning, match=r"sgd-seed0.*evaluations\.jsonl.*3"):
        assert store.evaluations(trial) == rows


def test_a_chip_that_two_processes_wrote_counts_once(finished_comparison, tmp_path):
    store = ComparisonResults.open(shutil.copytree(finished_comparison, tmp_path / "copy"))
    before, trial = store.table(), store.trials[0]
    rows = store.evaluations(trial)
    store.add_evaluations(trial, rows[1:3])
    assert store.evaluations(trial) == rows
    assert store.table().equals(before)


def test_an_epoch_that_two_processes_wrote_counts_once(finished_comparison, tmp_path):
    store = ComparisonResults.open(shutil.copytree(finished_comparison, tmp_path / "copy"))
    trial = store.trials[0]
    rows = store.history(trial)
    append_rows(store.run_folder(trial) / "history.jsonl", rows[:1])
    assert store.history(trial) == rows


@pytest.mark.parametrize(
    ("damaged", "number"),
    [
        (b'{"chip": 1, "accu\n', 2),
        (b"\0" * 20 + b"\n", 2),
        (b'{"chip": 1}{"chip": 9}\n', 2),
        (b"\n", 2),
        (b'{"list": [{"chip": 1}\n{"chip": 2}]}\n', 2),  # two broken lines that join into a whole row
        (b"\xff\xfe\n", 2),
    ],
)
def test_damage_in_the_middle_is_refused_with_the_row(damaged, number, tmp_path, recwarn):
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(row).encode() + b"\n" for row in ROWS]
    path.write_bytes(lines[0] + damaged + lines[2])
    with pytest.raises(ResultsError, match=rf"rows\.jsonl is damaged \(row {number}: .*"):
        read_rows(path)
    assert not recwarn.list


def _work(folder, pipe):
    with lock_folder(folder):
        pipe.send("working")
        pipe.recv()  # until it is killed


def test_a_folder_that_a_living_process_works_on_is_refused_and_a_dead_ones_is_taken_over(tmp_path, recwarn):
    folder = tmp_path / "out"
    context = multiprocessing.get_context("fork")  # which spares it the imports
    mine, theirs = context.Pipe()
    process = context.Process(target=_work, args=(folder, theirs), daemon=True)
    process.start()
    theirs.close()  # if it ends early, `recv` says so instead of waiting
    assert mine.recv() == "working"
    with pytest.raises(ResultsError, match="process"), lock_folder(folder):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert (folder / ".lock").exists()  # the dead process could not clear it away
    recwarn.clear()  # of Python, on forking with threads
    with lock_folder(folder):
        pass
    assert not recwarn.list
