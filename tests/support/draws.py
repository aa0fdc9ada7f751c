"""The randomness of a test, by effect: the same seed gives the same cells."""

import torch

UNIFORM = ("programming-uniform", "stuck")


def draws(seed, calls=None):
    """A draw of `cell_states`: each effect has a stream of its own; `calls` collects the effects asked for."""

    def draw(effect, like):
        if calls is not None:
            calls.append(effect)
        generator = torch.Generator().manual_seed(seed * 1000 + sum(effect.encode()))
        make = torch.rand if effect in UNIFORM else torch.randn
        return make(like.shape, generator=generator, dtype=torch.float32).to(like.dtype)

    return draw


def fixed(**values):
    """A draw of stated tensors, which must be left as they are."""

    def draw(effect, like):
        return values[effect.replace("-", "_")].to(like.dtype).expand_as(like)

    return draw
