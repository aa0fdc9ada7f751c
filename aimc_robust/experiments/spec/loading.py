"""Load the spec of a comparison: file, inheritance, device cards, validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aimc_robust.errors import AimcError, InputError, require_type
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.inheritance import read_spec, scale_names
from aimc_robust.experiments.spec.methods import NOISE_KEYS
from aimc_robust.io.toml import check_values, parse
from aimc_robust.io.user_code import user_code as allow_user_code
from aimc_robust.targets.build import self_contained_target


def load_spec(
    path: str | Path, *, scale: str | None = None, overrides: Sequence[str] = (), user_code: bool = True
) -> ComparisonSpec:
    """Load the spec of a comparison from a TOML file.

    Inheritance, sweeps and device cards are resolved. The result needs no other file than the data, and does not
    change when a card does. Scales that are not applied are checked too, unless there are overrides.

    Args:
        path: The TOML file. Relative paths of cards start from its folder.
        scale: Name of a table `[scale.NAME]` of the spec, whose keys override those of the spec.
        overrides: Texts `KEY=VALUE` with a dotted key, such as `training.epochs=2`; applied after `scale`.
        user_code: Whether the spec may name functions as `package.module:name`, which are then imported and called.
            False refuses every such name before anything is imported; for specs of others.

    Returns:
        The validated spec.

    Raises:
        InputError: if the file is missing or invalid; names the file, the key and the allowed values.

    Examples:
        >>> import aimc_robust as ar
        >>> spec = ar.load_spec("benchmarks/quickstart.toml", overrides=["training.epochs=1"])
        >>> spec.config().epochs
        1
    """
    require_type("path", path, str | Path, example="the path of a TOML file")
    path = Path(path)
    values = read_spec(path, scale=scale, overrides=overrides)
    with allow_user_code(user_code):
        spec = spec_from_dict(values, source=str(path), folder=path.parent)
        if not user_code:
            for label in spec.labels:
                _ = spec.model_of(label).source_digest  # raises for a network of the user's own
        for other in [] if overrides else scale_names(path):  # overrides may complete a spec, or fit one scale only
            if other != scale:
                spec_from_dict(read_spec(path, scale=other), source=f"{path}: scale.{other}", folder=path.parent)
    return spec


def spec_from_dict(values: dict[str, Any], *, source: str = "spec", folder: Path = Path()) -> ComparisonSpec:
    """Validate a spec that is given as a dictionary with the keys of the TOML file, in `folder`.

    Raises:
        InputError: if a key or value is invalid; names `source` and the key.
    """
    check_values(values, source=source)
    values = dict(values)
    try:
        if isinstance(values.get("targets"), list):
            values["targets"] = [
                _located(f"targets.{_name(target, number)}", self_contained_target, target, folder)
                for number, target in enumerate(values["targets"])
            ]
        if isinstance(values.get("methods"), dict):
            methods = values["methods"].items()
            values["methods"] = {
                label: _located(f"methods.{label}", _self_contained_method, table, folder) for label, table in methods
            }
    except AimcError as error:
        raise InputError(f"{source}: {error}") from None
    return parse(values, ComparisonSpec, source=source)


def _located(location: str, function: Callable[[Any, Path], Any], table: Any, folder: Path) -> Any:
    """Call a function with a table; errors name the location of the table in the spec."""
    try:
        return function(table, folder)
    except AimcError as error:
        raise InputError(f"{location}: {error}") from None


def _name(target: Any, number: int) -> str:
    """The name that a target gives itself, else its number."""
    name = target.get("name") if isinstance(target, dict) else None
    return name if isinstance(name, str) else str(number)


def _self_contained_method(table: Any, folder: Path) -> Any:
    """Return a method's table with the cards of its noise and its crossbar written out."""
    if not isinstance(table, dict):
        return table
    return table | {
        key: self_contained_target(table[key], folder, deployed=False) for key in NOISE_KEYS if key in table
    }
