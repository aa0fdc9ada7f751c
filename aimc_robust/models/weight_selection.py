"""Which weights of a file are meant: the options `--key`, `--prefix` and `--ignore`."""

import shlex
from collections.abc import Mapping
from fnmatch import fnmatchcase

import pydantic

from aimc_robust.errors import CheckpointError, join_names
from aimc_robust.io.toml import StrictModel
from aimc_robust.models.checkpoint import Tensors

# Keys under which training programs store a state_dict, the preferred first: raw weights before averaged ones (EMA).
STATE_DICT_KEYS = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "weights"),
    *("ema", "state_dict_ema", "model_ema", "ema_state_dict", "model_state_dict_ema", "ema_model"),
)


class WeightSelection(StrictModel):
    """The weights of a file that are loaded; by default its only state_dict, or the first of STATE_DICT_KEYS.

    Attributes:
        key: Dotted path of the state_dict in a training checkpoint, such as "state_dict_ema".
        prefix: Keep only names with this prefix, and remove it.
        ignore: Drop names that match these patterns, such as "loss.*"; names are as in the file, with their prefix.
    """

    key: str | None = None
    prefix: str = ""
    ignore: list[str] = pydantic.Field(default_factory=list)

    @property
    def options(self) -> str:
        """The options of the command line, ready to be typed."""
        words = [] if self.key is None else ["--key", self.key]
        words += ["--prefix", self.prefix] if self.prefix else []
        return shlex.join([*words, *(word for pattern in self.ignore for word in ("--ignore", pattern))])

    def choose(self, state_dicts: Mapping[str, Tensors], *, source: str) -> tuple[Tensors, tuple[str, ...]]:
        """Return one of the state_dicts by their keys, and a remark on the choice that names the others.

        Raises:
            CheckpointError: if there is none of that key, or no key is given and several unknown ones are there.
        """
        keys = join_names(list(state_dicts))
        if self.key is not None and state_dicts.keys() == {""}:
            raise CheckpointError(f"{source} is one state_dict and has no key {self.key!r}; leave out --key.")
        if self.key is not None and self.key not in state_dicts:
            raise CheckpointError(f"{source} holds no state_dict {self.key!r}; --key is one of {keys}.")
        key = self.key if self.key is not None else _preferred(list(state_dicts))
        if key is None:
            raise CheckpointError(f"{source} holds several state_dicts: {keys}; choose one by --key.")
        if not key:
            return state_dicts[key], ()
        note = f"read the weights under {key!r}"
        others = [k for k, tensors in state_dicts.items() if k != key and _alike(tensors, state_dicts[key])]
        if others and self.key is None:
            note += f"; the file also holds {', '.join(map(repr, others))} (choose by --key {others[0]})"
        return state_dicts[key], (note,)

    def keep(self, tensors: Tensors, *, source: str) -> tuple[Tensors, tuple[str, ...]]:
        """Return the tensors that `prefix` and `ignore` leave, without the prefix, and remarks on what was dropped.

        Raises:
            CheckpointError: if no tensor is left.
        """
        notes = []
        ignored = {name: None for name in tensors if any(fnmatchcase(name, pattern) for pattern in self.ignore)}
        if ignored:
            notes.append(f"ignored {join_names(list(ignored))}")
        for pattern in self.ignore:
            if not any(fnmatchcase(name, pattern) for name in ignored):
                notes.append(f"no name matches --ignore {pattern!r}")
        remaining = {name: value for name, value in tensors.items() if name not in ignored}
        kept = {n.removeprefix(self.prefix): value for n, value in remaining.items() if n.startswith(self.prefix)}
        if tensors and not kept:
            problem = f"no name with --prefix {self.prefix!r}" if remaining else "no name that --ignore leaves"
            raise CheckpointError(f"{source} holds {problem}; its names are {join_names(list(tensors))}.")
        if self.prefix:
            notes.append(f"kept {len(kept)} of {len(remaining)} names, those with the prefix {self.prefix!r}")
        return kept, tuple(notes)


def _preferred(keys: list[str]) -> str | None:
    """Return the first key that consists of STATE_DICT_KEYS, or the only key."""
    known = [key for key in keys if all(part in STATE_DICT_KEYS for part in key.split("."))]
    ranked = sorted(known, key=lambda key: [STATE_DICT_KEYS.index(part) for part in key.split(".")])
    return ranked[0] if ranked else keys[0] if len(keys) == 1 else None


def _alike(tensors: Tensors, others: Tensors) -> bool:
    """Return whether both may be weights of one model: some names end alike."""
    return not {n.rpartition(".")[2] for n in tensors}.isdisjoint(n.rpartition(".")[2] for n in others)
