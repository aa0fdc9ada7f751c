"""From the values at a converter to its range."""

from typing import Protocol


class Values(Protocol):
    """Values at one point of a layer: their extremes, and their quantiles.

    `span` returns the quantiles 1 - percentile and percentile.
    """

    low: float
    high: float

    def span(self, percentile: float) -> tuple[float, float]: ...  # noqa: D102


def input_range(values: Values, *bias_inputs: Values, percentile: float) -> tuple[float, float]:
    """Return the range of a layer's inputs; the input of its bias rows is never clipped."""
    low, high = values.span(percentile)
    low = 0.0 if values.low >= 0 else low
    high = max([high, *(sample.high for sample in bias_inputs)])
    return (low, high) if high > low else (low, low + 1.0)  # a layer with a single input value


def output_range(values: Values, percentile: float, symmetric: bool) -> tuple[float, float]:
    """Return the range of an ADC; `symmetric` about 0 if it is asked for."""
    low, high = values.span(percentile)
    if symmetric:
        high = max(abs(low), abs(high))
        low = -high
    return (low, high) if high > low else (low - 1.0, high + 1.0)
