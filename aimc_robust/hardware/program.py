"""Program a model onto simulated crossbars: the weight-error path."""

import copy

from torch import nn

from aimc_robust.errors import InputError, require_known
from aimc_robust.hardware.coverage import Coverage, count_coverage
from aimc_robust.hardware.crossbar import Crossbar
from aimc_robust.hardware.fold import fold_batchnorm
from aimc_robust.noise.perturb import perturb_weights
from aimc_robust.noise.scope import analog_layers
from aimc_robust.seeding import Axes

BACKENDS = ("native",)


def prepare(model: nn.Module) -> tuple[nn.Module, Coverage]:
    """A copy of `model` in evaluation form, BatchNorm folded, ready to be programmed; and what will be analog.

    Raises InputError when the model has no convolution or linear layer.
    """
    if not analog_layers(model):
        raise InputError(
            f"{type(model).__name__} has no layer that a crossbar can hold; expected at least one Conv1d, Conv2d, "
            "Conv3d or Linear."
        )
    prepared = copy.deepcopy(model).eval()
    folding = fold_batchnorm(prepared)
    prepared.eval()  # the parts that took a BatchNorm's place too
    return prepared, count_coverage(prepared, folding)


def coverage(model: nn.Module) -> Coverage:
    """How much of `model` a crossbar would hold, and what would stay digital. Raises as `prepare` does."""
    return prepare(model)[1]


def chip_axes(seed: int, chip: int) -> Axes:
    """The axes that name a chip: every weight's error derives from them and its layer's name."""
    return Axes(seed).at(chip=chip)


def program(
    model: nn.Module, crossbar: Crossbar, *, seed: int = 0, chip: int = 0, backend: str = "native"
) -> nn.Module:
    """`model` as it stands on chip number `chip`: an ordinary module with programmed weights, in evaluation form.

    The copy runs at plain torch speed; `model` is untouched. Weights of Conv1d to Conv3d (any groups) and Linear
    are programmed, biases and the rest stay digital (`ar.coverage(model)` names them). The same seed and chip give
    the same errors, whatever the batch size, the order of layers or the process.
    """
    require_known("backend", backend, BACKENDS)
    prepared, _ = prepare(model)
    perturb_weights(prepared, crossbar, generator=chip_axes(seed, chip))
    return prepared
