"""A JSON Lines file whose rows are parsed once: a later read parses what was appended since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aimc_robust.io.atomic import Row, complete_length, parse_rows


class RowFile:
    """Rows of a JSON Lines file that other processes may extend or replace.

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
        """Return all complete rows, in order; none if the file does not exist.

        An incomplete last row, left by an interruption, is dropped with a warning.

        Raises:
            ResultsError: if the file is damaged in any other way.
        """
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
