"""The weight mappings of CrossSim 3.2 (BSD-3, sandialabs/cross-sim); how a mapping is found, and a user's is tried."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from aimc_robust.errors import InputError, names_arguments, require_known, require_whole
from aimc_robust.hardware.config.mapping import WeightMapping, quantize_states
from aimc_robust.hardware.config.parallel_devices import ParallelDevices
from aimc_robust.io.user_code import call, construct, is_reference

ROUNDING = 1e-9  # by which a user's states may leave the window


class _DifferentialPair(WeightMapping):
    """Two devices, u = (g_plus - g_minus) / (1 - g_min)."""

    @property
    def signs(self) -> tuple[float, ...]:
        return (1.0, -1.0)

    def factors(self, g_min: float, cell_bits: int) -> tuple[tuple[float, ...], float]:
        return (1.0 / (1.0 - g_min),), 0.0


@dataclass(frozen=True)
class OneSided(_DifferentialPair):
    """Differential pair: the device of the weight's sign holds |u|, the other stays at g_min (BALANCED, ONE_SIDED)."""

    description = "one-sided"

    def to_states(self, u: Tensor, g_min: float, cell_bits: int) -> Iterator[Tensor]:
        """Yield the states of the positive, then of the negative device."""
        yield quantize_states(u.clamp(min=0.0).mul_(1.0 - g_min).add_(g_min), g_min, cell_bits)
        yield quantize_states(u.clamp(max=0.0).mul_(g_min - 1.0).add_(g_min), g_min, cell_bits)


@dataclass(frozen=True)
class TwoSided(_DifferentialPair):
    """Differential pair: both devices move around the middle of the window (BALANCED, TWO_SIDED)."""

    description = "two-sided"

    def to_states(self, u: Tensor, g_min: float, cell_bits: int) -> Iterator[Tensor]:
        """Yield the states of the positive, then of the negative device."""
        half = (1.0 - g_min) / 2.0
        yield quantize_states(u.mul(half).add_(half + g_min), g_min, cell_bits)
        yield quantize_states(u.mul(-half).add_(half + g_min), g_min, cell_bits)


@dataclass(frozen=True)
class Offset(WeightMapping):
    """One device per weight; zero is a state in the middle of the range, subtracted digitally.

    With b cell bits the range is (2^b - 2) / (2^b - 1) of the window, so that zero is a level. Reading back uses the
    same range; CrossSim's multiply uses the whole window there and is off by that factor. CrossSim: OFFSET.
    """

    description = "offset"

    @property
    def signs(self) -> tuple[float, ...]:
        """One device."""
        return (1.0,)

    @staticmethod
    def _range(g_min: float, cell_bits: int) -> float:
        return (1.0 - g_min) * ((2**cell_bits - 2) / (2**cell_bits - 1) if cell_bits else 1.0)

    def to_states(self, u: Tensor, g_min: float, cell_bits: int) -> Iterator[Tensor]:
        """Yield the states of the device."""
        span = self._range(g_min, cell_bits)
        yield quantize_states(u.add(1.0).mul_(span / 2.0).add_(1.0 - span), g_min, cell_bits)

    def factors(self, g_min: float, cell_bits: int) -> tuple[tuple[float, ...], float]:
        """Return the factor of the single bank, and the offset of zero."""
        span = self._range(g_min, cell_bits)
        return (2.0 / span,), -2.0 * (1.0 - span) / span - 1.0

    def check_cell_bits(self, cell_bits: int) -> None:
        """Raise InputError for 1 bit."""
        if cell_bits == 1:
            raise InputError("an offset mapping needs cell_bits of at least 2, or 0: with 1 bit, zero is not a level.")


