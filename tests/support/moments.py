"""Mean and variance of the state of any target, from the table that the package looks them up in."""

from aimc_robust.devices.moments import moment_table


def state_moments(cell, target, **options):
    low, high = options.get("window") or cell.window
    if target.numel():
        low, high = min(low, float(target.min())), max(high, float(target.max()))
    return moment_table(cell, span=(low, high), **options).at(target)
