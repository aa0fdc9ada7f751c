"""A trial: one trained model of an experiment."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """One trained model."""

    model: str  # label of the method, or of the recipe, that it was trained with
    train_seed: int

    def __str__(self) -> str:
        return f"{self.model}-seed{self.train_seed}"
