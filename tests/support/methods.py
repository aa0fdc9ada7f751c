"""Methods from the tables of a spec."""

from aimc_robust.experiments.spec.methods import MethodEntry
from aimc_robust.io.toml import parse_value


def build_method(label, table, *, seed):
    """The method that a spec's table describes; its kind is the label where it is left out."""
    return parse_value({"kind": label} | table, MethodEntry, source=f"method {label}").build(seed=seed)
