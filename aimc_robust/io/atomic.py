"""Files that a kill or a full disk cannot leave half written: replaced whole, rows appended whole or not at all."""

import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson  # strict, and three times as fast as json: a report reads 100 000 rows

from aimc_robust.errors import ResultsError

Row = dict[str, Any]


def atomic_write(path: Path, content: str | bytes) -> None:
    """Replace `path` by `content`; a reader, or a kill, sees the old file or the new one.

    Raises ResultsError when it cannot be written, say on a full disk; the old file then stands.
    """
    data = content.encode() if isinstance(content, str) else content
    with _new(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def atomic_link(path: Path, other: Path) -> None:
    """Replace `other` by the content of `path`: as a second name of the same file where the disk allows it.

    For files that are only ever replaced whole; a row appended to one of the two might appear in both.
    Raises ResultsError when it cannot be written.
    """
    if other.exists() and other.samefile(path):
        return  # a rename onto the same file would leave the temporary name behind
    with _new(other) as temporary:
        try:
            os.link(path, temporary)
        except OSError:  # another disk, or one without hard links
            shutil.copyfile(path, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Append rows as JSON lines, after cutting off a last line that an earlier kill left incomplete.

    Raises ResultsError when they cannot be written, say on a full disk; the rows before them then stand.
    """
    lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
    with _told(path), path.open("ab+", buffering=0) as file:
        if file.tell() and not _ends_whole(file):
            file.seek(0)
            file.truncate(_whole_length(file.read()))
        length = file.seek(0, os.SEEK_END)
        try:
            left = memoryview(lines)
            while left:
                left = left[file.write(left) :]  # a disk that fills up may take a part
        except OSError:
            file.truncate(length)
            raise


def read_rows(path: Path) -> list[Row]:
    """The complete rows of a JSON-lines file, in order; a missing file has none.

    A last row that an interruption left half written is dropped, with a warning. Raises ResultsError for any other
    damage.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = _whole_length(data)
    lines = data[:whole].splitlines()
    rows = _all_at_once(lines)
    if rows is None:
        rows = [_parsed(path, line, f"row {number}: ") for number, line in enumerate(lines, start=1)]
    if whole < len(data):
        warnings.warn(f"{path} ends in a half-written row, which is dropped; {len(rows)} rows are kept.", stacklevel=2)
    return rows


def read_json(path: Path) -> Any:
    """The value in a JSON file; None when there is no such file."""
    return _parsed(path, path.read_bytes()) if path.exists() else None


def _all_at_once(lines: list[bytes]) -> list[Row] | None:
    """The lines as one JSON list, which is read much faster; None when some line is no strict JSON text of its own."""
    try:
        rows = orjson.loads(b"[" + b",\n".join(lines) + b"]")
    except ValueError:
        return None
    return rows if len(rows) == len(lines) else None  # two broken lines may join into one that is not


def _parsed(path: Path, data: bytes, where: str = "") -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise ResultsError(f"{path} is damaged ({where}{error}); delete it, and what it held is made again.") from None


@contextmanager
def _new(path: Path) -> Iterator[Path]:
    """A temporary name that becomes `path` when the block ends well, and goes when it does not."""
    temporary = path.with_name(f".{path.name}.part")
    with _told(path):
        try:
            temporary.unlink(missing_ok=True)  # what a kill left; it may be another file's second name
            yield temporary
            temporary.replace(path)
        except OSError:
            with suppress(OSError):  # of two faults the first is told
                temporary.unlink(missing_ok=True)
            raise


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """An OSError inside becomes a sentence that names `path` and the reason."""
    try:
        yield
    except ResultsError:
        raise
    except OSError as error:
        raise ResultsError(
            f"{path} cannot be written ({error.strerror or error}); mend that and run it again. What is done is kept."
        ) from error


def _ends_whole(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _whole_length(data: bytes) -> int:
    return data.rfind(b"\n") + 1
