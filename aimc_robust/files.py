"""Files that a kill cannot leave half written: whole replacement, and rows appended whole or not at all."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from aimc_robust.errors import ResultsError

Row = dict[str, Any]


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace `path` by `content`; a reader, or a kill, sees the old file or the new one."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Append rows as JSON lines, after cutting off a last line that an earlier kill left incomplete."""
    lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
    with path.open("ab+") as file:
        if file.tell() and not _ends_whole(file):
            file.seek(0)
            file.truncate(_whole_length(file.read()))
        file.write(lines)


def read_rows(path: Path) -> list[Row]:
    """The complete rows of a JSON-lines file, in order; a missing file has none."""
    if not path.exists():
        return []
    data = path.read_bytes()
    return [_parsed(path, line) for line in data[: _whole_length(data)].splitlines()]


def read_json(path: Path) -> Any:
    """The value in a JSON file; None when there is no such file."""
    return _parsed(path, path.read_bytes()) if path.exists() else None


def _parsed(path: Path, data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise ResultsError(f"{path} is damaged ({error}); delete it, and what it held is made again.") from None


def _ends_whole(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _whole_length(data: bytes) -> int:
    return data.rfind(b"\n") + 1
