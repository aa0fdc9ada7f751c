"""Targets: the named conditions that every trained model is evaluated under."""

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aimc_robust.analysis.landscape import Landscape
from aimc_robust.devices.library import DEVICE_ADVICE, card_names, load_card
from aimc_robust.devices.limits import check_time
from aimc_robust.errors import InputError, require_finite, require_known, unknown_name
from aimc_robust.evaluation.monte_carlo import Condition, Deployment
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.io.from_table import check_keys
from aimc_robust.io.user_code import is_reference, source_digest
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.noise.laplace import Laplace
from aimc_robust.targets.crossbar_options import (
    CROSSBAR_KEYS,
    DEPLOYMENT_KEYS,
    crossbar_from,
    deployment_from,
    time_label,
)
from aimc_robust.training.config import TrainingConfig

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"  # labels and targets: they name folders and head tables
NOISES = {"gaussian": Gaussian, "laplace": Laplace}
NOISE_KEYS = {"gaussian": ("sigma", "scale"), "laplace": ("b", "scale", "matched_std")}
SPLITS = ("test", "training")


@dataclass(frozen=True)
class Target:
    """A name and the condition it stands for; for a crossbar, when and how, and which target it corrects.

    split: the images, `test` or `training`. selected_at: which of the epochs that early stopping kept is evaluated,
    named by its sigma; None: the one that suits (`selection`). direction, radius: of a perturbation whose length is
    given instead, which is found for each model: `random`, or `ascent` along the loss gradient. landscape: the places
    around the weights that take the place of chips (direction `plane`); they have a picture, not a mean.
    """

    name: str
    condition: Condition
    deployment: Deployment = field(default_factory=Deployment)
    corrects: str | None = None  # the same target without compensation
    split: str = "test"
    selected_at: float | None = None
    direction: str | None = None
    radius: float | None = None
    landscape: Landscape | None = None

    @property
    def backend(self) -> str:
        """What computes the condition: `native` or `crosssim` crossbars, plain weight `noise`, or `digital`."""
        if self.direction is not None:
            return "noise"
        if self.condition is None:
            return "digital"
        return self.deployment.backend if isinstance(self.condition, Crossbar) else "noise"

    @property
    def sigma(self) -> float | None:
        """The strength of Gaussian noise of scale filter_max, for plots over sigma (0 for digital); else None."""
        if self.split != "test" or self.direction is not None:
            return None
        if self.condition is None:
            return 0.0
        plottable = isinstance(self.condition, Gaussian) and self.condition.scale == "filter_max"
        return self.condition.sigma if plottable else None

    def chips(self, chips: int) -> int:
        """How many chips are worth evaluating: one where nothing is random. Of a landscape: its places."""
        if self.landscape is not None:
            return self.landscape.num_points
        return 1 if self.condition is None and self.direction is None else chips

    def selection(self, config: TrainingConfig) -> int:
        """Which of the epochs that training keeps is evaluated: its place in `config.selections`.

        Named by `selected_at`; else the nearest to this noise's own sigma (digital 0, Laplace its standard deviation).
        Raises InputError for a name that training does not keep, or a crossbar or other noise without one to go by.
        """
        kept = config.selections
        if self.selected_at is not None:
            if self.selected_at not in kept:
                known = ", ".join(map(str, kept))
                raise InputError(f"selected_at = {self.selected_at:g} is none of early stopping's sigmas ({known}).")
            return kept.index(self.selected_at)
        if len(kept) == 1:
            return 0
        strength = _filter_max_std(self)
        if strength is None:
            known = ", ".join(map(str, kept))
            raise InputError(
                f"of each training {len(kept)} epochs are kept; say which by `selected_at`, one of {known}."
            )
        return min(range(len(kept)), key=lambda i: abs(kept[i] - strength))


def _filter_max_std(target: Target) -> float | None:
    """The standard deviation of a target's noise in units of a filter's largest weight; None where it has no such."""
    noise = target.condition
    if target.direction is not None:
        return None
    if noise is None:
        return 0.0
    if isinstance(noise, Gaussian) and noise.scale == "filter_max":
        return noise.sigma
    if isinstance(noise, Laplace) and noise.scale == "filter_max":
        return noise.b if noise.matched_std else math.sqrt(2) * noise.b
    return None


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
    """The targets that one entry of a spec stands for: itself, after the uncompensated one where it compensates."""
    built = build_target(target)
    if not built.deployment.compensation:
        return [built]
    plain = replace(built, deployment=replace(built.deployment, compensation=()))
    name = "-".join([built.name, *built.deployment.compensation])
    return [plain, replace(built, name=_checked_name(name), corrects=plain.name)]


