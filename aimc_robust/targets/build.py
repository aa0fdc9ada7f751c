"""Build targets from the entries of a spec."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from aimc_robust.devices.library import card_names, load_card, preset_names
from aimc_robust.errors import warn
from aimc_robust.hardware.config.fault_map import FaultMap
from aimc_robust.hardware.config.presets import read_preset
from aimc_robust.io.toml import parse_value
from aimc_robust.io.user_code import is_reference, source_digest
from aimc_robust.targets.entries import Entry, TargetTable, build_named, reference_table
from aimc_robust.targets.layer_entries import as_pairs
from aimc_robust.targets.presets import expand_preset
from aimc_robust.targets.target import CrossbarTarget, DigitalTarget, Target, compensation_suffix, require_name

LOST_COMPENSATION = "the preset .* is deployed with"  # a warning


def self_contained_target(target: Any, folder: Path, *, deployed: bool = True) -> Any:
    """Return a target as a results folder records it: with the card's table in place of its name or path.

    A preset is written out too; `deployed`: with how it is deployed, see `expand_preset`.

    For code of the user's own, named `package.module:name`, a digest of its file is added under `code_digests`, so
    that results are not continued with changed code; that of a fault map too. Relative paths of cards and fault maps
    start from `folder`.
    """
    target = _expanded(target, folder, deployed=deployed)
    if isinstance(target, str) and is_reference(target):
        table = reference_table(target)
    else:
        table = dict(target) if isinstance(target, dict) else {"device": target}
    table = _with_card(table, folder)
    tables = [table]
    if isinstance(pairs := as_pairs(table.get("layers")), list):
        _warn_of_lost_compensation(pairs, table)
        table["layers"] = [_self_contained_pair(pair, folder) for pair in pairs]
        tables += [
            pair[1]
            for pair in table["layers"]
            if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], dict)
        ]
    values = [value for each in tables for value in each.values()]
    references = [value for value in values if isinstance(value, str) and is_reference(value)]
    digests = {reference: digest for reference in references if (digest := source_digest(reference)) is not None}
    digests |= {each["stuck"]: FaultMap.load(each["stuck"]).digest for each in tables if _names_fault_map(each)}
    if digests and "code_digests" not in table:
        table["code_digests"] = digests
    return target if table in (target, {"device": target}) else table


def _expanded(table: Any, folder: Path, *, deployed: bool) -> Any:
    """Return a table with the keys of its preset, whose other device may be a card in `folder`."""
    in_folder = isinstance(table, dict) and "preset" in table and str(table.get("device")).endswith(".toml")
    return expand_preset(table | {"device": str(folder / table["device"])} if in_folder else table, deployed=deployed)


def _warn_of_lost_compensation(pairs: list[Any], table: dict[str, Any]) -> None:
    """Warn of presets of some layers whose compensation the target does not have: it belongs to the whole target."""
    for pair in pairs:
        pattern, place = pair if isinstance(pair, list) and len(pair) == 2 else (None, None)
        named = [place.get("device"), place.get("preset")] if isinstance(place, dict) else [place]
        for name in (name for name in named if isinstance(name, str) and name in preset_names()):
            compensation = read_preset(name).deployment.get("compensation", [])
            if any(kind not in table.get("compensation", []) for kind in compensation):
                warn(
                    f"the preset {name} of the layers {pattern!r} is deployed with compensation = {compensation}, "
                    "which is a key of the whole target and does not act; set it there.",
                )


def _names_fault_map(table: dict[str, Any]) -> bool:
    return isinstance(table.get("stuck"), str)


def _with_card(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a table with the card's table in place of its name or path, and the whole path of its fault map."""
    if _names_fault_map(table):
        table = table | {"stuck": str((folder / table["stuck"]).resolve())}
    device = table.get("device")
    if not isinstance(device, str) or not (device.endswith(".toml") or device in card_names()):
        return table
    card = load_card(folder / device if device.endswith(".toml") else device)
    return table | {"device": card.model_dump(mode="json", exclude_none=True)}


def _self_contained_pair(pair: Any, folder: Path) -> Any:
    """Return a pattern and where its layers are with the card written out; what is no such pair as it is."""
    if not isinstance(pair, list) or len(pair) != 2 or (isinstance(pair[1], str) and not _is_device(pair[1])):
        return pair
    entry = _expanded({"device": pair[1]} if isinstance(pair[1], str) else pair[1], folder, deployed=False)
    return [pair[0], _with_card(entry, folder) if isinstance(entry, dict) else entry]


def _is_device(name: str) -> bool:
    return name.endswith(".toml") or is_reference(name) or name in [*card_names(), *preset_names()]


def build_targets(target: Any) -> list[Target]:
    """Build the targets of one entry of a spec: an entry with compensation also gives the uncompensated one first."""
    built = build_target(target)
    if not isinstance(built, CrossbarTarget) or not built.deployment.compensation:
        return [built]
    uncompensated = replace(built, deployment=replace(built.deployment, compensation=()))
    suffix = compensation_suffix(built.deployment.compensation)
    return [uncompensated, replace(built, name=built.name[: 80 - len(suffix)] + suffix, corrects=uncompensated.name)]


def build_target(target: Any) -> Target:
    """Build a target from a name or a table.

    Args:
        target: A name: `digital`; `gaussian-S` and `laplace-B` (scale filter_max, strength S or B); a device of the
            library; or the import path `package.module:name` of a cell model or a weight noise. Or one of these tables,
            each with optional `split` and `selected_at` (see `targets.target`), or what was parsed from one:

            - {name, device, ...}: a crossbar, with the keyword arguments of `Crossbar` (`dac` and `adc` as tables,
              `mapping` as a name, an import path, or a table of `weight_bits` and `slices`), `time_s`, `backend`,
              `compensation`, `fold`, and `layers`: a table of pattern -> `digital`, a device, or a table of arguments
              of `Crossbar`, in the order in which patterns decide (`Placement`). A device is a name, the path of a
              card, a card's own table, or an import path; or the name of a preset, whose keys are those that the table
              does not set. `preset = NAME` is that preset with another device.
            - {name, noise = "gaussian", sigma, scale} or {name, noise = "laplace", b, scale, matched_std}.
            - {name, noise = "package.module:name", ...}: a weight noise of the user's own; further keys are passed to
              the function as keyword arguments.
            - {name, noise = "gaussian" or "ascent", radius}: a perturbation of that L2 length.
            - {name, split = "training"}: digital weights on other images.

    Raises:
        InputError: if the entry is invalid.
        UnknownNameError: if a name is unknown.
    """
    if isinstance(target, str):
        built = build_named(target)
    else:
        built = (target if isinstance(target, TargetTable) else parse_value(target, Entry, source="target")).build()
    if not isinstance(built, DigitalTarget):
        require_name("the name of a target", built.name)  # that of a card may be the default
    return built