@names_arguments
@dataclass(frozen=True)
class BitSliced(WeightMapping):
    """Digits of an integer weight, each on its own one-sided pair (CrossSim: BITSLICED, BALANCED).

    n = round(u (2^(B-1) - 1)) with B `weight_bits`; |n| in base 2^k, with k = B / S if that is an integer, else
    ceil((B - 1) / S), S `slices`. Slice i holds digit i / (2^k - 1) on the device of n's sign, least significant first.

    Attributes:
        weight_bits: Bits of the integer weight, sign included, 2 to 24.
        slices: Number of slices, each a bank.

    Raises:
        InputError: if a value is invalid or the last slice would be empty.
    """

    weight_bits: int = 8
    slices: int = 2

    def __post_init__(self) -> None:
        require_whole("weight_bits of a bit-sliced mapping", self.weight_bits, low=2, high=24)
        require_whole("slices of a bit-sliced mapping", self.slices, low=1, high=self.weight_bits - 1)
        if self.bits_per_slice * (self.slices - 1) >= self.weight_bits - 1:
            raise InputError(
                f"{self.weight_bits} weight bits in {self.slices} slices leave the last slice empty; use fewer slices."
            )

    @property
    def description(self) -> str:
        """Name with the numbers of bits and slices."""
        return f"bit-sliced ({self.weight_bits} bits in {self.slices} slices)"

    @property
    def bits_per_slice(self) -> int:
        """k: bits that one device holds."""
        if self.weight_bits % self.slices == 0:
            return self.weight_bits // self.slices
        return -(-(self.weight_bits - 1) // self.slices)

    @property
    def banks(self) -> int:
        """One bank per slice."""
        return self.slices

    @property
    def signs(self) -> tuple[float, ...]:
        """A pair per slice."""
        return (1.0, -1.0) * self.slices

    def to_states(self, u: Tensor, g_min: float, cell_bits: int) -> Iterator[Tensor]:
        """Yield the states of the positive and the negative device of each slice."""
        code = u.mul(2 ** (self.weight_bits - 1) - 1).round_()
        magnitude, base = code.abs(), 2.0**self.bits_per_slice
        for _ in range(self.slices):
            digit = torch.remainder(magnitude, base)
            magnitude = magnitude.sub_(digit).div_(base)
            g = digit.mul_((1.0 - g_min) / (base - 1.0))
            yield quantize_states(torch.where(code >= 0, g, 0.0).add_(g_min), g_min, cell_bits)
            yield quantize_states(torch.where(code < 0, g, 0.0).add_(g_min), g_min, cell_bits)

    def factors(self, g_min: float, cell_bits: int) -> tuple[tuple[float, ...], float]:
        """Return the weight of each slice's digit; the offset is 0."""
        k, top = self.bits_per_slice, 2 ** (self.weight_bits - 1) - 1
        return tuple(2.0 ** (k * i) * (2**k - 1) / top / (1.0 - g_min) for i in range(self.slices)), 0.0


MAPPINGS: dict[str, WeightMapping] = {
    "one-sided": OneSided(),
    "two-sided": TwoSided(),
    "offset": Offset(),
    "bit-sliced": BitSliced(),
}


def find_mapping(mapping: str | WeightMapping | type[WeightMapping]) -> WeightMapping:
    """Return a mapping by its name, its import path `package.module:name`, its class, or the mapping itself.

    `NAME*N` is the mapping of that name with N devices in place of each.

    Raises:
        UnknownNameError: if the name is unknown.
        InputError: if the import path does not lead to a mapping.
    """
    if isinstance(mapping, WeightMapping):
        return mapping
    if isinstance(mapping, type) and issubclass(mapping, WeightMapping):
        return mapping()
    if isinstance(mapping, str) and is_reference(mapping):
        return construct(mapping, WeightMapping, what="mapping")  # type: ignore[type-abstract]  # python/mypy#4717
    name, star, devices = str(mapping).partition("*")
    require_known("mapping", name if star else mapping, MAPPINGS)
    if star and not devices.isdecimal():
        raise InputError(f"expected a number of devices after the mapping, such as {name}*2, got {mapping!r}.")
    return ParallelDevices(MAPPINGS[name], int(devices)) if star else MAPPINGS[name]


def check_mapping(mapping: WeightMapping, g_min: float, cell_bits: int) -> None:
    """Try a user's mapping on a few weights: its states and factors must be what `WeightMapping` promises.

    Raises:
        InputError: if the mapping raises or modifies its weights; if states are too few or too many, of another shape,
            not finite or outside [g_min, 1]; or if signs or factors do not fit the number of banks.
    """
    if type(mapping) in map(type, MAPPINGS.values()):
        return
    name, signs, banks = type(mapping).__name__, mapping.signs, mapping.banks
    if banks < 1 or not signs or len(signs) % banks or any(abs(sign) != 1.0 for sign in signs):
        raise InputError(f"{name}.signs must be +1 or -1 for each device of {banks} equal banks, got {signs!r}.")
    weights = torch.linspace(-1.0, 1.0, 258, dtype=torch.float64).reshape(2, 129)
    u = weights.clone()
    states = call(lambda: list(mapping.to_states(u, g_min, cell_bits)), what=f"{name}.to_states")
    if not torch.equal(u, weights):
        raise InputError(f"{name}.to_states must not modify its weights; work on a copy.")
    if len(states) != len(signs):
        raise InputError(f"{name}.to_states must yield {len(signs)} states, one for each sign; got {len(states)}.")
    for g in states:
        if not isinstance(g, torch.Tensor) or g.shape != u.shape:
            got = tuple(g.shape) if isinstance(g, torch.Tensor) else type(g).__name__
            raise InputError(f"{name}.to_states must yield tensors of the weights' shape {tuple(u.shape)}, got {got}.")
        if not ((g >= g_min - ROUNDING) & (g <= 1.0 + ROUNDING)).all():
            raise InputError(
                f"{name}.to_states must yield states from {g_min:g} to 1, got {float(g.min()):g} to {float(g.max()):g}."
            )
    factors, offset = call(mapping.factors, g_min, cell_bits, what=f"{name}.factors")
    if len(factors) != banks or not all(map(math.isfinite, (*factors, offset))):
        raise InputError(
            f"{name}.factors must return a finite factor for each of {banks} banks and a finite offset, "
            f"got {factors!r} and {offset!r}."
        )
