"""Targets: the named conditions that every trained model is evaluated under."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aimc_robust.bench.crossbar_table import (
    CROSSBAR_KEYS,
    DEPLOYMENT_KEYS,
    crossbar_from,
    deployment_from,
    time_label,
)
from aimc_robust.bench.from_table import check_keys
from aimc_robust.devices.library import card_names, load_card
from aimc_robust.devices.limits import check_time
from aimc_robust.errors import InputError, require_known, unknown_name
from aimc_robust.evaluation.chips import Condition, Deployment
from aimc_robust.hardware.crossbar import Crossbar
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.noise.laplace import Laplace

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"  # labels and targets: they name folders and head tables
NOISES = {"gaussian": Gaussian, "laplace": Laplace}
NOISE_KEYS = {"gaussian": ("sigma", "scale"), "laplace": ("b", "scale", "matched_std")}


@dataclass(frozen=True)
class Target:
    """A name and the condition it stands for; for a crossbar, when and how, and which target it corrects."""

    name: str
    condition: Condition
    deployment: Deployment = field(default_factory=Deployment)
    corrects: str | None = None  # the same target without compensation

    @property
    def backend(self) -> str:
        """What computes the condition: `native` or `crosssim` crossbars, plain weight `noise`, or `digital`."""
        if self.condition is None:
            return "digital"
        return self.deployment.backend if isinstance(self.condition, Crossbar) else "noise"

    @property
    def sigma(self) -> float | None:
        """The strength of Gaussian noise of scale filter_max, for plots over sigma (0 for digital); else None."""
        if self.condition is None:
            return 0.0
        plottable = isinstance(self.condition, Gaussian) and self.condition.scale == "filter_max"
        return self.condition.sigma if plottable else None

    def chips(self, chips: int) -> int:
        """How many chips are worth evaluating: one where nothing is random."""
        return 1 if self.condition is None else chips


def with_card(target: Any, folder: Path) -> Any:
    """A target whose device is a name or a path, with the card itself in its place; any other as it is.

    folder: where relative paths of cards start.
    """
    named = target if isinstance(target, dict) else {"device": target}
    device = named.get("device")
    if not isinstance(device, str) or not (device.endswith(".toml") or device in card_names()):
        return target
    card = load_card(folder / device if device.endswith(".toml") else device)
    return {**named, "device": card.model_dump(mode="json", exclude_none=True)}


def build_targets(target: Any) -> list[Target]:
    """The targets that one entry of a spec stands for: itself, after the uncompensated one where it compensates."""
    built = build_target(target)
    if not built.deployment.compensation:
        return [built]
    plain = replace(built, deployment=replace(built.deployment, compensation=()))
    name = "-".join([built.name, *built.deployment.compensation])
    return [plain, replace(_named(name, built.condition), deployment=built.deployment, corrects=plain.name)]


def build_target(target: Any) -> Target:
    """A target from a name or a table.

    Names: `digital`; `gaussian-S` and `laplace-B` (filter_max, strength S or B); a device of the library. Tables:
    {name, device, ...} for a crossbar, with the fields of Crossbar (`dac`, `adc` as tables, `mapping` as a name or a
    table of `weight_bits` and `slices`), `time_s`, `backend` and `compensation`, where the device is a name, the path
    of a card, or a card's own table; {name, noise = "gaussian", sigma, scale} for a noise.
    Raises InputError or UnknownNameError.
    """
    if isinstance(target, dict):
        return _from_table(target)
    if not isinstance(target, str):
        raise InputError(f"a target is a name or a table, got {target!r}.")
    if target == "digital":
        return Target(target, None)
    noise = re.fullmatch(r"(gaussian|laplace)-(\d+(?:\.\d+)?)", target)
    if noise:
        return Target(target, NOISES[noise[1]](float(noise[2])))
    if target not in card_names():
        advice = "Or give the path of your own card, ending in .toml."
        raise unknown_name("target", target, ["digital", "gaussian-0.1", "laplace-0.1", *card_names()], advice=advice)
    return Target(target, Crossbar(target))


def _from_table(table: dict[str, Any]) -> Target:
    options = dict(table)
    kinds = [key for key in ("device", "noise") if key in options]
    if len(kinds) != 1:
        raise InputError(f"a target table holds either `device` or `noise`, got the keys {sorted(options)}.")
    if kinds == ["device"]:
        return _on_crossbar(options)
    kind = options.pop("noise")
    require_known("noise", kind, NOISES)
    check_keys(options, ("name", *NOISE_KEYS[kind]), what="a target")
    name, strength = options.pop("name", None), NOISE_KEYS[kind][0]
    if name is None or strength not in options:
        raise InputError(f"a {kind} target needs `name` and `{strength}`.")
    return _named(name, NOISES[kind](**options))


def _on_crossbar(options: dict[str, Any]) -> Target:
    check_keys(options, ("name", *CROSSBAR_KEYS, *DEPLOYMENT_KEYS), what="a target")
    deployment = deployment_from({key: options[key] for key in DEPLOYMENT_KEYS if key in options})
    crossbar = crossbar_from({key: options[key] for key in CROSSBAR_KEYS if key in options})
    check_time(crossbar.card, deployment.time_s, beyond=crossbar.beyond_limits)
    name = options.get("name")
    if name is None:
        name = crossbar.card.name + (f"-{time_label(deployment.time_s)}" if deployment.time_s else "")
    return replace(_named(name, crossbar), deployment=deployment)


def _named(name: Any, condition: Condition) -> Target:
    if not isinstance(name, str) or not re.fullmatch(NAME, name) or name == "digital":
        raise InputError(
            f"the name of a target is up to 80 letters, digits, '.', '_' and '-' (`digital` is taken), got {name!r}."
        )
    return Target(name, condition)
