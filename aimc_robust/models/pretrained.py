"""Trained weights from safetensors files or torch files of tensors, loaded without running code."""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from aimc_robust.errors import CheckpointError
from aimc_robust.models.checkpoint import Tensors, check_fits, load_verified

# Keys of training checkpoints that hold a state_dict, and prefixes that wrappers add to its keys.
STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "weights", "ema")
PREFIXES = ("module.", "_orig_mod.", "_forward_module.", "model.", "net.", "network.")


@dataclass(frozen=True)
class PretrainedWeights:
    """Tensors by their names in a file, a hash of the file, and remarks for the user on how it was read."""

    tensors: Tensors
    id: str
    notes: tuple[str, ...]


def read_weights(path: Path) -> PretrainedWeights:
    """Read the tensors of a .safetensors file, or of a state_dict written by torch.save.

    Raises:
        CheckpointError: If the file is missing, damaged or of another type, or is a pickle of more than tensors, which
            could run code when it is loaded.
    """
    if not path.is_file():
        raise CheckpointError(
            f"the weights file {path} does not exist; give a .safetensors file or a saved state_dict."
        )
    data = path.read_bytes()
    is_safetensors = path.suffix == ".safetensors" or data[8:9] == b"{"  # 8 bytes of length, then JSON
    tensors, notes = _read_safetensors(path, data) if is_safetensors else _read_torch_file(path, data)
    return PretrainedWeights(tensors, hashlib.blake2b(data, digest_size=16).hexdigest(), notes)


def load_weights(model: nn.Module, weights: PretrainedWeights, *, source: str) -> tuple[str, ...]:
    """Load weights into `model`, converted to its precision.

    A prefix of PREFIXES that all names have and the model's lack is removed. A missing count of BatchNorm's batches,
    which evaluation does not use, keeps the model's value. Tied weights need only one of their names, as
    safetensors.torch.save_model writes them. Messages name `source`.

    Returns:
        Remarks for the user on how the weights were loaded.

    Raises:
        CheckpointError: If names or shapes do not match (the message lists them), or weights are not finite.
    """
    state = model.state_dict()
    tensors, notes = _without_prefix(weights.tensors, state)
    counts = {name: value for name, value in state.items() if name.endswith("num_batches_tracked")}
    tensors = counts | _tied_tensors(tensors, state) | tensors
    remedy = "Name the model and options (and --classes) that it was trained with."
    check_fits(model, tensors, source=source, remedy=remedy)
    integers = [n for n, value in tensors.items() if state[n].is_floating_point() and not value.is_floating_point()]
    if integers:
        name = integers[0]
        raise CheckpointError(f"{source}: {name} holds {tensors[name].dtype}; give unquantized weights.")
    model.load_state_dict(tensors)
    converted = sorted({str(value.dtype) for name, value in tensors.items() if value.dtype != state[name].dtype})
    if converted:
        notes += (f"{', '.join(converted)} weights were converted to the model's precision",)
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise CheckpointError(f"{source}: {name} holds NaN or infinity; this model cannot be deployed.")
    return notes


def _read_safetensors(path: Path, data: bytes) -> tuple[Tensors, tuple[str, ...]]:
    try:
        return load_verified(data), ()
    except (SafetensorError, ValueError, LookupError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}.") from None


def _read_torch_file(path: Path, data: bytes) -> tuple[Tensors, tuple[str, ...]]:
    try:
        with warnings.catch_warnings(action="ignore"):  # about files that are rejected below
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for other files
        if isinstance(error, pickle.UnpicklingError) and data.startswith((b"PK", b"\x80")):
            raise CheckpointError(
                f"{path} is a pickle of more than tensors; loading it could run code, so it is rejected. In the "
                "program that made it, save only tensors: "
                "safetensors.torch.save_file(model.state_dict(), 'NAME.safetensors')."
            ) from None
        raise CheckpointError(
            f"{path} cannot be read as weights ({type(error).__name__}); expected a .safetensors file, or one "
            "written by torch.save(model.state_dict(), FILE)."
        ) from None
    return _find_state_dict(path, content, ())


def _find_state_dict(path: Path, content: Any, notes: tuple[str, ...]) -> tuple[Tensors, tuple[str, ...]]:
    """Return the state_dict in a file's content, which may be nested in a training checkpoint."""
    is_named = isinstance(content, Mapping) and all(isinstance(name, str) for name in content)
    if is_named and content and all(isinstance(value, Tensor) for value in content.values()):
        return dict(content), notes
    keys = [k for k in STATE_DICT_KEYS if isinstance(content, Mapping) and isinstance(content.get(k), Mapping)]
    if not keys:
        names = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else ""
        raise CheckpointError(
            f"{path} holds {f'a dict of {names}' if names else f'a {type(content).__name__}'} and no state_dict; save "
            f"only model.state_dict(), or put it under one of the keys {', '.join(STATE_DICT_KEYS)}."
        )
    return _find_state_dict(path, content[keys[0]], (*notes, f"read the weights under {keys[0]!r}"))


def _without_prefix(tensors: Tensors, state: Mapping[str, Tensor]) -> tuple[Tensors, tuple[str, ...]]:
    """Remove prefixes that keep all names from matching the model's; return the tensors and remarks."""
    removed = ""
    while not set(tensors) & set(state):
        prefix = next((p for p in PREFIXES if tensors and all(name.startswith(p) for name in tensors)), None)
        if prefix is None:
            break
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
        removed += prefix
    return tensors, (f"removed the prefix {removed!r} from all names",) if removed else ()


def _tied_tensors(tensors: Tensors, state: Mapping[str, Tensor]) -> Tensors:
    """Return a tensor for every name of the model that shares its memory with a name in `tensors`."""
    by_address = {v.data_ptr(): tensors[name] for name, v in state.items() if name in tensors and v.numel()}
    return {name: by_address[v.data_ptr()] for name, v in state.items() if v.data_ptr() in by_address}
