"""How far a model's probabilities are from a teacher's, at a temperature."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def class_divergence(scores: Tensor, teacher: Tensor, counted: Tensor, temperature: float) -> Tensor:
    """Return T^2 times the mean over items of KL(teacher || model) of scores (..., classes); 0 without items.

    Classes of a probability of 0 for the teacher, as of scores of -infinity, do not count, and items only where
    `counted` (...) is true.
    """
    precise = torch.promote_types(scores.dtype, torch.float32)
    model = F.log_softmax(scores.to(precise) / temperature, dim=-1)
    target = F.log_softmax(teacher.to(precise) / temperature, dim=-1)
    probability = target.exp()
    terms = torch.where((probability > 0) & counted.unsqueeze(-1), target - model, 0.0)
    return temperature**2 * (probability * terms).sum() / counted.sum().clamp(min=1)


def label_divergence(scores: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 times the mean over all labels of KL(teacher || model) of yes or no, for scores before a sigmoid."""
    precise = torch.promote_types(scores.dtype, torch.float32)
    model, target = scores.to(precise) / temperature, teacher.to(precise) / temperature
    probability = target.sigmoid()
    cross = F.binary_cross_entropy_with_logits(model, probability)
    return temperature**2 * (cross - F.binary_cross_entropy_with_logits(target, probability))
