"""Trained weights of any origin into a model, without running code: safetensors, or torch files of tensors alone."""

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
from safetensors.torch import load
from torch import Tensor, nn

from aimc_robust.errors import CheckpointError
from aimc_robust.models.checkpoint import Tensors, check_fits

# What training codes wrap a model's state in, and what wrappers put before its keys.
INSIDE = ("state_dict", "model_state_dict", "model_state", "model", "net", "weights", "ema")
PREFIXES = ("module.", "_orig_mod.", "_forward_module.", "model.", "net.", "network.")


@dataclass(frozen=True)
class Weights:
    """tensors: by the file's names. id: a hash of the file. notes: what was done to read it, for the user."""

    tensors: Tensors
    id: str
    notes: tuple[str, ...]


def read_weights(path: Path) -> Weights:
    """The tensors of a .safetensors file, or of what torch.save wrote of a state_dict.

    Raises CheckpointError for a file that is missing, damaged or of another kind, or a pickle of more than tensors,
    which could run code when it is loaded.
    """
    if not path.is_file():
        raise CheckpointError(f"there are no weights at {path}; give a .safetensors file or a saved state_dict.")
    data = path.read_bytes()
    is_safetensors = path.suffix == ".safetensors" or data[8:9] == b"{"  # after 8 bytes of length begins its JSON
    found, notes = _safetensors(path, data) if is_safetensors else _torch_file(path, data)
    return Weights(found, hashlib.blake2b(data, digest_size=16).hexdigest(), notes)


def load_weights(model: nn.Module, weights: Weights, *, source: str) -> tuple[str, ...]:
    """Put weights into `model`, in its own precision; returns what was done besides, for the user.

    A prefix of PREFIXES that all names have and the model's lack is taken off. A missing count of BatchNorm's batches,
    which evaluation does not use, stays the model's. Of weights that layers share, one name is enough, as
    safetensors.torch.save_model writes them. Raises CheckpointError that lists missing and unexpected names.
    """
    own = model.state_dict()
    tensors, notes = _without_prefix(weights.tensors, own)
    counts = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    tensors = counts | _tied(tensors, own) | tensors
    check_fits(
        model,
        tensors,
        source=source,
        remedy="Name the model and options (and --classes) that it was trained with.",
    )
    whole = [name for name, value in tensors.items() if own[name].is_floating_point() > value.is_floating_point()]
    if whole:
        raise CheckpointError(f"{source}: {whole[0]} holds {tensors[whole[0]].dtype}; give unquantised weights.")
    model.load_state_dict(tensors)
    halves = sorted({str(value.dtype) for name, value in tensors.items() if value.dtype != own[name].dtype})
    if halves:
        notes += (f"{', '.join(halves)} weights were read into the model's own precision",)
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise CheckpointError(f"{source}: {name} holds NaN or infinity; this model cannot be deployed.")
    return notes


def _safetensors(path: Path, data: bytes) -> tuple[Tensors, tuple[str, ...]]:
    try:
        return load(data), ()
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}.") from None


def _torch_file(path: Path, data: bytes) -> tuple[Tensors, tuple[str, ...]]:
    try:
        with warnings.catch_warnings(action="ignore"):  # of files that are refused below
            held = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for what it did not write
        if isinstance(error, pickle.UnpicklingError) and data.startswith((b"PK", b"\x80")):
            raise CheckpointError(
                f"{path} is a pickle of more than tensors; loading it could run code, so it is refused. In the program "
                "that made it, save tensors alone: safetensors.torch.save_file(model.state_dict(), 'NAME.safetensors')."
            ) from None
        raise CheckpointError(
            f"{path} cannot be read as weights ({type(error).__name__}); expected a .safetensors file, or what "
            "torch.save(model.state_dict(), FILE) wrote."
        ) from None
    return _state_in(path, held, ())


def _state_in(path: Path, held: Any, notes: tuple[str, ...]) -> tuple[Tensors, tuple[str, ...]]:
    """The dict of tensors in what a file held, perhaps inside a training checkpoint."""
    named = isinstance(held, Mapping) and all(isinstance(name, str) for name in held)
    if named and held and all(isinstance(value, Tensor) for value in held.values()):
        return dict(held), notes
    inside = [key for key in INSIDE if isinstance(held, Mapping) and isinstance(held.get(key), Mapping)]
    if not inside:
        keys = ", ".join(map(str, list(held)[:5])) if isinstance(held, Mapping) else ""
        raise CheckpointError(
            f"{path} holds {f'a dict of {keys}' if keys else f'a {type(held).__name__}'} and no state_dict; save "
            f"model.state_dict() alone, or under one of the keys {', '.join(INSIDE)}."
        )
    return _state_in(path, held[inside[0]], (*notes, f"read the weights under {inside[0]!r}"))


def _without_prefix(tensors: Tensors, own: Mapping[str, Tensor]) -> tuple[Tensors, tuple[str, ...]]:
    """The tensors under names that the model may know, and what was taken off."""
    taken = ""
    while not set(tensors) & set(own):
        prefix = next((p for p in PREFIXES if tensors and all(name.startswith(p) for name in tensors)), None)
        if prefix is None:
            break
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
        taken += prefix
    return tensors, (f"took the prefix {taken!r} off all names",) if taken else ()


def _tied(tensors: Tensors, own: Mapping[str, Tensor]) -> Tensors:
    """Names that share their memory with one that was given -> its tensor."""
    given = {value.data_ptr(): tensors[name] for name, value in own.items() if name in tensors and value.numel()}
    return {name: given[value.data_ptr()] for name, value in own.items() if value.data_ptr() in given}
