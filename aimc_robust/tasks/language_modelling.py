"""Language modelling: the probability of each next token, or of masked tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from aimc_robust.errors import DataError, require_type
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.tasks.batches import Batch, label_key, unpack
from aimc_robust.tasks.classification import (
    check_classes,
    class_labels,
    mean_cross_entropy,
    number_of_classes,
    scored_items,
)
from aimc_robust.tasks.divergence import class_divergence
from aimc_robust.tasks.task import Task

PERPLEXITY = PrimaryMetric("perplexity", "", "lower", (1.0, math.inf))


@dataclass(frozen=True, kw_only=True)
class LanguageModelling(Task):
    """Scores (N, T, vocabulary) and tokens (N, T). The loss is the cross-entropy per token [nats].

    Batches are those of transformers, or a tensor of tokens (N, T). Without labels, the labels are the tokens (if
    `shift`); those that `attention_mask` leaves out are not scored.

    Args:
        shift: Whether the output at a token is for the next token, as in GPT and Llama; False for masked language
            models such as BERT, whose labels are at their own places.
        ignore_index: Label of tokens that are not scored.
    """

    items: ClassVar[str] = "tokens"
    batch_size: ClassVar[int] = 8
    needs_labels: ClassVar[bool] = False
    shift: bool = True
    ignore_index: int = -100

    def __post_init__(self) -> None:
        require_type("shift", self.shift, bool, example="True or False")
        require_type("ignore_index", self.ignore_index, int, example="a whole number such as -100")

    @property
    def primary(self) -> PrimaryMetric:
        """Perplexity, the exponential of the mean loss."""
        return PERPLEXITY

    def unpack(self, batch: Batch) -> tuple[Any, Any]:
        """Return (inputs, labels), with the tokens as labels where a batch has none."""
        if isinstance(batch, tuple | list) and len(batch) == 1:
            (batch,) = batch
        has_labels = label_key(batch) is not None if isinstance(batch, Mapping) else not isinstance(batch, Tensor)
        if has_labels:
            return unpack(batch)
        if not self.shift:
            raise DataError("expected labels in each batch: with shift=False they are not the tokens themselves.")
        if isinstance(batch, Tensor):
            return batch, batch
        if not isinstance(batch.get("input_ids"), Tensor):
            raise DataError(f"expected input_ids or labels in each batch, got {', '.join(map(str, batch)) or 'none'}.")
        labels, mask = batch["input_ids"], batch.get("attention_mask")
        return dict(batch), labels if mask is None else labels.masked_fill(mask == 0, self.ignore_index)

    def align(self, outputs: Tensor, labels: Any) -> tuple[Tensor, Tensor]:
        """Return the scores that have a label, and the labels, see `Task.align`."""
        if outputs.ndim != 3:
            raise DataError(f"expected the model to return (N, T, vocabulary) scores, got {tuple(outputs.shape)}.")
        labels = class_labels(labels, outputs.shape[:-1], "one token as the label of each token")
        if self.shift:
            if labels.shape[1] < 2:
                raise DataError("expected at least two tokens in each text: the next one is predicted; got one.")
            outputs, labels = outputs[:, :-1], labels[:, 1:]
        return outputs, labels

    def check(self, outputs: Tensor, labels: Tensor) -> None:
        """Raise DataError if a label is neither a token of the vocabulary nor ignored."""
        check_classes(labels, outputs.shape[-1], self.ignore_index)

    def outputs(self, labels: Tensor) -> int:
        """Return the size of the vocabulary."""
        return number_of_classes(labels, self.ignore_index)

    def count(self, labels: Tensor) -> int:
        """Return the number of tokens that are scored."""
        return int((labels != self.ignore_index).sum())

    def scored(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (items, classes) and labels (items,) of those that are not ignored."""
        return scored_items(outputs, labels, self.ignore_index)

    def loss(self, outputs: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean cross-entropy."""
        return mean_cross_entropy(outputs, labels, self.ignore_index, label_smoothing)

    def divergence(self, outputs: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
        """Return the divergence of the class probabilities of what is scored."""
        return class_divergence(outputs, teacher, labels != self.ignore_index, temperature)

    def metrics_of_loss(self, loss: float) -> dict[str, float]:
        """Return the perplexity."""
        return {"perplexity": float(np.exp(np.float64(loss)))}
