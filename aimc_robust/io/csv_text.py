"""Tables as CSV that spreadsheets open without running anything in it."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

_FORMULA = re.compile(r"[=+\-@\t\r](?!$)(?!\d*\.?\d+(e[+-]?\d+)?$)", re.IGNORECASE)  # but not a number


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV, without its index.

    A text that a spreadsheet would take for a formula begins with an apostrophe, as OWASP advises: labels and titles
    are a user's. Numbers stay as they are.
    """
    safe = table.rename(columns=_as_text)
    for name in safe.select_dtypes(exclude=["number", "bool"]):
        texts = {value: _as_text(value) for value in safe[name].unique()}
        if any(text is not value for value, text in texts.items()):
            safe[name] = safe[name].map(texts)
    return safe.to_csv(index=False, lineterminator="\n")


def _as_text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = f"'{value}" if _FORMULA.match(value) else value
    return re.sub("\r\n?", "\n", text) if "\r" in text else text  # a bare \r would end the row
