"""Names of arrays in a file of device states: one array for each layer, and records of it behind a slash."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from aimc_robust.errors import InputError, join_names
from aimc_robust.io.array_files import read_arrays

RECORDS = ("target", "fresh", "devices", "columns", "rows", "weight_limit", "window")
TEXTS = ("device", "unit", "time_s")
FOREIGN_TEXTS = ("format",)  # which PyTorch's programs write into every safetensors file


class StateFile(NamedTuple):
    """What a file of states holds: layer -> states, layer -> record -> array, and lines of text."""

    layers: dict[str, np.ndarray]
    records: dict[str, dict[str, np.ndarray]]
    text: dict[str, str]


def array_name(layer: str, record: str = "") -> str:
    """Return the name of a layer's states, or of a record of it; `/` and `%` of the layer become %2F and %25."""
    escaped = layer.replace("%", "%25").replace("/", "%2F")
    return f"{escaped}/{record}" if record else escaped


def read_states(path: Path) -> StateFile:
    """Read a file that holds states and nothing else.

    Raises:
        InputError: if the file has another ending, or holds an array or a text of another name.
        DataError: if the file is missing or damaged.
    """
    arrays, text = read_arrays(path)
    layers: dict[str, np.ndarray] = {}
    records: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        escaped, slash, record = name.partition("/")
        layer = escaped.replace("%2F", "/").replace("%25", "%")
        if not slash:
            layers[layer] = array
        elif record in RECORDS and escaped in arrays:
            records.setdefault(layer, {})[record] = array
        else:
            raise InputError(
                f"{path}: the array {name!r} is neither the states of a layer nor a record of one, which is the name "
                f"of a layer of the file, a slash, and {join_names(RECORDS, limit=len(RECORDS))}. A slash in the name "
                f"of a layer is written %2F: {name.replace('/', '%2F')!r}."
            )
    for name in text:
        if name not in TEXTS + FOREIGN_TEXTS:
            raise InputError(f"{path}: the text {name!r} is unknown; a file of states has {join_names(TEXTS)}.")
    return StateFile(layers, records, text)
