"""A table of drift read at any time: coefficients interpolated between its rows."""

import bisect
import math
from itertools import zip_longest

from aimc_robust.devices.laws import Polynomial, SaturatingExponential, TableDrift

# An extrapolated constant of a saturating exponential stays above this [card.unit]: the curve is then a step.
LEAST_CONSTANT = 1e-6


def row_at(law: TableDrift, time_s: float) -> tuple[tuple[float, ...], Polynomial | SaturatingExponential]:
    """Shift coefficients (ascending powers of the target) and the law of the standard deviation at `time_s`.

    c(t) = c_a + (c_b - c_a) * (f(t) - f(t_a)) / (f(t_b) - f(t_a)), f(t) = t or log10(t), for each coefficient c;
    a and b are the rows around `time_s`, beyond the last row the last two.
    """
    scale = math.log10 if law.interpolation == "log" else float
    times = [row.time_s for row in law.at]
    after = min(max(bisect.bisect_left(times, time_s), 1), len(times) - 1)
    a, b = law.at[after - 1], law.at[after]
    share = (scale(time_s) - scale(a.time_s)) / (scale(b.time_s) - scale(a.time_s))

    def mix(x: float, y: float) -> float:
        return (1.0 - share) * x + share * y

    shift = tuple(mix(x, y) for x, y in zip_longest(a.shift, b.shift, fillvalue=0.0))
    match a.std:
        case Polynomial(coefficients=coefficients):
            mixed = tuple(mix(x, y) for x, y in zip_longest(coefficients, b.std.coefficients, fillvalue=0.0))
            return shift, a.std.model_copy(update={"coefficients": mixed})
        case SaturatingExponential():
            constant = max(mix(a.std.constant, b.std.constant), LEAST_CONSTANT)
            return shift, a.std.model_copy(
                update={"amplitude": mix(a.std.amplitude, b.std.amplitude), "constant": constant}
            )
