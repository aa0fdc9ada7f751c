"""Accuracy and loss of a model on labelled batches."""

from aimc_robust.tasks.classification import Classification

measure = Classification().measure
