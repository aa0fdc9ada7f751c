"""A results folder whose files are also in an object store, so that another machine can continue it.

Object stores have no rows that grow, no renaming and no locks. All work is done in a folder of this machine, as always;
files that have changed are sent after each trial, and fetched before the first one if another machine wrote them.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from aimc_robust.errors import AimcError, InputError, ResultsError, StoreError
from aimc_robust.experiments.results.files import EVALUATIONS, FAILURE, LANDSCAPE, QUESTION
from aimc_robust.io.atomic import append_rows, atomic_write, read_json, read_rows
from aimc_robust.io.object_store import ObjectStore
from aimc_robust.training.resumption import UNFINISHED

STATE, SENT = ".store.json", ".sent.jsonl"  # of the folder: which store it is a copy of; files that are equal in both
WRITER = ".writer.json"  # in the store: the process that writes to it
BEAT_S = 30.0  # between two signs of life of that process
LEASE_S = 300.0  # after its last sign of life it is taken for dead
ROWS_LAST = (EVALUATIONS, LANDSCAPE)  # sent after the weights that they belong to
MAY_VANISH = (FAILURE, UNFINISHED)  # deleted in the store too


class RemoteFolder:
    """The results folder `folder` as a copy of what is at `url`. Use it as a context manager.

    Entering it fetches what another machine has written, and keeps other processes away from the store until the end;
    without signs of life for LEASE_S, a process is taken for dead. Leaving it sends everything.

    Raises:
        ResultsError: on entering, if another process writes to the store, or folder and store have both changed; at any
            time, if the store cannot be reached, or another process has taken it over.
    """

    def __init__(self, url: str, folder: Path) -> None:
        advice = f"everything up to now is in {folder}, and the same command continues and sends it."
        self.store, self.folder = ObjectStore(url, advice=advice), folder
        self._state: dict[str, Any] = {}
        self._sent: dict[str, list[int]] = {}  # name -> size, time of the last change [ns]
        self._writer = {"id": uuid.uuid4().hex, "host": platform.node(), "pid": os.getpid()}  # of this process
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> RemoteFolder:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._state = read_json(self.folder / STATE, dict[str, Any]) or {}
        is_empty = all(path.name.startswith(".") for path in self.folder.iterdir())
        if self._state.get("url", None if is_empty else "") not in (None, self.store.url):
            raise ResultsError(
                f"{self.folder}, where a copy of {self.store.url} belongs, holds other files; move them elsewhere."
            )
        last = _idle_writer(self.store)
        rows = read_rows(self.folder / SENT) if self._state and last is not None else []
        self._sent = {row["name"]: row["signature"] for row in rows}
        if not self._state or not self._state["complete"]:
            self._fetch()
        elif last is not None and last["copy"] != self._state["copy"]:
            if changed := self._changed():
                raise ResultsError(
                    f"another machine has continued {self.store.url}, and {self.folder} has changed too "
                    f"({changed[0]}); delete that folder to continue from the store, or give --out another URL."
                )
            self._fetch()
        self._sign(self.store, held=True)
        self._beating.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._ended.set()
        self._beating.join()
        if isinstance(error, StoreError):  # further attempts would delay its message
            return
        try:
            self.send()
            self._sign(self.store, held=False)
        except ResultsError:
            if error is None:
                raise

    def send(self, trial: str = "") -> None:
        """Send the files that have changed: those of one trial and of the folder itself, or all."""
        changed = self._changed(trial)
        names = [f"runs/{trial}/{name}" for name in MAY_VANISH] if trial else list(self._sent)
        vanished = [
            name
            for name in names
            if name in self._sent and name.endswith(MAY_VANISH) and not (self.folder / name).exists()
        ]
        if not changed and not vanished:
            return
        self._require_lease(self.store)
        signatures = {name: signature for name in changed if (signature := _signature(self.folder / name))}
        for last in (False, True):
            self.store.upload(self.folder, [name for name in signatures if name.endswith(ROWS_LAST) == last])
        self.store.remove(vanished)
        for name in vanished:
            del self._sent[name]
        self._note(signatures)

    def _changed(self, trial: str = "") -> list[str]:
        paths = (self.folder / "runs" / trial).rglob("*") if trial else self.folder.rglob("*")
        files = {path for path in (*paths, *self.folder.iterdir()) if path.is_file() and path.name[0] != "."}
        names = sorted(path.relative_to(self.folder).as_posix() for path in files)
        return [name for name in names if _signature(self.folder / name) != self._sent.get(name)]

    def _fetch(self) -> None:
        """Replace the content of the folder by that of the store."""
        self._state = {"url": self.store.url, "copy": uuid.uuid4().hex, "complete": False}
        atomic_write(self.folder / STATE, json.dumps(self._state))
        (self.folder / SENT).unlink(missing_ok=True)
        for path in self.folder.rglob("*"):
            if path.is_file() and path.name != STATE:
                path.unlink()
        names = [name for name in self.store.names() if not Path(name).name.startswith(".")]
        self.store.download(names, self.folder)
        self._sent = {}
        self._note({name: _signature(self.folder / name) for name in names})
        self._state["complete"] = True
        atomic_write(self.folder / STATE, json.dumps(self._state))

    def _note(self, signatures: Mapping[str, list[int] | None]) -> None:
        self._sent |= {name: signature for name, signature in signatures.items() if signature}
        append_rows(self.folder / SENT, [{"name": name, "signature": value} for name, value in signatures.items()])

    # The process that writes --------------------------------------------------------------------------------------

    def _sign(self, store: ObjectStore, *, held: bool) -> None:
        entry = self._writer | {"copy": self._state["copy"], "held": held, "time": time.time()}
        store.write(WRITER, json.dumps(entry).encode())

    def _require_lease(self, store: ObjectStore) -> None:
        """Raise ResultsError if another process has taken over. It must have taken this one for dead."""
        writer = _stored_writer(store)
        if writer is None or writer["id"] != self._writer["id"]:
            other = "nobody" if writer is None else f"process {writer['pid']} on {writer['host']}"
            raise StoreError(
                f"{self.store.url} was taken over by {other} while this process could not reach it; what it has "
                f"computed is in {self.folder}. Give --out another URL to keep both."
            )

    def _beat(self) -> None:
        store = ObjectStore(self.store.url)
        while not self._ended.wait(BEAT_S):
            with suppress(ResultsError):  # the next file that is sent says what is wrong
                self._require_lease(store)
                self._sign(store, held=True)


def require_results(url: str) -> None:
    """Raise InputError if there are no results at `url`."""
    _require_results(url, ObjectStore(url).names())


@contextmanager
def fetched(url: str, *, weights: bool = False, may_be_empty: bool = False, idle: bool = False) -> Iterator[Path]:
    """Yield a temporary copy of a results folder. Errors of the block name the store instead of it.

    Args:
        url: The object store.
        weights: Whether the copy has weights and states of trainings too.
        may_be_empty: Whether a store without results gives an empty folder.
        idle: Whether a store that another process writes to is refused.

    Raises:
        InputError: if there are no results at `url`.
        ResultsError: if another process writes to it.
    """
    store = ObjectStore(url)
    if idle:
        _idle_writer(store)
    names = [name for name in store.names() if Path(name).name[0] != "."]
    if not may_be_empty:
        _require_results(url, names)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "results")
        folder.mkdir()
        store.download([name for name in names if weights or not name.endswith(".safetensors")], folder)
        if idle:  # nor did one begin meanwhile
            _idle_writer(store)
        try:
            yield folder
        except AimcError as error:
            raise type(error)(str(error).replace(str(folder), store.url)) from None


@contextmanager
def fetched_and_sent(url: str) -> Iterator[Path]:
    """Yield a temporary copy without weights, see `fetched`; send what the block adds to it, such as a report."""
    with fetched(url) as folder:
        before = {path: _signature(path) for path in folder.rglob("*")}
        yield folder
        after = sorted(path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
        changed = [path for path in after if before.get(path) != _signature(path)]
        ObjectStore(url).upload(folder, [path.relative_to(folder).as_posix() for path in changed])


def _require_results(url: str, names: Sequence[str]) -> None:
    if QUESTION not in names:
        raise InputError(f"{url} holds no results (no {QUESTION}); give the --out of a `compare`.")


def _idle_writer(store: ObjectStore) -> dict[str, Any] | None:
    """Return who wrote to a store last; raise ResultsError while it works on it."""
    last = _stored_writer(store)
    if last is not None and last["held"] and _is_alive(last):
        raise ResultsError(
            f"process {last['pid']} on {last['host']} writes to {store.url}; wait for it, or, if it has died, "
            f"{LEASE_S / 60:g} minutes. Two processes cannot share a store: give --out another URL."
        )
    return last


def _stored_writer(store: ObjectStore) -> dict[str, Any] | None:
    content = store.read(WRITER)
    return None if content is None else json.loads(content)


def _is_alive(writer: dict[str, Any]) -> bool:
    if writer["host"] == platform.node():
        if writer["pid"] == os.getpid():  # of an earlier container of this name
            return False
        try:
            os.kill(writer["pid"], 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass
    return time.time() - writer["time"] < LEASE_S


def _signature(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return [status.st_size, status.st_mtime_ns]
