"""Fold BatchNorms, and check on an example input that the model computes the same."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from aimc_robust.hardware.conversion.batchnorm_folding import Folding, fold_batchnorm
from aimc_robust.hardware.conversion.example import GetExample
from aimc_robust.seeding import global_seed, seed_global_generators
from aimc_robust.tasks.batches import map_tensors
from aimc_robust.tasks.calling import call_model


@torch.no_grad()
def fold_checked(model: nn.Module, get_example: GetExample | None) -> tuple[nn.Module, Folding]:
    """Fold a model, in place, unless the folded model computes something else on an example: then not at all.

    A trace cannot see every way in which Python code may branch.
    """
    if get_example is None or not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return model, fold_batchnorm(model)
    original, example = copy.deepcopy(model), get_example()
    folding = fold_batchnorm(model, lambda: example)
    if not folding.folded:
        return model, folding
    try:
        with global_seed(0):
            want = _outputs(original, example)
            seed_global_generators(0)
            got = _outputs(model.eval(), example)
    except Exception:  # the model cannot take the example; what uses it next says so better
        return model, folding
    scale = max((float(x[x.isfinite()].abs().max()) for x in want if x.isfinite().any()), default=0.0)
    pairs = list(zip(want, got, strict=False))
    if len(want) == len(got) and all(
        x.shape == y.shape and ((x == y) | (x - y).abs().le(2e-3 * scale)).all() for x, y in pairs
    ):
        return model, folding
    reason = "the model computes something else with folded BatchNorms: its code uses them in a way that no trace shows"
    return original, Folding({}, dict.fromkeys([*folding.folded, *folding.not_folded], reason))


def _outputs(model: nn.Module, example: Any) -> list[Tensor]:
    """Return the outputs; those of a model in half precision, which cannot tell a fault from rounding, in float32."""
    if any(p.dtype in (torch.float16, torch.bfloat16) for p in model.parameters()):
        model = copy.deepcopy(model).float()
        example = map_tensors(example, lambda x: x.float() if x.is_floating_point() else x)
    outputs = tree_leaves(call_model(model, example))
    return [x.float() for x in outputs if isinstance(x, Tensor) and x.is_floating_point()]
