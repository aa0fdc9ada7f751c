"""Targets: the named conditions that every trained model is evaluated under."""

import re
from dataclasses import dataclass
from typing import Any

from aimc_robust.bench.from_table import check_keys
from aimc_robust.devices.library import card_names
from aimc_robust.errors import InputError, unknown_name
from aimc_robust.evaluation.chips import Condition
from aimc_robust.hardware.crossbar import Crossbar
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.noise.laplace import Laplace

NOISES = {"gaussian": Gaussian, "laplace": Laplace}
CROSSBAR_KEYS = ("device", "window", "mapping", "cell_bits", "weight_percentile")
NOISE_KEYS = {"gaussian": ("sigma", "scale"), "laplace": ("b", "scale", "matched_std")}


@dataclass(frozen=True)
class Target:
    """A name and the condition it stands for."""

    name: str
    condition: Condition

    @property
    def backend(self) -> str:
        """What computes the condition: `native` crossbars, plain weight `noise`, or `digital`."""
        if self.condition is None:
            return "digital"
        return "native" if isinstance(self.condition, Crossbar) else "noise"

    @property
    def sigma(self) -> float | None:
        """The strength of Gaussian noise, for plots over sigma; None for the others (0 for digital)."""
        if self.condition is None:
            return 0.0
        return self.condition.sigma if isinstance(self.condition, Gaussian) else None

    def chips(self, chips: int) -> int:
        """How many chips are worth evaluating: one where nothing is random."""
        return 1 if self.condition is None else chips

    def description(self) -> dict[str, Any]:
        """Plain values that say all of the condition, the device's card included."""
        if isinstance(self.condition, Crossbar):
            crossbar = self.condition
            return {
                "name": self.name,
                "card": crossbar.card.model_dump(mode="json"),
                "window": list(crossbar.programming_window),
                "mapping": crossbar.mapping,
                "cell_bits": crossbar.cell_bits,
                "weight_percentile": crossbar.weight_percentile,
            }
        return {"name": self.name, "noise": None if self.condition is None else repr(self.condition)}


def build_target(target: str | dict[str, Any]) -> Target:
    """A target from a name or a table.

    Names: `digital`; `gaussian-S` and `laplace-B` (filter_max, strength S or B); a device of the library; the path
    of a card. Tables: {name, device, mapping, ...} for a crossbar, {name, noise = "gaussian", sigma, scale} for a
    noise. Raises InputError or UnknownNameError.
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
    if target.endswith(".toml"):
        crossbar = Crossbar(target)
        return Target(crossbar.card.name, crossbar)
    if target not in card_names():
        raise unknown_name("target", target, ["digital", "gaussian-0.1", "laplace-0.1", *card_names()])
    return Target(target, Crossbar(target))


def _from_table(table: dict[str, Any]) -> Target:
    options = dict(table)
    kinds = [key for key in ("device", "noise") if key in options]
    if len(kinds) != 1:
        raise InputError(f"a target table holds either `device` or `noise`, got the keys {sorted(options)}.")
    if kinds == ["device"]:
        check_keys(options, ("name", *CROSSBAR_KEYS), what="a target")
        name = options.pop("name", None)
        if isinstance(options.get("window"), list):
            options["window"] = tuple(options["window"])
        crossbar = Crossbar(options.pop("device"), **options)
        return Target(name or crossbar.card.name, crossbar)
    kind = options.pop("noise")
    if kind not in NOISES:
        raise unknown_name("noise", str(kind), NOISES)
    check_keys(options, ("name", *NOISE_KEYS[kind]), what="a target")
    name, strength = options.pop("name", None), NOISE_KEYS[kind][0]
    if name is None or strength not in options:
        raise InputError(f"a {kind} target needs `name` and `{strength}`.")
    return Target(name, NOISES[kind](**options))
