"""A spec's method table to a method object. The methods' own fields are the schema: a new method needs nothing here."""

from typing import Any

import pydantic

from aimc_robust.bench.from_table import from_table
from aimc_robust.bench.targets import build_target
from aimc_robust.errors import InputError, require_known
from aimc_robust.toml_files import StrictModel, parse
from aimc_robust.training import METHODS, Method, Ramp


class RampSpec(StrictModel):
    """A ramp whose length is given in updates or as a fraction of the run."""

    shape: str
    updates: int | None = None
    fraction: float | None = pydantic.Field(default=None, gt=0, le=1)

    def ramp(self, total_updates: int) -> Ramp:
        """The ramp in updates, for a run of `total_updates`."""
        if self.fraction is not None and self.updates is not None:
            raise InputError("a ramp takes its length as `updates` or as `fraction` of the run, not both.")
        updates = self.updates if self.fraction is None else max(1, round(self.fraction * total_updates))
        return Ramp(shape=self.shape, updates=updates)


def build_method(label: str, table: dict[str, Any], *, total_updates: int, seed: int) -> Method:
    """The method that `table` describes: `kind` (by default the label) and the fields of that method.

    Raises InputError or UnknownNameError for a kind, key or value that cannot be.
    """
    options = dict(table)
    kind = options.pop("kind", label)
    require_known("method", kind, METHODS)
    if "ramp" in options:
        ramp = options["ramp"] if isinstance(options["ramp"], dict) else {"shape": options["ramp"]}
        options["ramp"] = parse(ramp, RampSpec, source="ramp").ramp(total_updates)
    if "noise" in options:
        noise = build_target(options["noise"])
        if noise.condition is None:
            raise InputError("noise: `digital` is no noise; name a noise such as gaussian-0.1, or a device.")
        if noise.deployment.time_s or noise.deployment.compensation or noise.deployment.backend != "native":
            raise InputError(
                "noise: training perturbs with the errors of programming; leave out time_s, backend and compensation."
            )
        options["noise"] = noise.condition
    return from_table(METHODS[kind], options, what=f"method {kind}", given={"seed": seed})
