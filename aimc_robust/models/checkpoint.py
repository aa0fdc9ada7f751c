"""Checkpoints of models and unfinished trainings as safetensors: no pickle, written atomically, checked on loading."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save  # tensors without pickle: loading a checkpoint cannot run code
from torch import Tensor, nn

from aimc_robust.errors import CheckpointError, join_names
from aimc_robust.io.atomic import atomic_write

Tensors = dict[str, Tensor]

METADATA_KEY = "aimc_robust"


def model_tensors(model: nn.Module) -> Tensors:
    """Return the model's state as separate, contiguous copies on the CPU; tied weights appear under each name."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in model.state_dict().items()}


def check_fits(
    model: nn.Module,
    tensors: Tensors,
    *,
    source: str,
    remedy: str = "Give the model it was made from, or write to another folder.",
) -> None:
    """Raise CheckpointError, with `source`, the differences and `remedy`, unless `tensors` fit the model's state."""
    expected = model.state_dict()
    missing = [name for name in expected if name not in tensors]
    unexpected = [name for name in sorted(tensors) if name not in expected]
    shapes = [
        f"{name} has shape {tuple(tensors[name].shape)}, the model's has {tuple(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    differences = [
        prefix + join_names(names, limit=8)
        for prefix, names in (("missing ", missing), ("unexpected ", unexpected), ("", shapes))
        if names
    ]
    if differences:
        raise CheckpointError(
            f"{source} is a checkpoint of another model than {type(model).__name__}: {'; '.join(differences)}. {remedy}"
        )


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of names, types, shapes and values; equal weights have equal digests, whatever file holds them."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().resolve_conj().resolve_neg().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_checkpoint(path: Path, tensors: Tensors, metadata: dict[str, Any]) -> None:
    """Write tensors and JSON-serializable metadata as one file, with checksums of both."""
    content = metadata | {"weights": tensor_digest(tensors)}
    # One entry: safetensors writes several in random order, and equal trainings give equal files.
    stored = json.dumps(content | {"checksum": _checksum(content)})
    atomic_write(path, save(tensors, metadata={METADATA_KEY: stored}))


def read_checkpoint(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Return the tensors and metadata of a file, after a check that neither has changed since it was written.

    Raises:
        CheckpointError: If the file is not a checkpoint written by this package, or is damaged.
    """
    data = path.read_bytes()
    with _damage_as_checkpoint_error(path):
        return load_verified(data), _stored_metadata(data, required=True)


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a file without reading its tensors; the header is checked as by `read_checkpoint`."""
    with path.open("rb") as file, _damage_as_checkpoint_error(path):
        length = file.read(8)
        return _stored_metadata(length + file.read(int.from_bytes(length, "little")), required=True)


def load_verified(data: bytes) -> Tensors:
    """Return the tensors in the bytes of a safetensors file; raise ValueError if `write_checkpoint` wrote others."""
    tensors, metadata = load(data), _stored_metadata(data)
    if metadata and metadata["weights"] != (digest := tensor_digest(tensors)):
        raise ValueError(f"expected weights of checksum {metadata['weights']}, got {digest}")
    return tensors


def _stored_metadata(data: bytes, *, required: bool = False) -> dict[str, Any]:
    """Return the metadata that `write_checkpoint` stored; empty in a file of another program, unless `required`."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    stored = header.get("__metadata__", {}).get(METADATA_KEY)
    if stored is None:
        if required:
            raise ValueError(f"expected metadata under {METADATA_KEY!r}, got none")
        return {}
    metadata: dict[str, Any] = json.loads(stored)
    if (expected := metadata.pop("checksum", None)) != _checksum(metadata):
        raise ValueError(f"expected metadata of checksum {expected}, got {_checksum(metadata)}")
    return metadata


def _checksum(metadata: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(metadata).encode(), digest_size=16).hexdigest()


@contextmanager
def _damage_as_checkpoint_error(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # safetensors raises a bare Exception of its own
        raise CheckpointError(
            f"{path} is not a checkpoint of aimc-robust, or is damaged ({type(error).__name__}: {error}); delete it to "
            "train again."
        ) from None


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """Return the tensors of the optimizer's state on the CPU, named `PARAMETER_NUMBER.KEY`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{key}": value.detach().cpu().clone().contiguous()
        for number, entries in state.items()
        for key, value in entries.items()
        if isinstance(value, Tensor)
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Load tensors returned by `optimizer_tensors` into the optimizer."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            if key != "step" and isinstance(value, Tensor) and value.shape == parameter.shape:
                # In the memory format of the weight, which may be channels_last.
                entries[key] = torch.empty_like(parameter).copy_(value)
