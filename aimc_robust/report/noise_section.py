"""What the pages say of targets that are no devices: how each changes the weights."""

from __future__ import annotations

from collections.abc import Iterable

from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.distributions import Gaussian, Laplace
from aimc_robust.noise.scales import NoiseScale
from aimc_robust.report.page_model import Bullets, Section
from aimc_robust.targets.target import AscentTarget, CrossbarTarget, DigitalTarget, NoiseTarget, RadiusTarget, Target

UNITS: dict[NoiseScale, str] = {
    "filter_max": " × the largest absolute weight of its filter",
    "filter_norm": " × the L2 norm of its filter",
    "layer_max": " × the largest absolute weight of its layer",
    "absolute": "",
}


def noise_section(targets: Iterable[Target]) -> Section | None:
    """List the targets that are neither digital weights nor crossbars, with their settings; None without any."""
    shown = [target for target in targets if not isinstance(target, CrossbarTarget | DigitalTarget)]
    items = [f"`{target.name}`: {describe_noise_target(target)}." for target in shown]
    return Section("Targets without a device", [Bullets(items)]) if items else None


def describe_noise_target(target: Target) -> str:
    """Describe what a target that is no device does to the weights."""
    match target:
        case NoiseTarget():
            return _noise(target.noise)
        case RadiusTarget():
            length = f"root mean square L2 length {target.radius:g} over all analog weights"
            return f"normal noise of {length}, where each weight's share is proportional to 1{UNITS[target.scale]}"
        case AscentTarget():
            return (
                f"all analog weights take a step of L2 length {target.radius:g} along the loss gradient of one "
                "training batch per chip"
            )
    return f"a target of kind {type(target).__name__}"


def _noise(noise: WeightNoise) -> str:
    each = "every analog weight gets"
    match noise:
        case Gaussian():
            return f"{each} normal noise with a standard deviation (sigma) of {noise.sigma:g}{UNITS[noise.scale]}"
        case Laplace(matched_std=True):
            return f"{each} Laplace noise with a standard deviation of {noise.b:g}{UNITS[noise.scale]}"
        case Laplace():
            return f"{each} Laplace noise with b = {noise.b:g}{UNITS[noise.scale]}; its standard deviation is √2 b"
    return f"{each} the noise {type(noise).__name__}"
