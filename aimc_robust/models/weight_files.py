"""Files of weights: safetensors, files of torch.save, and the shards that an index lists."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from aimc_robust.errors import CheckpointError, join_names
from aimc_robust.models.checkpoint import Tensors, load_verified
from aimc_robust.models.torch_file import read_torch_file

INDEX_ENDING = ".index.json"
TILE_STATE = "analog_tile_state"  # ends the name under which aihwkit stores what an array holds
OPTIMIZER = re.compile(r"optimizer|^opt(im)?$", re.IGNORECASE)  # keys whose tensors are no weights


def read_state_dicts(path: Path) -> dict[str, Tensors]:
    """Return every state_dict of a file by its dotted key; the key is empty where the file is one state_dict.

    `path` may also be an index of shards, or a folder that holds one or a single .safetensors file. State_dicts of
    optimizers are left out. Code in a file is never run.

    Raises:
        CheckpointError: if a file is missing, damaged, of another type, holds no state_dict or more than tensors and
            options, or if shards are not what their index says.
    """
    if path.is_dir():
        path = _file_of_folder(path)
    if not path.is_file():
        raise CheckpointError(
            f"the weights file {path} does not exist; give a .safetensors file or a saved state_dict."
        )
    if path.name.endswith(INDEX_ENDING):
        return {"": _read_shards(path)}
    if (part := re.fullmatch(r"(.+)-\d+-of-(\d+)(\.\w+)", path.name)) and int(part[2]) > 1:
        raise CheckpointError(
            f"{path} is one of {int(part[2])} shards; give the index {part[1]}{part[3]}{INDEX_ENDING}, or the folder."
        )
    return _read_file(path)


def _file_of_folder(folder: Path) -> Path:
    indices = sorted(folder.glob(f"*{INDEX_ENDING}"))
    unsharded = sorted(path for path in folder.glob("*.safetensors") if not re.search(r"-\d+-of-\d+\.", path.name))
    if len(indices) + len(unsharded) == 1:
        return (*indices, *unsharded)[0]
    if not indices and not unsharded:
        raise CheckpointError(
            f"the folder {folder} holds no .safetensors file and no *{INDEX_ENDING}; give the file of weights."
        )
    names = join_names([path.name for path in (*indices, *unsharded)])
    raise CheckpointError(f"the folder {folder} holds several weights: {names}; give one of these files.")


def _read_file(path: Path) -> dict[str, Tensors]:
    data = path.read_bytes()
    if path.suffix == ".safetensors" or data[8:9] == b"{":  # 8 bytes of length, then JSON
        try:
            return {"": load_verified(data)}
        except (SafetensorError, ValueError, LookupError, AttributeError) as error:
            raise CheckpointError(f"{path} cannot be read as safetensors: {error}.") from None
    content = read_torch_file(path, data)
    found = _find_state_dicts(content)
    if not found:
        names = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else ""
        other = _first_among_tensors(content)
        raise CheckpointError(
            f"{path} holds {f'a dict of {names}' if names else f'a {type(content).__name__}'} and no state_dict (a "
            f"dict of named tensors only{f'; {other!r} is none' if other else ''}); save model.state_dict()."
        )
    return found


def _first_among_tensors(content: Any) -> str | None:
    """Return the name of a value that keeps `content`, or a dict in it, from being a state_dict."""
    dicts = [content, *content.values()] if isinstance(content, Mapping) else []
    for values in dicts:
        if isinstance(values, Mapping) and any(isinstance(value, Tensor) for value in values.values()):
            return next((str(name) for name, value in values.items() if not isinstance(value, Tensor)), None)
    return None


def _find_state_dicts(content: Any) -> dict[str, Tensors]:
    found: dict[str, Tensors] = {}
    pending, visited = [("", content)], set()  # a file may nest dicts deeply, or in a circle
    while pending:
        key, value = pending.pop()
        if not isinstance(value, Mapping) or not value or not all(isinstance(name, str) for name in value):
            continue
        flat = flatten_tile_states(value)
        if flat and all(isinstance(inner, Tensor) for inner in flat.values()):
            found[key] = flat
        elif id(value) not in visited:
            visited.add(id(value))
            inner = [(f"{key}.{name}" if key else name, v) for name, v in value.items() if not OPTIMIZER.search(name)]
            pending += reversed(inner)
    return found


def flatten_tile_states(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dict with the tensors of each array's state (aihwkit), under dotted names, in place of the state."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if name.endswith(TILE_STATE) and isinstance(value, Mapping):
            flat |= {f"{name}.{key}": inner for key, inner in value.items() if isinstance(inner, Tensor)}
        else:
            flat[name] = value
    return flat


def _read_shards(index: Path) -> Tensors:
    """Read the shards of an index one by one, and check that each name is where the index says, and only there."""
    listed = _read_index(index)
    shards = sorted(set(listed.values()))
    absent = [shard for shard in shards if not (index.parent / shard).is_file()]
    if absent:
        raise CheckpointError(
            f"{index} lists {len(shards)} shards; missing in its folder: {join_names(absent)}; copy all shards there."
        )
    tensors: Tensors = {}
    held_by: dict[str, str] = {}
    for shard in shards:
        held = _read_file(index.parent / shard).get("")
        if held is None:
            raise CheckpointError(f"{index.parent / shard} is a training checkpoint, not a shard of named tensors.")
        if twice := sorted(held_by.keys() & held.keys()):
            raise CheckpointError(
                f"{twice[0]} is in two shards of {index}, {held_by[twice[0]]} and {shard}; save them again."
            )
        tensors |= held
        held_by |= dict.fromkeys(held, shard)
    for name in sorted(listed.keys() | held_by.keys()):
        if listed.get(name) != held_by.get(name):
            raise CheckpointError(
                f"{index} says that {name} is in {listed.get(name, 'no shard')}, but it is in "
                f"{held_by.get(name, 'no shard')}: index and shards are of different models; save them again."
            )
    return tensors


def _read_index(index: Path) -> dict[str, str]:
    """Return the shard of each name."""
    try:
        listed: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        for shard in listed.values():
            if Path(shard).name != shard:
                raise ValueError(f"{shard!r} is not the name of a file in its folder")
        if not listed:
            raise ValueError("weight_map is empty")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{index} cannot be read as an index of shards, JSON with the file of each name in weight_map: {error}."
        ) from None
    return listed
