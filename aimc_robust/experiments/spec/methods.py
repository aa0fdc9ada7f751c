"""Build a training method from its table in a spec. The fields of the method classes are the schema."""

from typing import Any

from aimc_robust.errors import InputError, require_known, require_whole
from aimc_robust.io.dataclass_from_table import from_table
from aimc_robust.targets.build import build_target
from aimc_robust.targets.target import CrossbarTarget, NoiseTarget
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.registry import METHODS


def build_method(label: str, table: dict[str, Any], *, seed: int) -> Method:
    """Build the method that `table` describes.

    Args:
        label: Label of the method; names its kind if the table has no `kind`.
        table: `kind` (a name of `METHODS`) and the fields of that method.
        seed: Root seed of the method's random draws.

    Raises:
        InputError: if a key is missing or a value is invalid.
        UnknownNameError: if the kind or a key is unknown.
    """
    options = dict(table)
    kind = options.pop("kind", label)
    require_known("method", kind, METHODS)
    if "ramp" in options:
        options["ramp"] = from_table(Ramp, _ramp_table(options["ramp"]), name="ramp")
    if "noise" in options:
        noise = build_target(options["noise"])
        if not isinstance(noise, NoiseTarget | CrossbarTarget):
            raise InputError(
                f"noise: `{noise.name}` is not a noise to train with; name one such as gaussian-0.1, or a device."
            )
        if isinstance(noise, CrossbarTarget) and (noise.time_s or not noise.is_plain):
            raise InputError(
                "noise: training perturbs with programming errors only; remove time_s, backend and compensation."
            )
        options["noise"] = noise.condition
    return from_table(METHODS[kind], options, name=f"method {kind}", fixed={"seed": seed})


def _ramp_table(ramp: Any) -> Any:
    """Return the fields of a Ramp. `updates` out of a `run` of so many updates become a fraction of any run."""
    if not isinstance(ramp, dict):
        return {"shape": ramp}
    if "run" not in ramp:
        return ramp
    other_fields = {key: value for key, value in ramp.items() if key not in ("updates", "run")}
    require_whole("`run` of a ramp", ramp["run"], low=1)
    updates: Any = ramp.get("updates")
    require_whole("`updates` of a ramp", updates, low=1, high=ramp["run"])
    return other_fields | {"fraction": updates / ramp["run"]}
