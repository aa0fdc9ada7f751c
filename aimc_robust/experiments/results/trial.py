"""A trial: one method and one training seed of a comparison."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """One trained model: a method's label and a seed."""

    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.method}-seed{self.seed}"
