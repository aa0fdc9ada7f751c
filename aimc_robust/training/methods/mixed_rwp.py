"""Mixed random weight perturbation (m-RWP)."""

from dataclasses import dataclass

from aimc_robust.errors import InputError, require_finite, require_known
from aimc_robust.training.methods.distributed import world
from aimc_robust.training.methods.rwp import RandomPerturbation

BATCHES = ("different", "same")


@dataclass(frozen=True, kw_only=True)
class MixedRWP(RandomPerturbation):
    """g = (1 - lam) grad L_B1(w) + lam grad L_B2(w + eps).

    lam: share of the perturbed gradient, 0 to 1. batches: two `different` ones, or the `same` one twice.
    parallel: an even number of data-parallel workers shares the two passes: even ranks take the clean one, odd ranks
        the perturbed one, and averaging the gradients mixes them. An update then takes the time of a single pass. Each
        worker gives `backward` one batch; `shard` says which (`train` does so).
    Source: m-RWP paper, Eq. 8 (its Algorithm 2 prints lam on the clean gradient; at the default 0.5 they agree);
    batches: its Table A1; parallel: its Algorithm 2.
    """

    lam: float = 0.5
    batches: str = "different"
    parallel: bool = False

    def __post_init__(self) -> None:
        require_finite("lam", self.lam, high=1.0)
        require_known("batches", self.batches, BATCHES)
        if not isinstance(self.parallel, bool):
            raise InputError(f"parallel must be true or false, got {self.parallel!r}.")
        super().__post_init__()
        if self.parallel and self.lam in (0.0, 1.0):
            raise InputError(f"lam {self.lam:g} leaves one of the two passes out; a parallel update needs both.")

    @property
    def batches_per_update(self) -> int:
        """Batches that one process brings to an update."""
        return 2 if self.batches == "different" and not self.parallel else 1

    @property
    def gradient_weights(self) -> tuple[float, float]:
        return 1.0 - self.lam, self.lam

    @property
    def worker_gradient_weights(self) -> tuple[float, float]:
        """In a parallel update twice the share of this worker's pass: the mean over workers halves it."""
        if not self.parallel:
            return self.gradient_weights
        rank, size = world()
        _require_even(size)
        clean_share, perturbed_share = self.gradient_weights
        return (0.0, 2.0 * perturbed_share) if rank % 2 else (2.0 * clean_share, 0.0)

    def shard(self, rank: int, size: int) -> tuple[list[int], int, int]:
        if not self.parallel:
            return super().shard(rank, size)
        _require_even(size)
        return [rank % 2 if self.batches == "different" else 0], rank // 2, size // 2

    @property
    def statistics_from(self) -> int:
        """In a parallel update the first worker that makes the pass which `bn_stats` names."""
        return int(self.parallel and self.bn_stats == "perturbed")


def _require_even(size: int) -> None:
    if size % 2:
        raise InputError(
            f"parallel m-RWP needs an even number of processes, got {size}; start it with `--devices 2`, with "
            "torchrun, or set parallel to false."
        )
