"""A results folder as a copy of an object store: another machine continues it, and two never write at once."""

import json
import os
import time

import pytest

from aimc_robust.errors import InputError, ResultsError, StoreError
from aimc_robust.experiments.results import remote_folder
from aimc_robust.experiments.results.remote_folder import WRITER, RemoteFolder, fetched, fetched_and_sent
from aimc_robust.experiments.results.remote_models import RemoteModels
from aimc_robust.io.object_store import ObjectStore


def fill(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_json", ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def content(folder):
    """Name -> text of the files of a results folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_another_machine_goes_on_with_what_the_first_has_sent(url, tmp_path):
    with RemoteFolder(url, tmp_path / "a") as first:
        fill(tmp_path / "a", question_json="{}", runs__x__rows="1")
        first.send("x")
        assert ObjectStore(url).names() == [WRITER, "question.json", "runs/x/rows"]
        fill(tmp_path / "a", runs__x__rows="12", runs__y__rows="3", report="r")
    with RemoteFolder(url, tmp_path / "b"):
        assert content(tmp_path / "b") == content(tmp_path / "a")
        fill(tmp_path / "b", runs__y__rows="34")
    with RemoteFolder(url, tmp_path / "a"):  # whose files are older now
        assert content(tmp_path / "a") == content(tmp_path / "b")


def test_only_files_that_have_changed_are_sent(url, tmp_path, monkeypatch):
    sent, upload = [], ObjectStore.upload
    monkeypatch.setattr(ObjectStore, "upload", lambda *args: (sent.extend(args[2]), upload(*args)))
    for _ in range(2):
        with RemoteFolder(url, tmp_path / "a") as remote:
            fill(tmp_path / "a", question_json="{}")
            (tmp_path / "a" / ".lock").touch()
            (tmp_path / "a" / "runs" / "x").mkdir(parents=True, exist_ok=True)
            remote.send("x")
            if not (tmp_path / "a" / "runs" / "x" / "rows").exists():
                fill(tmp_path / "a", runs__x__rows="1")
            remote.send("x")
    assert sent.count("runs/x/rows") == 1
    assert ".lock" not in sent


def test_rows_are_sent_after_the_weights_that_they_belong_to(url, tmp_path, monkeypatch):
    uploads, upload = [], ObjectStore.upload

    def fail_second(store, folder, names):
        uploads.append(names)
        if len(uploads) == 2:
            raise StoreError("the store does not answer")
        upload(store, folder, names)

    def work():
        with RemoteFolder(url, tmp_path / "a") as remote:
            names = ("checkpoint.safetensors", "evaluations.jsonl", "origin.json")
            fill(tmp_path / "a", **{f"runs__x__{name}": "1" for name in names})
            remote.send("x")

    monkeypatch.setattr(ObjectStore, "upload", fail_second)
    with pytest.raises(ResultsError, match="does not answer"):
        work()
    assert ObjectStore(url).names("runs") == ["runs/x/checkpoint.safetensors", "runs/x/origin.json"]


def test_what_was_not_sent_before_a_kill_is_sent_by_the_next_call(url, tmp_path):
    remote = RemoteFolder(url, tmp_path / "a")
    remote.__enter__()  # and never left
    fill(tmp_path / "a", runs__x__rows="1")
    remote.send("x")
    fill(tmp_path / "a", runs__y__rows="2")
    assert "runs/y/rows" not in ObjectStore(url).names()
    with RemoteFolder(url, tmp_path / "a"):
        pass
    with RemoteFolder(url, tmp_path / "b"):
        assert content(tmp_path / "b") == {"runs/x/rows": "1", "runs/y/rows": "2"}


def test_a_failure_that_was_cleared_does_not_come_back(url, tmp_path):
    with RemoteFolder(url, tmp_path / "a") as remote:
        fill(tmp_path / "a", runs__x__failed_json="{}", runs__x__rows="1")
        remote.send("x")
        (tmp_path / "a" / "runs/x/failed.json").unlink()
        (tmp_path / "a" / "runs/x/rows").unlink()  # nobody deletes rows; the store keeps them
    assert ObjectStore(url).names("runs") == ["runs/x/rows"]


def test_a_copy_that_was_changed_beside_the_store_is_not_overwritten(url, tmp_path):
    with RemoteFolder(url, tmp_path / "a"):
        fill(tmp_path / "a", report="1")
    with RemoteFolder(url, tmp_path / "b"):
        fill(tmp_path / "b", report="2")
    fill(tmp_path / "a", report="three")
    with pytest.raises(ResultsError, match=r"has changed too \(report\); delete that folder"):
        RemoteFolder(url, tmp_path / "a").__enter__()
    assert content(tmp_path / "a") == {"report": "three"}


def test_a_folder_of_other_files_is_left_alone(url, tmp_path):
    fill(tmp_path / "a", notes="mine")
    with pytest.raises(ResultsError, match="holds other files"):
        RemoteFolder(url, tmp_path / "a").__enter__()


def sign(url, **changes):
    entry = {"id": "z", "host": "elsewhere", "pid": 7, "copy": "c", "held": True, "time": time.time()} | changes
    ObjectStore(url).write(WRITER, json.dumps(entry).encode())


def test_a_store_that_another_process_writes_to_is_refused(url, tmp_path):
    sign(url)
    with pytest.raises(ResultsError, match=r"process 7 on elsewhere writes to memory://bucket/results.*5 minutes"):
        RemoteFolder(url, tmp_path / "a").__enter__()


@pytest.mark.parametrize("changes", [{"held": False}, {"time": time.time() - 301.0}])
def test_a_process_that_has_ended_or_gives_no_sign_of_life_is_followed(url, tmp_path, changes):
    sign(url, **changes)
    with RemoteFolder(url, tmp_path / "a"):
        writer = json.loads(ObjectStore(url).read(WRITER))
        assert (writer["pid"], writer["held"]) == (os.getpid(), True)
    assert json.loads(ObjectStore(url).read(WRITER))["held"] is False


def test_a_dead_process_of_this_machine_is_followed_at_once(url, tmp_path):
    import platform
    import subprocess
    import sys

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    sign(url, host=platform.node(), pid=dead.pid)
    with RemoteFolder(url, tmp_path / "a"):
        pass
    sign(url, host=platform.node(), pid=1)  # which lives
    with pytest.raises(ResultsError, match="process 1 on"):
        RemoteFolder(url, tmp_path / "b").__enter__()


def test_a_process_that_was_taken_for_dead_sends_nothing_more(url, tmp_path):
    remote = RemoteFolder(url, tmp_path / "a")
    remote.__enter__()
    sign(url)
    fill(tmp_path / "a", report="1")
    with pytest.raises(ResultsError, match="taken over by process 7 on elsewhere"):
        remote.send()
    assert ObjectStore(url).names() == [WRITER]


def test_a_process_gives_signs_of_life(url, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_folder, "BEAT_S", 0.01)
    with RemoteFolder(url, tmp_path / "a"):
        first = json.loads(ObjectStore(url).read(WRITER))["time"]
        deadline = time.monotonic() + 20
        while json.loads(ObjectStore(url).read(WRITER))["time"] == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert json.loads(ObjectStore(url).read(WRITER))["held"] is False


def test_a_report_needs_no_weights_and_is_sent_back(url, tmp_path):
    with RemoteFolder(url, tmp_path / "a"):
        fill(tmp_path / "a", question_json="{}", **{"runs__x__checkpoint.safetensors": "w", "runs__x__rows": "1"})
    with fetched_and_sent(url) as folder:
        assert content(folder) == {"question.json": "{}", "runs/x/rows": "1"}
        fill(folder, report="new")
    assert ObjectStore(url).read("report") == b"new"
    assert ObjectStore(url).read("runs/x/checkpoint.safetensors") == b"w"


def test_an_empty_store_has_no_results(url):
    with pytest.raises(InputError, match="holds no results"), fetched(url):
        pass


def test_models_are_fetched_by_their_recipe_and_sent_once(url, tmp_path):
    fill(tmp_path / "a", **{"r1__unfinished.safetensors": "1", "r1__history.jsonl": "h"})
    models = RemoteModels(url, tmp_path / "a")
    models.fetch(["r1"])
    models.send("r1")
    models.send("not-trained")
    assert ObjectStore(url).names() == ["r1/history.jsonl", "r1/unfinished.safetensors"]
    fill(tmp_path / "a", **{"r1__checkpoint.safetensors": "2"})
    (tmp_path / "a" / "r1" / "unfinished.safetensors").unlink()
    models.send("r1")
    assert ObjectStore(url).names() == ["r1/checkpoint.safetensors", "r1/history.jsonl"]
    other = RemoteModels(url, tmp_path / "b")
    other.fetch(["r1", "r2"])
    assert content(tmp_path / "b") == content(tmp_path / "a")
    fill(tmp_path / "b", **{"r1__checkpoint.safetensors": "changed"})
    other.send("r1")
    assert ObjectStore(url).read("r1/checkpoint.safetensors") == b"2"
