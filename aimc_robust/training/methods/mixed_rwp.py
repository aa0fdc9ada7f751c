"""Mixed random weight perturbation (m-RWP)."""

from dataclasses import dataclass
from typing import get_args

from aimc_robust.errors import InputError, require_finite, require_known
from aimc_robust.training.methods.base import BatchChoice, DataShard
from aimc_robust.training.methods.distributed import world
from aimc_robust.training.methods.rwp import RandomPerturbation


@dataclass(frozen=True, kw_only=True)
class MixedRWP(RandomPerturbation):
    """Mixed random weight perturbation: g = (1 - lam) grad L_B1(w) + lam grad L_B2(w + eps).

    See `RandomPerturbation` for the other arguments.

    Args:
        lam: Weight of the perturbed gradient, from 0 to 1.
        batches: `different` uses two batches per update, `same` one batch for both passes.
        parallel: Split the two passes over an even number of data-parallel workers: even ranks run the clean pass, odd
            ranks the perturbed one, and averaging the gradients mixes them. An update then takes the time of a single
            pass. Each worker passes one batch to `backward`; `shard` says which (`train` follows it).

    Raises:
        InputError: If an argument is invalid.
        UnknownNameError: If `batches` is unknown.

    References:
        m-RWP paper, Eq. 8 (its Algorithm 2 prints lam on the clean gradient; both agree at the default 0.5), Table A1
        for `batches`, Algorithm 2 for `parallel`.
    """

    lam: float = 0.5
    batches: BatchChoice = "different"
    parallel: bool = False

    def __post_init__(self) -> None:
        require_finite("lam", self.lam, high=1.0)
        require_known("batches", self.batches, get_args(BatchChoice))
        if not isinstance(self.parallel, bool):
            raise InputError(f"parallel must be true or false, got {self.parallel!r}.")
        super().__post_init__()
        if self.parallel and self.lam in (0.0, 1.0):
            raise InputError(f"lam {self.lam:g} gives one of the two passes weight 0; a parallel update needs both.")

    @property
    def batches_per_update(self) -> int:
        """Batches that `backward` takes on one process."""
        return 2 if self.batches == "different" and not self.parallel else 1

    @property
    def gradient_weights(self) -> tuple[float, float]:
        """(clean_weight, perturbed_weight) of the two gradients: (1 - lam, lam)."""
        return 1.0 - self.lam, self.lam

    @property
    def worker_gradient_weights(self) -> tuple[float, float]:
        """`gradient_weights` of this process: in a parallel update twice that of its pass, which averaging halves."""
        if not self.parallel:
            return self.gradient_weights
        rank, size = world()
        _require_even(size)
        clean_weight, perturbed_weight = self.gradient_weights
        return (0.0, 2.0 * perturbed_weight) if rank % 2 else (2.0 * clean_weight, 0.0)

    def shard(self, rank: int, size: int) -> DataShard:
        """Return the part of the training data that worker `rank` of `size` reads.

        Raises:
            InputError: If a parallel update has an odd number of workers.
        """
        if not self.parallel:
            return super().shard(rank, size)
        _require_even(size)
        return DataShard([rank % 2 if self.batches == "different" else 0], rank // 2, size // 2)

    @property
    def statistics_rank(self) -> int:
        """Rank of the worker whose BatchNorm statistics all use: the first that runs the pass named by `bn_stats`."""
        return int(self.parallel and self.bn_stats == "perturbed")


def _require_even(size: int) -> None:
    if size % 2:
        raise InputError(
            f"parallel m-RWP needs an even number of processes, got {size}; start it with `--devices 2`, with "
            "torchrun, or set parallel to false."
        )
