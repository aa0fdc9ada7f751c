"""Training methods by the name that a spec gives them."""

from aimc_robust.training.methods.array_aware import ArrayAware
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM, AdaptiveSAM
from aimc_robust.training.methods.sgd import SGD

METHODS: dict[str, type[Method]] = {
    "sgd": SGD,
    "sam": SAM,
    "asam": AdaptiveSAM,
    "rwp": RWP,
    "m-rwp": MixedRWP,
    "array-aware": ArrayAware,
}
