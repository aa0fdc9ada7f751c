"""A trial: one method and one training seed of a comparison."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """One trained model of a comparison.

    Attributes:
        method: Label of the method.
        seed: Training seed.
    """

    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.method}-seed{self.seed}"
