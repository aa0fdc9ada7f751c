"""A slow float64 implementation of arrays in plain loops, the oracle of the tests: one output, tile and bank at a time.

It follows the documented formulas and shares no code with the package but its arguments and the tile borders, which
`test_tiling.py` checks.
"""

import math
from dataclasses import dataclass

import numpy as np

from aimc_robust import ADC, DAC, BitSliced
from aimc_robust.hardware.config.tiling import partition


def level(x: float, low: float, high: float, steps: int) -> float:
    """The nearest of steps + 1 equally spaced levels on [low, high], after clipping."""
    clipped = min(max(x, low), high)
    return low + (high - low) * round((clipped - low) * steps / (high - low)) / steps


def target(g: float, g_min: float, cell_bits: int) -> float:
    return level(g, g_min, 1.0, 2**cell_bits - 1) if cell_bits else g


def signed_states(u: float, mapping: object, g_min: float, cell_bits: int) -> list[float]:
    """The signed sum of the states that hold u, for each bank."""
    span = 1.0 - g_min
    if mapping == "one-sided":
        return [
            target(g_min + span * max(u, 0.0), g_min, cell_bits) - target(g_min + span * max(-u, 0.0), g_min, cell_bits)
        ]
    if mapping == "two-sided":
        return [
            target(g_min + span * (1 + u) / 2, g_min, cell_bits) - target(g_min + span * (1 - u) / 2, g_min, cell_bits)
        ]
    if mapping == "offset":
        span *= (2**cell_bits - 2) / (2**cell_bits - 1) if cell_bits else 1.0
        return [target(1.0 - span + span * (1 + u) / 2, g_min, cell_bits)]
    assert isinstance(mapping, BitSliced)
    number = round(u * (2 ** (mapping.weight_bits - 1) - 1))
    digits, rest = [], abs(number)
    for _ in range(mapping.slices):
        rest, digit = divmod(rest, 2**mapping.bits_per_slice)
        digits.append(digit / (2**mapping.bits_per_slice - 1))
    return [math.copysign(target(g_min + span * digit, g_min, cell_bits) - g_min, number) for digit in digits]


def weights_of_banks(mapping: object, g_min: float, cell_bits: int) -> tuple[list[float], float]:
    """Factor of each bank, and the offset that is subtracted digitally."""
    span = 1.0 - g_min
    if mapping == "offset":
        span *= (2**cell_bits - 2) / (2**cell_bits - 1) if cell_bits else 1.0
        return [2.0 / span], -2.0 * (1.0 - span) / span - 1.0
    if isinstance(mapping, BitSliced):
        k, top = mapping.bits_per_slice, 2 ** (mapping.weight_bits - 1) - 1
        return [2 ** (k * i) * (2**k - 1) / top / span for i in range(mapping.slices)], 0.0
    return [1.0 / span], 0.0


def applied(x: float, dac: DAC | None) -> float:
    """The input that the DAC applies, in the layer's unit."""
    if dac is None or dac.kind == "ideal":
        return x
    if dac.kind == "unsigned":
        return level(x, 0.0, dac.full_scale, 2**dac.bits - 1)
    steps = 2**dac.bits - (1 if dac.kind == "signed" else 2)
    return level(x, -dac.full_scale, dac.full_scale, steps)


def converted(current: float, adc: ADC | None) -> float:
    if adc is None:
        return current
    return level(current, *adc.range, 2**adc.bits - (2 if adc.kind == "sign-magnitude" else 1))


def column(states: np.ndarray, inputs: list[float], dac: DAC | None, adc: ADC | None) -> float:
    """What one column of one array gives; inputs in the layer's unit, after the DAC. In units of full-scale inputs."""
    scale = 1.0 if dac is None or dac.full_scale is None else dac.full_scale
    if dac is None or not dac.slice_bits:
        return converted(sum(float(g) * x / scale for g, x in zip(states, inputs, strict=True)), adc)
    bits = dac.bits if dac.kind == "unsigned" else dac.bits - 1
    s, total = dac.slice_bits, 0.0
    codes = [round(abs(x) / scale * (2**bits - 1)) for x in inputs]
    slices = math.ceil(bits / s)
    for part in range(slices):
        digits = [
            (code >> (s * part)) % 2**s / (2**s - 1) * math.copysign(1.0, x)
            for code, x in zip(codes, inputs, strict=True)
        ]
        current = sum(float(g) * digit for g, digit in zip(states, digits, strict=True))
        total = (total + (converted(current, adc) if adc is not None and adc.per_slice else current)) / 2**s
    total *= (2**s - 1) * 2 ** (s * slices - bits) * 2**bits / (2**bits - 1)
    return total if adc is not None and adc.per_slice else converted(total, adc)


@dataclass(kw_only=True)
class Oracle:
    """Arrays that hold one matrix. banks: signed states (outputs, rows and bias rows) of each; limit: (outputs,)."""

    banks: list[np.ndarray]
    factors: list[float]
    offset: float
    limit: np.ndarray
    rows: int = 0
    dac: DAC | None = None
    adc: ADC | None = None

    @classmethod
    def of(
        cls,
        matrix: np.ndarray,
        *,
        mapping: object = "one-sided",
        g_min: float = 0.0,
        cell_bits: int = 0,
        scaling: str = "layer",
        **converters: object,
    ) -> "Oracle":
        """Arrays without errors that hold `matrix`, (outputs, rows and bias rows)."""
        largest = np.abs(matrix).max(axis=1)
        limit = largest if scaling == "column" else np.full(len(matrix), largest.max())
        each = [
            [signed_states(w / m if m else 0.0, mapping, g_min, cell_bits) for w in row]
            for row, m in zip(matrix, limit, strict=True)
        ]
        factors, offset = weights_of_banks(mapping, g_min, cell_bits)
        banks = list(np.moveaxis(np.array(each), 2, 0))
        return cls(banks=banks, factors=factors, offset=offset, limit=limit, **converters)

    def output(self, number: int, x: np.ndarray) -> float:
        """One output, without digital bias; x: what drives every row, in the layer's unit."""
        inputs = [applied(float(value), self.dac) for value in x]
        scale = 1.0 if self.dac is None or self.dac.full_scale is None else self.dac.full_scale
        total = 0.0
        for factor, states in zip(self.factors, self.banks, strict=True):
            for start, stop in partition(len(inputs), self.rows):
                total += factor * scale * column(states[number, start:stop], inputs[start:stop], self.dac, self.adc)
        return float(self.limit[number]) * (total + self.offset * sum(inputs))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Outputs (images, outputs) of inputs (images, rows)."""
        return np.array([[self.output(number, row) for number in range(len(self.limit))] for row in x])
