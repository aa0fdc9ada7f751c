"""The estimated diagonal of the Hessian itself, whose weighted sums the package computes."""

from torch.nn import functional as F

from aimc_robust.analysis.hessian_products import twice_differentiable
from aimc_robust.analysis.hutchinson import probe_diagonals
from aimc_robust.noise.analog_weights import weights_in_scope


def hessian_diagonal(model, batches, *, scope="weights", loss_fn=F.cross_entropy, seed=0, probes=1):
    """Parameter name -> mean over images and probes of v * (H v), of the parameter's shape."""
    total, sums = 0, {}
    with twice_differentiable(model, weights_in_scope(model, scope)) as weights:
        for draw in probe_diagonals(model, batches, weights, loss_fn, seed, probes):
            total += draw.images
            for name, diagonal in draw.diagonal.items():
                sums[name] = sums.get(name, 0) + diagonal * draw.images
    return {name: diagonal / total for name, diagonal in sums.items()}