def build_target(target: Any) -> Target:
    """A target from a name or a table.

    Names: `digital`; `gaussian-S` and `laplace-B` (filter_max, strength S or B); a device of the library. Tables:
    {name, device, ...} for a crossbar, with the fields of Crossbar (`dac`, `adc` as tables, `mapping` as a name or a
    table of `weight_bits` and `slices`), `time_s`, `backend` and `compensation`, where the device is a name, the path
    of a card, or a card's own table; {name, noise = "gaussian", sigma, scale} for a noise; {name, noise = "gaussian" or
    "ascent", radius} for a perturbation of that L2 length; {name, landscape = N, span} for N x N places around the
    weights (`Landscape`); {name, split = "training"} for digital weights. Each may have `split` and `selected_at` (see
    Target).
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
    if is_reference(target):
        return _from_table({"device": target})
    if target not in card_names():
        known = ["digital", "gaussian-0.1", "laplace-0.1", *card_names()]
        raise unknown_name("target", target, known, advice=DEVICE_ADVICE)
    return Target(target, Crossbar(target))


def _from_table(table: dict[str, Any]) -> Target:
    options = {key: value for key, value in table.items() if key != "code_digests"}  # recorded, not read
    kinds = [key for key in BUILT_FROM if key in options]
    if len(kinds) > 1 or (not kinds and options.get("name") != "digital" and "split" not in options):
        raise InputError(f"a target table holds one of {', '.join(BUILT_FROM)}, got the keys {sorted(options)}.")
    common = {key: options.pop(key) for key in ("split", "selected_at") if key in options}
    require_known("split", common.get("split", "test"), SPLITS)
    if "selected_at" in common:
        require_finite("selected_at", common["selected_at"])
    if not kinds:
        check_keys(options, ("name",), name="a target of digital weights")
        return replace(Target(_checked_name(options.get("name"), digital=True), None), **common)
    return replace(BUILT_FROM[kinds[0]](options), **common)


def _under_noise(options: dict[str, Any]) -> Target:
    kind = options.pop("noise")
    require_known("noise", kind, (*NOISES, "ascent"))
    if "radius" in options or kind == "ascent":
        return _of_radius(kind, options)
    check_keys(options, ("name", *NOISE_KEYS[kind]), name="a target")
    name, strength = options.pop("name", None), NOISE_KEYS[kind][0]
    if name is None or strength not in options:
        raise InputError(f"a {kind} target needs `name` and `{strength}`.")
    return Target(_checked_name(name), NOISES[kind](**options))


def _of_radius(kind: str, options: dict[str, Any]) -> Target:
    """A perturbation of a given length: Gaussian of `scale`, or along the gradient."""
    check_keys(options, ("name", "radius", *(() if kind == "ascent" else ("scale",))), name="a target of a radius")
    require_finite("radius", options.get("radius"))
    if kind == "laplace":
        raise InputError("a radius is for noise = gaussian or ascent; give laplace its b.")
    condition = None if kind == "ascent" else Gaussian(1.0, options.get("scale", "filter_norm"))
    direction = "ascent" if kind == "ascent" else "random"
    return Target(_checked_name(options.get("name")), condition, direction=direction, radius=float(options["radius"]))


def _around_weights(options: dict[str, Any]) -> Target:
    check_keys(options, ("name", "landscape", "span"), name="a landscape")
    grid = Landscape(options["landscape"], options.get("span", 1.0))
    return Target(_checked_name(options.get("name")), None, direction="plane", landscape=grid)


def _on_crossbar(options: dict[str, Any]) -> Target:
    check_keys(options, ("name", *CROSSBAR_KEYS, *DEPLOYMENT_KEYS), name="a target")
    deployment = deployment_from({key: options[key] for key in DEPLOYMENT_KEYS if key in options})
    crossbar = crossbar_from({key: options[key] for key in CROSSBAR_KEYS if key in options})
    check_time(crossbar.card, deployment.time_s, on_out_of_range=crossbar.on_out_of_range)
    name = options.get("name")
    if name is None:
        name = crossbar.card.name + (f"-{time_label(deployment.time_s)}" if deployment.time_s else "")
    return Target(_checked_name(name), crossbar, deployment)


def _checked_name(name: Any, *, digital: bool = False) -> str:
    if not isinstance(name, str) or not re.fullmatch(NAME, name) or (name == "digital" and not digital):
        raise InputError(
            f"the name of a target is up to 80 letters, digits, '.', '_' and '-' (`digital` is taken), got {name!r}."
        )
    return name


BUILT_FROM = {"device": _on_crossbar, "noise": _under_noise, "landscape": _around_weights}  # key of a table -> target
