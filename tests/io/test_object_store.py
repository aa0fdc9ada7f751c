"""Files in object stores, on the store that fsspec keeps in memory."""

from importlib.util import find_spec
from types import SimpleNamespace

import fsspec
import pytest
from fsspec.registry import known_implementations
from support.object_stores import free_port, memory_store, s3_server

from aimc_robust.errors import InputError, MissingDependencyError, ResultsError
from aimc_robust.io import object_store
from aimc_robust.io.object_store import ObjectStore, is_url


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(object_store, "WAITS_S", (0.0, 0.0, 0.0))
    with memory_store() as url:
        yield ObjectStore(url, advice="the files are in HERE.")


def test_what_is_written_is_read_listed_and_removed(store, tmp_path):
    assert store.names() == []
    assert store.read("a") is None
    store.write("a", b"1")
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "b").write_bytes(b"22")
    store.upload(tmp_path, ["runs/x/b", "runs/x/deleted-meanwhile"])
    assert store.names() == ["a", "runs/x/b"]
    assert store.names("runs") == ["runs/x/b"]
    store.download(["a", "runs/x/b"], tmp_path / "copy")
    files = sorted(path for path in (tmp_path / "copy").rglob("*") if path.is_file())
    assert [path.read_bytes() for path in files] == [b"1", b"22"]
    store.remove(["a", "not-there"])
    assert store.names() == ["runs/x/b"]


def failing(monkeypatch, error, times):
    """Let the store's next calls of `pipe_file` fail; return the list of calls."""
    calls, original = [], fsspec.implementations.memory.MemoryFileSystem.pipe_file

    def pipe_file(self, *args, **options):
        calls.append(args)
        if len(calls) <= times:
            raise error
        return original(self, *args, **options)

    monkeypatch.setattr(fsspec.implementations.memory.MemoryFileSystem, "pipe_file", pipe_file)
    return calls


def test_a_store_that_is_away_for_a_moment_is_asked_again(store, monkeypatch):
    calls = failing(monkeypatch, OSError("connection lost"), times=3)
    store.write("a", b"1")
    assert len(calls) == 4
    assert store.read("a") == b"1"


def test_a_store_that_stays_away_is_an_error_that_names_the_local_files(store, monkeypatch):
    failing(monkeypatch, OSError("connection lost"), times=4)
    with pytest.raises(ResultsError, match=r"memory://bucket/results does not answer \(connection lost\).*in HERE"):
        store.write("a", b"1")


def test_a_store_that_refuses_access_is_not_asked_again(store, monkeypatch):
    calls = failing(monkeypatch, PermissionError("no such key"), times=9)
    with pytest.raises(ResultsError, match=r"refuses access .*right to list, read and write.*in HERE"):
        store.write("a", b"1")
    assert len(calls) == 1


def test_a_file_that_is_deleted_here_during_the_upload_is_left_out(store, tmp_path, monkeypatch):
    put, sent = store._fs.put, []

    def put_then_delete(paths, targets):
        sent.append(len(paths))
        (tmp_path / "gone").unlink(missing_ok=True)
        put(paths, targets)

    monkeypatch.setattr(store._fs, "put", put_then_delete)
    monkeypatch.setattr(object_store, "time", SimpleNamespace(sleep=lambda _: pytest.fail("waited")))
    for name in ("gone", "stays"):
        (tmp_path / name).write_bytes(b"1")
    store.upload(tmp_path, ["gone", "stays"])
    assert sent == [2, 1]
    assert store.names() == ["stays"]


@pytest.mark.skipif(any(find_spec(name) is None for name in ("s3fs", "moto")), reason="needs the extra [test]")
def test_what_waiting_cannot_mend_is_said_at_once(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"1")
    monkeypatch.setattr(object_store, "time", SimpleNamespace(sleep=lambda _: pytest.fail("waited")))
    with s3_server(free_port()) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        missing = ObjectStore("s3://missing/results", advice="the files are in HERE.")
        assert missing.names() == []
        for call in (
            lambda: missing.write("a", b"1"),
            lambda: missing.upload(tmp_path, ["a"]),
            lambda: missing.download(["a"], tmp_path / "copy"),
        ):
            with pytest.raises(ResultsError, match=r"s3://missing/results is not there .*bucket.*create.*in HERE"):
                call()
        with pytest.raises(ResultsError, match="Invalid bucket name"):
            ObjectStore("s3://not(a)bucket/results").write("a", b"1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with pytest.raises(ResultsError, match="Unable to locate credentials"):
            ObjectStore("s3://bucket/results").write("a", b"1")


def test_an_unknown_protocol_is_refused():
    with pytest.raises(InputError, match=r"s3://bucket/path.*got nosuch://bucket"):
        ObjectStore("nosuch://bucket")


def test_a_protocol_whose_package_is_missing_names_it(monkeypatch):
    monkeypatch.setitem(known_implementations, "aimc", {"class": "no_such.Files", "err": "get no_such"})
    with pytest.raises(MissingDependencyError, match=r"aimc://bucket needs a package.*get no_such"):
        ObjectStore("aimc://bucket")


@pytest.mark.parametrize(("text", "expected"), [("s3://b/x", True), ("results/x", False), ("C:\\x", False)])
def test_urls_are_told_from_folders(text, expected):
    assert is_url(text) == expected
