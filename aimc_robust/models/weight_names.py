"""How the names of weights in a file meet those of a model."""

from collections import Counter
from collections.abc import Mapping

from torch import Tensor

from aimc_robust.models.checkpoint import Tensors

# Prefixes that wrappers add to all names.
PREFIXES = ("module.", "_orig_mod.", "_forward_module.", "model.", "net.", "network.")


def remove_prefix(tensors: Tensors, state: Mapping[str, Tensor]) -> tuple[Tensors, str]:
    """Remove PREFIXES that keep all names from matching the model's state; return the tensors and what was removed."""
    removed = ""
    while not set(tensors) & set(state):
        prefix = next((p for p in PREFIXES if tensors and all(name.startswith(p) for name in tensors)), None)
        if prefix is None:
            break
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
        removed += prefix
    return tensors, removed


def complete(tensors: Tensors, state: Mapping[str, Tensor]) -> Tensors:
    """Add what a file need not hold: counts of BatchNorm's batches, and further names of tied weights."""
    counts = {name: value for name, value in state.items() if name.endswith("num_batches_tracked")}
    by_address = {v.data_ptr(): tensors[name] for name, v in state.items() if name in tensors and v.numel()}
    tied = {name: by_address[v.data_ptr()] for name, v in state.items() if v.data_ptr() in by_address}
    return counts | tied | tensors


def suggest_options(tensors: Tensors, state: Mapping[str, Tensor], *, removed: str, given: str) -> str:
    """Return the options that would make the names of a file fit a model, as a sentence; empty if none would.

    `tensors` have the file's names without `given`, the value of `--prefix`; `removed` was removed from all names.
    """
    prefixes = Counter(name.removesuffix(tail) for name in tensors for tail in _tails(name) if tail in state)
    options: dict[str, int] = {}
    for prefix, _ in prefixes.most_common(10):
        inner = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        extra = [name for name in inner if name not in state]
        patterns = _patterns(extra, state)
        if complete(inner, state).keys() >= state.keys() and patterns is not None:
            words = [] if prefix == removed else [f"--prefix '{given}{prefix}'"]
            words += [f"--ignore '{given}{prefix}{pattern}'" for pattern in patterns]
            options[" ".join(words)] = len(extra)
    best = sorted((o for o in options if o), key=lambda option: (options[option], option))[:3]
    return f"The names fit with {', or with '.join(best)}, if the others are no part of the model." if best else ""


def _tails(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[i:]) for i in range(len(parts))]


def _patterns(extra: list[str], state: Mapping[str, Tensor]) -> list[str] | None:
    """Return patterns of names that no part of the model has; None if the model has a part of that name, or of many."""
    heads = list(dict.fromkeys(name.partition(".")[0] for name in extra))
    own = {name.partition(".")[0] for name in state}
    if own & set(heads) or len(heads) > 4:
        return None
    return [f"{head}.*" if any(name.startswith(f"{head}.") for name in extra) else head for head in heads]
