"""Files in a cloud object store, or any other file system that fsspec knows: `s3://bucket/path`, `memory://path`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from aimc_robust.errors import InputError, MissingDependencyError, StoreError

WAITS_S = (1.0, 5.0, 20.0)  # before each further attempt; a store that is busy or unreachable mostly is so briefly
LASTING = ("NoCredentialsError", "PartialCredentialsError", "ParamValidationError")  # of botocore, which S3 may lack
PART = ".part"

Result = TypeVar("Result")


def is_url(text: str) -> bool:
    """Return whether an argument names an object store and not a folder of this machine."""
    return "://" in text


class ObjectStore:
    """Reads and writes whole files below a URL. A call that fails for a moment is repeated a few times.

    Args:
        url: Such as `s3://bucket/path`; what follows the protocol is up to fsspec's implementation of it.
        advice: What an error of the store says at its end, such as where the files of this machine are.

    Raises:
        InputError: if fsspec does not know the protocol, or cannot parse the URL.
        MissingDependencyError: if the protocol needs a package that is not installed.
    """

    def __init__(self, url: str, *, advice: str = "run the same command again.") -> None:
        from fsspec.core import url_to_fs  # installed with torch, which needs it too

        self.url, self._advice = url.rstrip("/"), advice
        if url.startswith(("file:", "local:")):
            raise InputError(f"expected the URL of an object store, got {url}; give a folder as its path, without URL.")
        try:
            # An instance of its own: some connections cannot be shared by threads.
            self._fs, self._root = url_to_fs(self.url, skip_instance_cache=True)
        except ImportError as error:
            raise MissingDependencyError(
                f"{url} needs a package that is not installed ({error}); for s3, pip install 'aimc-robust[cloud]'."
            ) from None
        except ValueError as error:
            raise InputError(
                f"expected a URL such as s3://bucket/path of a store that fsspec knows, got {url} ({error})."
            ) from None

    def names(self, prefix: str = "") -> list[str]:
        """Return the files below `prefix`, relative to the URL, in order; none if there is nothing."""

        def find() -> list[str]:
            self._fs.invalidate_cache()
            return list(self._fs.find(self._path(prefix)))

        start = len(self._fs._strip_protocol(self._root).rstrip("/")) + 1
        return sorted(path[start:] for path in self._call(find, missing=[]))

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, or None if it does not exist."""
        return self._call(lambda: self._fs.cat_file(self._path(name)), missing=None)

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or replace it."""
        self._call(lambda: self._fs.pipe_file(self._path(name), content))

    def remove(self, names: Sequence[str]) -> None:
        """Remove files; those that do not exist are left out."""
        for path in map(self._path, names):
            self._call(partial(self._fs.rm_file, path), missing=None)

    def download(self, names: Sequence[str], folder: Path) -> None:
        """Write files into `folder`, each whole or not at all, several at a time where the store can do that."""
        paths = [folder / name for name in names]
        parts = [path.with_name(f".{path.name}{PART}") for path in paths]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        if names:
            self._call(lambda: self._fs.get([self._path(name) for name in names], [str(part) for part in parts]))
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)

    def upload(self, folder: Path, names: Sequence[str]) -> None:
        """Write files of `folder` to the store; one that has been deleted there meanwhile is left out."""

        def present() -> list[str]:
            return [name for name in names if (folder / name).exists()]

        def put() -> None:
            if not (sent := present()):
                return
            try:
                self._fs.put([str(folder / name) for name in sent], [self._path(name) for name in sent])
            except FileNotFoundError:
                if sent == present():  # what is missing is in the store
                    raise
                put()

        self._call(put)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}".rstrip("/")

    def _call(self, action: Callable[[], Result], **missing: Any) -> Result:
        """Return what `action` does, or `missing`, if it is given, where a file does not exist."""
        for wait_s in (*WAITS_S, None):
            try:
                return action()
            except PermissionError as error:
                raise StoreError(
                    f"{self.url} refuses access ({error}); give this account the right to list, read and write there, "
                    f"and {self._advice}"
                ) from None
            except Exception as error:  # each implementation has its own, also for lost connections
                if isinstance(error, FileNotFoundError):
                    if missing:
                        return missing["missing"]
                    raise StoreError(
                        f"{self.url} is not there ({error}); create its bucket or correct the URL, and {self._advice}"
                    ) from None
                if wait_s is None or type(error).__name__ in LASTING:
                    reason = str(error).strip() or type(error).__name__
                    raise StoreError(f"{self.url} does not answer ({reason}); {self._advice}") from error
                time.sleep(wait_s)
        raise AssertionError("unreachable")
