"""Files that survive a kill or a full disk: replaced atomically, rows appended completely or not at all."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson  # strict, and three times as fast as json: a report reads 100 000 rows
import pydantic

from aimc_robust.errors import ResultsError, warn
from aimc_robust.io.toml import error_text, type_adapter

Row = dict[str, Any]

RECOMPUTE = "delete it and run the command that wrote it again, which computes its content again."


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a file atomically: a reader, or a kill, sees the old file or the new one. Text is encoded as UTF-8.

    Raises:
        ResultsError: if the file cannot be written, for example on a full disk; the old file then remains.
    """
    data = content.encode() if isinstance(content, str) else content
    with _temporary_file(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def atomic_link(path: Path, link: Path) -> None:
    """Replace `link` by the content of `path`: a hard link if the file system supports it, otherwise a copy.

    Only for files that are always replaced as a whole; a row appended to one of the two might appear in both.

    Raises:
        ResultsError: if `link` cannot be written.
    """
    if link.exists() and link.samefile(path):
        return  # a rename onto the same file would leave the temporary file behind
    with _temporary_file(link) as temporary:
        try:
            os.link(path, temporary)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(path, temporary)
            with temporary.open("rb+") as file:  # Windows flushes only what may be written
                os.fsync(file.fileno())


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Append rows without NaN or infinity to a JSON Lines file, after removing an incomplete last line.

    Raises:
        ResultsError: if the rows cannot be written, for example on a full disk; earlier rows then remain.
    """
    lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
    with _os_errors_as_results_error(path), path.open("ab+", buffering=0) as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(complete_length(file.read()))
        length = file.seek(0, os.SEEK_END)
        try:
            remaining = memoryview(lines)
            while remaining:
                remaining = remaining[file.write(remaining) :]  # a disk that fills up may accept a part
        except OSError:
            file.truncate(length)
            raise


def read_rows(path: Path, shape: Any = Row) -> list[Row]:
    """Read the complete rows of a JSON Lines file, in order; none if the file does not exist.

    An incomplete last row, left by an interruption, is dropped with a warning. Each row must be of the type `shape`, as
    pydantic takes it.

    Raises:
        ResultsError: if the file is damaged in any other way.
    """
    return parse_rows(path, path.read_bytes(), shape) if path.exists() else []


def parse_rows(path: Path, data: bytes, shape: Any = Row, *, first: int = 1) -> list[Row]:
    """Parse the complete rows in `data`, read from `path` where row number `first` begins; see `read_rows`."""
    length = complete_length(data)
    lines = data[:length].splitlines()
    try:  # as one list, which is much faster
        rows: list[Row] = orjson.loads(b"[" + b",\n".join(lines) + b"]")
    except ValueError:
        rows = []
    if len(rows) != len(lines):  # some line is not strict JSON by itself; two broken lines may join into a valid one
        rows = [_parse_json(path, line, f"row {number}: ") for number, line in enumerate(lines, start=first)]
    try:
        type_adapter(list[shape]).validate_python(rows)
    except pydantic.ValidationError as error:
        detail = error.errors()[0]
        index = int(detail["loc"][0])
        reason = error_text(detail | {"loc": detail["loc"][1:]}, rows[index])
        raise damaged(path, f"row {first + index}: {reason}") from None
    if length < len(data):
        warn(f"{path} ends in a half-written row, which is dropped; {first - 1 + len(rows)} rows are kept.")
    return rows


class RowFile:
    """Rows of a JSON Lines file that other processes may extend or replace: each row is parsed once.

    Args:
        path: The file; it need not exist.
        shape: Type of a row, see `read_rows`.
    """

    def __init__(self, path: Path, shape: Any = Row) -> None:
        self._path, self._shape = path, shape
        self._signature: tuple[int, int, int] | None = None  # inode, size, time of the last change
        self._parsed = b""
        self._rows: list[Row] = []

    def read(self) -> list[Row]:
        """Return what `read_rows` would; only what was appended since the last call is parsed."""
        if not self._path.exists():
            self._signature, self._parsed, self._rows = None, b"", []
            return []
        status = self._path.stat()
        signature = (status.st_ino, status.st_size, status.st_mtime_ns)
        if signature != self._signature:
            data = self._path.read_bytes()
            if not data.startswith(self._parsed):  # replaced, not extended
                self._parsed, self._rows = b"", []
            self._rows += parse_rows(self._path, data[len(self._parsed) :], self._shape, first=len(self._rows) + 1)
            self._parsed = data[: complete_length(data)]
            self._signature = signature if len(self._parsed) == len(data) else None
        return list(self._rows)


def complete_length(data: bytes) -> int:
    """Return the number of bytes up to and including the last newline."""
    return data.rfind(b"\n") + 1


def read_json(path: Path, shape: Any = object, *, advice: str = RECOMPUTE) -> Any:
    """Read a JSON file; None if it does not exist.

    Raises:
        ResultsError: with `advice`, if it is damaged, or not of the type `shape`, as pydantic takes it.
    """
    if not path.exists():
        return None
    value = _parse_json(path, path.read_bytes(), advice=advice)
    try:
        type_adapter(shape).validate_python(value)
    except pydantic.ValidationError as error:
        raise damaged(path, error_text(error.errors()[0], value), advice) from None
    return value


def damaged(path: Path, reason: str, advice: str = RECOMPUTE) -> ResultsError:
    """Return the error for a file that holds something else than it should."""
    return ResultsError(f"{path} is damaged ({reason}); {advice}")


def _parse_json(path: Path, data: bytes, location: str = "", advice: str = RECOMPUTE) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"{location}{error}", advice) from None


@contextmanager
def _temporary_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to `path` if the block succeeds and removed if it fails."""
    temporary = path.with_name(f".{path.name}.part")
    with _os_errors_as_results_error(path):
        try:
            temporary.unlink(missing_ok=True)  # left by a kill; it may be a hard link to another file
            yield temporary
            temporary.replace(path)
        except OSError:
            with suppress(OSError):  # the first error is the one to report
                temporary.unlink(missing_ok=True)
            raise


@contextmanager
def _os_errors_as_results_error(path: Path) -> Iterator[None]:
    try:
        yield
    except ResultsError:
        raise
    except OSError as error:
        raise ResultsError(
            f"{path} cannot be written ({error.strerror or error}). Fix the cause and run the command again; finished "
            "work is kept."
        ) from error
