"""Mean and variance of the state at targets of the window, from the table that the package looks them up in."""

from aimc_robust.devices.moments import moment_table


def state_moments(cell, target, **options):
    return moment_table(cell, **options).at(target)
