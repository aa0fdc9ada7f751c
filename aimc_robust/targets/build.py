"""Build targets from the entries of a spec."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.library import DEVICE_ADVICE, card_names, load_card
from aimc_robust.devices.limits import check_time
from aimc_robust.errors import InputError, require_finite, require_known, unknown_name
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.io.dataclass_from_table import check_keys
from aimc_robust.io.user_code import construct, is_reference, source_digest
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.noise.laplace import Laplace
from aimc_robust.noise.scales import NoiseScale
from aimc_robust.targets.crossbar_options import (
    CROSSBAR_KEYS,
    DEPLOYMENT_KEYS,
    parse_crossbar,
    parse_deployment,
    time_label,
)
from aimc_robust.targets.target import (
    NAME,
    AscentTarget,
    CrossbarTarget,
    DigitalTarget,
    NoiseTarget,
    RadiusTarget,
    Split,
    Target,
)

NOISES = {"gaussian": Gaussian, "laplace": Laplace}
NOISE_KEYS = {"gaussian": ("sigma", "scale"), "laplace": ("b", "scale", "matched_std")}


def self_contained_target(target: Any, folder: Path) -> Any:
    """Return a target as a results folder records it: with the card's table in place of its name or path.

    For code of the user's own, named `package.module:name`, a digest of its file is added under `code_digests`, so
    that results are not continued with changed code.

    Args:
        target: A target's name or table.
        folder: Folder that relative paths of cards start from.

    Returns:
        The table, or `target` itself if it names neither a card nor code.
    """
    if isinstance(target, str) and is_reference(target):
        table = reference_table(target)
    else:
        table = dict(target) if isinstance(target, dict) else {"device": target}
    device = table.get("device")
    if isinstance(device, str) and (device.endswith(".toml") or device in card_names()):
        card = load_card(folder / device if device.endswith(".toml") else device)
        table["device"] = card.model_dump(mode="json", exclude_none=True)
    references = [value for value in table.values() if isinstance(value, str) and is_reference(value)]
    digests = {reference: digest for reference in references if (digest := source_digest(reference)) is not None}
    if digests and "code_digests" not in table:
        table["code_digests"] = digests
    return target if table in (target, {"device": target}) else table


def build_targets(target: Any) -> list[Target]:
    """Build the targets of one entry of a spec: an entry with compensation also gives the uncompensated target first.

    Args:
        target: As for `build_target`.
    """
    built = build_target(target)
    if not isinstance(built, CrossbarTarget) or not built.deployment.compensation:
        return [built]
    uncompensated = replace(built, deployment=replace(built.deployment, compensation=()))
    name = "-".join([built.name, *built.deployment.compensation])
    return [uncompensated, replace(built, name=_check_name(name), corrects=uncompensated.name)]


def build_target(target: Any) -> Target:
    """Build a target from a name or a table.

    Args:
        target: A name: `digital`; `gaussian-S` and `laplace-B` (scale filter_max, strength S or B); a device of the
            library; or the import path `package.module:name` of a cell model or a weight noise. Or one of these tables,
            each with optional `split` and `selected_at` (see `Target`):

            - {name, device, ...}: a crossbar, with the keyword arguments of `Crossbar` (`dac` and `adc` as tables,
              `mapping` as a name, an import path, or a table of `weight_bits` and `slices`), `time_s`, `backend` and
              `compensation`. The device is a name, the path of a card, a card's own table, or an import path.
            - {name, noise = "gaussian", sigma, scale} or {name, noise = "laplace", b, scale, matched_std}.
            - {name, noise = "package.module:name", ...}: a weight noise of the user's own; further keys are passed to
              the function as keyword arguments.
            - {name, noise = "gaussian" or "ascent", radius}: a perturbation of that L2 length.
            - {name, split = "training"}: digital weights on other images.

    Raises:
        InputError: if the entry is invalid.
        UnknownNameError: if a name or key is unknown.
    """
    if isinstance(target, dict):
        return _from_table(target)
    if not isinstance(target, str):
        raise InputError(f"a target must be a name or a table, got {target!r}.")
    if target == "digital":
        return DigitalTarget()
    if is_reference(target):
        return _from_table(reference_table(target))
    noise = re.fullmatch(r"(gaussian|laplace)-(\d+(?:\.\d+)?)", target)
    if noise:
        return NoiseTarget(target, NOISES[noise[1]](float(noise[2])))
    if target not in card_names():
        known = ["digital", "gaussian-0.1", "laplace-0.1", *card_names()]
        raise unknown_name("target", target, known, advice=DEVICE_ADVICE)
    return CrossbarTarget(target, Crossbar(target))


def reference_table(reference: str) -> dict[str, Any]:
    """Return the table of a target that is only an import path.

    Args:
        reference: Import path of a cell model or a weight noise, or of a function without arguments that returns one.

    Returns:
        {device} for a cell model, {noise} for a weight noise.

    Raises:
        InputError: if the import path leads to neither.
    """
    built = construct(reference, object, what="target")
    if isinstance(built, CellModel):
        return {"device": reference}
    if isinstance(built, WeightNoise):
        return {"noise": reference}
    raise InputError(f"target {reference} returned {type(built).__name__}; expected a CellModel or a WeightNoise.")


def _from_table(table: dict[str, Any]) -> Target:
    options = {key: value for key, value in table.items() if key != "code_digests"}  # recorded, not read
    kinds = [key for key in BUILDERS if key in options]
    if len(kinds) > 1 or (not kinds and options.get("name") != "digital" and "split" not in options):
        raise InputError(f"a target table must have exactly one of {', '.join(BUILDERS)}, got {sorted(options)}.")
    common = {key: options.pop(key) for key in ("split", "selected_at") if key in options}
    require_known("split", common.get("split", "test"), get_args(Split))
    if "selected_at" in common:
        require_finite("selected_at", common["selected_at"])
    if not kinds:
        check_keys(options, ("name",), name="a target of digital weights")
        return DigitalTarget(_check_name(options.get("name"), digital=True), **common)
    return replace(BUILDERS[kinds[0]](options), **common)


def _noise_target(options: dict[str, Any]) -> Target:
    kind = options.pop("noise")
    if isinstance(kind, str) and is_reference(kind):
        name = _check_name(options.pop("name", kind.partition(":")[2]))
        noise = construct(kind, WeightNoise, what="noise", options=options)  # type: ignore[type-abstract]  # python/mypy#4717
        return NoiseTarget(name, noise)
    require_known("noise", kind, (*NOISES, "ascent"))
    if "radius" in options or kind == "ascent":
        return _radius_target(kind, options)
    check_keys(options, ("name", *NOISE_KEYS[kind]), name="a target")
    name, strength = options.pop("name", None), NOISE_KEYS[kind][0]
    if name is None or strength not in options:
        raise InputError(f"a {kind} target needs `name` and `{strength}`.")
    return NoiseTarget(_check_name(name), NOISES[kind](**options))


def _radius_target(kind: str, options: dict[str, Any]) -> Target:
    """Build a perturbation of given length: Gaussian of some `scale`, or along the gradient."""
    check_keys(options, ("name", "radius", *(() if kind == "ascent" else ("scale",))), name="a target of a radius")
    radius: Any = options.get("radius")
    require_finite("radius", radius)
    if kind == "laplace":
        raise InputError("radius is for noise = gaussian or ascent; laplace needs b.")
    name = _check_name(options.get("name"))
    if kind == "ascent":
        return AscentTarget(name, float(radius))
    scale = options.get("scale", "filter_norm")
    require_known("scale", scale, get_args(NoiseScale))
    return RadiusTarget(name, float(radius), scale)


def _crossbar_target(options: dict[str, Any]) -> Target:
    check_keys(options, ("name", "time_s", *CROSSBAR_KEYS, *DEPLOYMENT_KEYS), name="a target")
    deployment = parse_deployment({key: options[key] for key in DEPLOYMENT_KEYS if key in options})
    crossbar = parse_crossbar({key: options[key] for key in CROSSBAR_KEYS if key in options})
    time_s = options.get("time_s", 0.0)
    check_time(crossbar.device.cell, time_s, on_out_of_range=crossbar.device.on_out_of_range)
    name = options.get("name")
    if name is None:
        name = crossbar.device.cell.name + (f"-{time_label(time_s)}" if time_s else "")
    return CrossbarTarget(_check_name(name), crossbar, deployment, time_s)


def _check_name(name: Any, *, digital: bool = False) -> str:
    if not isinstance(name, str) or not re.fullmatch(NAME, name) or (name == "digital" and not digital):
        raise InputError(
            "the name of a target must be up to 80 letters, digits, '.', '_' and '-' (`digital` is reserved), got "
            f"{name!r}."
        )
    return name


# Key that identifies the kind of a table -> builder of its target.
BUILDERS = {"device": _crossbar_target, "noise": _noise_target}
