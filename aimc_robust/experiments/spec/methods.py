"""A spec's method table to a method object. The methods' own fields are the schema: a new method needs nothing here."""

from typing import Any

from aimc_robust.errors import InputError, require_known, require_whole
from aimc_robust.io.from_table import from_table
from aimc_robust.targets.target import build_target
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.registry import METHODS


def build_method(label: str, table: dict[str, Any], *, seed: int) -> Method:
    """The method that `table` describes: `kind` (by default the label) and the fields of that method.

    Raises InputError or UnknownNameError for a kind, key or value that cannot be.
    """
    options = dict(table)
    kind = options.pop("kind", label)
    require_known("method", kind, METHODS)
    if "ramp" in options:
        options["ramp"] = from_table(Ramp, _ramp(options["ramp"]), what="ramp")
    if "noise" in options:
        noise = build_target(options["noise"])
        if noise.condition is None or noise.direction is not None:
            raise InputError(
                f"noise: `{noise.name}` is no noise to train with; name one such as gaussian-0.1, or a device."
            )
        if noise.deployment.time_s or noise.deployment.compensation or noise.deployment.backend != "native":
            raise InputError(
                "noise: training perturbs with the errors of programming; leave out time_s, backend and compensation."
            )
        options["noise"] = noise.condition
    return from_table(METHODS[kind], options, what=f"method {kind}", given={"seed": seed})


def _ramp(ramp: Any) -> Any:
    """The fields of a Ramp. `updates` of a `run` of so many updates are a fraction, which other runs keep."""
    if not isinstance(ramp, dict):
        return {"shape": ramp}
    if "run" not in ramp:
        return ramp
    rest = {key: value for key, value in ramp.items() if key not in ("updates", "run")}
    require_whole("`run` of a ramp", ramp["run"], low=1)
    require_whole("`updates` of a ramp", ramp.get("updates"), low=1, high=ramp["run"])
    return rest | {"fraction": ramp["updates"] / ramp["run"]}
