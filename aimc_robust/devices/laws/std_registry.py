"""The laws of a standard deviation over the state that a card may name."""

from typing import Annotated

import pydantic

from aimc_robust.devices.laws.polynomial import Polynomial
from aimc_robust.devices.laws.saturating_exponential import SaturatingExponential

Std = Annotated[Polynomial | SaturatingExponential, pydantic.Field(discriminator="kind")]
