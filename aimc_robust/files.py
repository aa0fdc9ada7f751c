"""Files that a kill cannot leave half written: whole replacement, and rows appended whole or not at all."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    with path.open("ab+") as file:
        file.seek(0)
        file.truncate(_whole_length(file.read()))
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def read_rows(path: Path) -> list[Row]:
    """The complete rows of a JSON-lines file, in order; a missing file has none."""
    if not path.exists():
        return []
    data = path.read_bytes()
    return [json.loads(line) for line in data[: _whole_length(data)].splitlines()]


def _whole_length(data: bytes) -> int:
    return data.rfind(b"\n") + 1
