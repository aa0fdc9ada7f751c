"""Trained weights of any origin, loaded into a model without running code from their files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from aimc_robust.errors import CheckpointError, require_type, warn
from aimc_robust.io.toml import parse
from aimc_robust.models.checkpoint import Tensors, check_fits, tensor_digest
from aimc_robust.models.weight_files import read_state_dicts
from aimc_robust.models.weight_names import complete, remove_prefix, suggest_options
from aimc_robust.models.weight_selection import WeightSelection

WHOLE_FILE = WeightSelection()
AIHWKIT = re.compile(r"\banalog_(module|tile_state)\b|\b(input_range_update_idx|learnable_weight_clip)$")


def load_checkpoint(
    model: nn.Module, path: str | Path, *, key: str | None = None, prefix: str = "", ignore: Sequence[str] = ()
) -> nn.Module:
    """Load trained weights into a model without running code from their file, and return the model.

    What was chosen or changed on the way, such as which of several state_dicts was read, is a warning.

    Args:
        model: The network that the weights belong to.
        path: A .safetensors file, a file of torch.save, an index of shards, or a folder that holds one of them.
        key: Dotted path of the weights in a training checkpoint, such as "state_dict_ema".
        prefix: Keep only weights whose name has this prefix, such as "net.", and remove it.
        ignore: Patterns such as "loss.*" of names in the file to drop.

    Raises:
        CheckpointError: If the file cannot be read, or its weights do not fit the model.
        InputError: If an argument is invalid.
    """
    require_type("path", path, str | Path, example="the path of a file of weights")
    options = {"key": key, "prefix": prefix, "ignore": list(ignore)}
    weights = read_weights(Path(path), parse(options, WeightSelection, source="load_checkpoint"))
    for note in (*weights.notes, *load_weights(model, weights, source=str(path))):
        warn(f"{path}: {note}.")
    return model


@dataclass(frozen=True)
class PretrainedWeights:
    """Tensors of a file by their names, a hash of these, and remarks for the user on how the file was read."""

    tensors: Tensors
    id: str
    notes: tuple[str, ...]
    selection: WeightSelection


def read_weights(path: Path, selection: WeightSelection = WHOLE_FILE) -> PretrainedWeights:
    """Read the selected tensors of a .safetensors file, of a file of torch.save, or of shards.

    The hash is one of the selected names and values: equal weights have equal hashes, whatever files hold them.

    Raises:
        CheckpointError: If the file cannot be read, see `read_state_dicts`, or holds nothing that is selected.
    """
    tensors, chosen = selection.choose(read_state_dicts(path), source=str(path))
    tensors, kept = selection.keep(tensors, source=str(path))
    for name, value in tensors.items():
        if value.layout is not torch.strided or value.is_nested or value.is_quantized or value.is_meta:
            kind = "quantized" if value.is_quantized else "meta" if value.is_meta else "sparse or nested"
            raise CheckpointError(f"{path}: {name} is a {kind} tensor; save dense weights with their values.")
    return PretrainedWeights(tensors, tensor_digest(tensors), (*chosen, *kept), selection)


def load_weights(model: nn.Module, weights: PretrainedWeights, *, source: str) -> tuple[str, ...]:
    """Load weights into `model`, converted to its precision.

    A prefix of PREFIXES that all names have and the model's lack is removed. A missing count of BatchNorm's batches,
    which evaluation does not use, keeps the model's value. Tied weights need only one of their names, as
    safetensors.torch.save_model writes them. Messages name `source`.

    Returns:
        Remarks for the user on how the weights were loaded.

    Raises:
        CheckpointError: If names or shapes do not match (the message lists them, and options that would match), or
            weights are not finite.
    """
    state = model.state_dict()
    tensors, prefix = remove_prefix(weights.tensors, state)
    notes: tuple[str, ...] = (f"removed the prefix {prefix!r} from all names",) if prefix else ()
    tensors = complete(tensors, state)
    remedy = "Name the model and options (and --classes) that it was trained with."
    if tensors.keys() != state.keys():
        options = suggest_options(weights.tensors, state, removed=prefix, given=weights.selection.prefix)
        how_read = f"This was how it was read: {'; '.join(weights.notes)}." if weights.notes else ""
        if any(AIHWKIT.search(name) for name in tensors):
            options, remedy = "", "These weights are of a model of aihwkit: load them with import_aihwkit."
        remedy = " ".join(filter(None, (options, remedy, how_read)))
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
