"""A user's mapping that breaks the rules of WeightMapping is refused when a crossbar is made of it."""

from dataclasses import dataclass

import pytest
import torch

from aimc_robust import Crossbar, WeightMapping
from aimc_robust.errors import InputError
from aimc_robust.hardware.config.standard_mappings import MAPPINGS, OneSided, check_mapping


@dataclass(frozen=True)
class Pair(WeightMapping):
    """One-sided pairs; each subclass breaks one rule."""

    signs = (1.0, -1.0)

    def to_states(self, u, g_min, cell_bits):
        for sign in self.signs:
            yield u.mul(sign).clamp(min=0.0).mul_(1.0 - g_min).add_(g_min)

    def factors(self, g_min, cell_bits):
        return (1.0 / (1.0 - g_min),), 0.0


class TooFew(Pair):
    def to_states(self, u, g_min, cell_bits):
        yield u.abs().clamp(min=g_min)


class OtherShape(Pair):
    def to_states(self, u, g_min, cell_bits):
        return [u.abs().clamp(min=g_min)[:, :3]] * 2


class NotANumber(Pair):
    def to_states(self, u, g_min, cell_bits):
        return [u * float("nan")] * 2


class BelowTheWindow(Pair):
    def to_states(self, u, g_min, cell_bits):
        return [u.abs()] * 2


class Modifying(Pair):
    def to_states(self, u, g_min, cell_bits):
        u.clamp_(min=0.0)
        return [u.clamp(min=g_min)] * 2


class NoTensor(Pair):
    def to_states(self, u, g_min, cell_bits):
        return [1.0, 1.0]


class OddSigns(Pair):
    signs = (1.0, 2.0)


class TooManyFactors(Pair):
    def factors(self, g_min, cell_bits):
        return (1.0, 1.0), 0.0


class InfiniteFactor(Pair):
    def factors(self, g_min, cell_bits):
        return (float("inf"),), 0.0


@dataclass(frozen=True)
class BrokenStandard(OneSided):
    def to_states(self, u, g_min, cell_bits):
        return [u.abs()] * 2


BROKEN = [
    TooFew,
    OtherShape,
    NotANumber,
    BelowTheWindow,
    Modifying,
    NoTensor,
    OddSigns,
    TooManyFactors,
    InfiniteFactor,
    BrokenStandard,
]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_mapping_that_breaks_a_rule_is_refused_by_name(kind):
    with pytest.raises(InputError, match=kind.__name__):
        Crossbar("rram-milo2021", mapping=kind)
    with pytest.raises(InputError, match=kind.__name__):
        Crossbar("rram-milo2021").replace(mapping=kind())


@pytest.mark.parametrize("cell_bits", [0, 3])
@pytest.mark.parametrize("g_min", [0.0, 0.2])
@pytest.mark.parametrize("name", MAPPINGS)
def test_the_standard_mappings_keep_the_rules_too(name, g_min, cell_bits):
    mapping = MAPPINGS[name]
    copy = type("Copy", (type(mapping),), {})(**vars(mapping))
    check_mapping(copy, g_min, cell_bits)


def test_a_right_mapping_is_taken_and_tried_without_random_numbers():
    before = torch.get_rng_state()
    assert Crossbar("rram-milo2021", mapping=Pair()).weights.mapping == Pair()
    assert torch.equal(before, torch.get_rng_state())
