"""Named arrays in a file: .npz or .safetensors, by the ending of its name, without code in it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from numpy.lib.npyio import NpzFile

from aimc_robust.errors import DataError, InputError
from aimc_robust.io.atomic import atomic_write

ENDINGS = (".npz", ".safetensors")
TEXT = "/"  # begins the name of an .npz's array that holds text, as metadata of a .safetensors does


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], text: Mapping[str, str]) -> None:
    """Write arrays and lines of text by name, atomically; the format is that of the file's ending.

    Raises:
        InputError: if the ending is neither .npz nor .safetensors.
        ResultsError: if the file cannot be written.
    """
    _require_ending(path)
    if path.suffix == ".safetensors":
        contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        atomic_write(path, safetensors.numpy.save(contiguous, dict(text)))
        return
    buffer = io.BytesIO()
    # Not numpy.savez, whose own keyword arguments, `file` and `allow_pickle`, cannot be names.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in ({f"{TEXT}{name}": np.array(line) for name, line in text.items()} | dict(arrays)).items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    atomic_write(path, buffer.getvalue())


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays and the lines of text of a file that `write_arrays`, numpy.savez or safetensors wrote.

    Raises:
        InputError: if the ending is neither .npz nor .safetensors.
        DataError: if the file is missing, damaged, or holds anything else.
    """
    _require_ending(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}; give an .npz or .safetensors file of arrays.")
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="numpy") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
        content = np.load(path, allow_pickle=False)
        arrays = {name: content[name] for name in content.files} if isinstance(content, NpzFile) else None
    except Exception as error:  # numpy, zipfile and safetensors raise many types for other files
        raise DataError(f"{path} cannot be read as {path.suffix[1:]} of plain arrays: {error}.") from None
    if arrays is None:
        raise DataError(f"{path} holds a single array; expected an .npz, as numpy.savez writes it.")
    is_text = {name: array.dtype.kind == "U" and not array.ndim for name, array in arrays.items()}
    names = [name for name in arrays if name.startswith(TEXT) or is_text[name]]
    text = {name.removeprefix(TEXT): str(arrays.pop(name)) for name in names}
    return arrays, text


def _require_ending(path: Path) -> None:
    if path.suffix not in ENDINGS:
        raise InputError(f"{path} must end in {' or '.join(ENDINGS)}, which names its format.")
