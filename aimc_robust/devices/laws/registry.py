"""The laws that a card may name, by the table in which they stand. A new law is added to the union of its table.

Each union is resolved by the key `kind`, a literal of each law.
"""

from typing import Annotated

import pydantic

from aimc_robust.devices.laws.empirical import Empirical
from aimc_robust.devices.laws.logarithmic_drift import LogarithmicDrift
from aimc_robust.devices.laws.no_error import NoError
from aimc_robust.devices.laws.one_over_f_read import ClippedLogOneOverFRead, Log10OneOverFRead, OneOverFRead
from aimc_robust.devices.laws.piecewise_linear import PiecewiseLinear, PiecewiseLinearProgramming
from aimc_robust.devices.laws.polynomial import Polynomial, PolynomialProgramming
from aimc_robust.devices.laws.power_law_drift import PowerLawDrift
from aimc_robust.devices.laws.saturating_exponential import SaturatingExponential, SaturatingProgramming
from aimc_robust.devices.laws.table_drift import TableDrift

Programming = Annotated[
    NoError | PolynomialProgramming | SaturatingProgramming | PiecewiseLinearProgramming | Empirical,
    pydantic.Field(discriminator="kind"),
]
Drift = Annotated[TableDrift | PowerLawDrift | LogarithmicDrift, pydantic.Field(discriminator="kind")]
Read = Annotated[
    Polynomial | SaturatingExponential | PiecewiseLinear | OneOverFRead | ClippedLogOneOverFRead | Log10OneOverFRead,
    pydantic.Field(discriminator="kind"),
]
