"""Models and unfinished training on disk, as safetensors: no pickle, whole files only, refused when they do not fit."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save  # tensors without pickle: loading a checkpoint cannot run code
from torch import Tensor, nn

from aimc_robust.errors import CheckpointError
from aimc_robust.io.atomic import atomic_write

Tensors = dict[str, Tensor]


def model_tensors(model: nn.Module) -> Tensors:
    """The model's state as separate, contiguous copies; tied weights appear under each of their names."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in model.state_dict().items()}


def check_fits(
    model: nn.Module,
    tensors: Tensors,
    *,
    source: str,
    remedy: str = "Give the model it was made from, or write to another folder.",
) -> None:
    """Raise CheckpointError, with what is missing, unexpected or of another shape, unless `tensors` are `model`'s."""
    own = model.state_dict()
    missing = [name for name in own if name not in tensors]
    unexpected = [name for name in sorted(tensors) if name not in own]
    shapes = [
        f"{name} has shape {tuple(tensors[name].shape)}, the model's has {tuple(value.shape)}"
        for name, value in own.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    faults = [
        words + _first(names)
        for words, names in (("missing ", missing), ("unexpected ", unexpected), ("", shapes))
        if names
    ]
    if faults:
        raise CheckpointError(
            f"{source} is a checkpoint of another model than {type(model).__name__}: {'; '.join(faults)}. {remedy}"
        )


def _first(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def load_model_tensors(model: nn.Module, tensors: Tensors, *, source: str) -> None:
    """Put `tensors` into `model`. Raises as `check_fits`, before anything is changed."""
    check_fits(model, tensors, source=source)
    model.load_state_dict(tensors)


def write_checkpoint(path: Path, tensors: Tensors, notes: dict[str, Any]) -> None:
    """Write tensors and JSON-able notes as one file."""
    atomic_write(path, save(tensors, metadata={"aimc_robust": json.dumps(notes)}))


def read_checkpoint(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """The tensors and notes of a file. Raises CheckpointError when it is not one that this package wrote."""
    data = path.read_bytes()
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        notes = json.loads(header["__metadata__"]["aimc_robust"])
        if "recipe" not in notes:
            raise ValueError("it does not say what made it")
    except Exception as error:  # safetensors raises a bare Exception of its own
        raise CheckpointError(
            f"{path} is not a checkpoint of aimc-robust ({type(error).__name__}: {error}); delete it to train again."
        ) from None
    return tensors, notes


def momentum_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """The tensors of the optimizer's state, named by parameter number and key."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{key}": value.detach().cpu().clone().contiguous()
        for number, entries in state.items()
        for key, value in entries.items()
        if isinstance(value, Tensor)
    }


def load_momentum_tensors(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Put back what `momentum_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            if (
                key != "step" and isinstance(value, Tensor) and value.shape == parameter.shape
            ):  # laid out as the weight is: channels_last
                entries[key] = torch.empty_like(parameter).copy_(value)
