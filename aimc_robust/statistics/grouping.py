"""Accuracies split by trained model, and what is computed of each."""

from collections.abc import Sequence

import numpy as np

Models = Sequence[np.ndarray]
"""For each model the accuracies of its chips; one array of shape (models, chips) where all have equally many, since a
call for all of them takes a tenth of the time of a call for each."""


def by_model(seeds: np.ndarray, values: np.ndarray) -> Models:
    """`values` split where `seeds`, of the same length and in rising order, change."""
    starts = np.flatnonzero(seeds[1:] != seeds[:-1]) + 1
    models, chips = len(starts) + 1, len(values) // (len(starts) + 1)
    if len(values) == models * chips and np.array_equal(starts, chips * np.arange(1, models)):
        return values.reshape(models, chips)
    return np.split(values, starts)


def means(models: Models) -> np.ndarray:
    """The mean of each model's values."""
    return models.mean(axis=1) if isinstance(models, np.ndarray) else np.array([chips.mean() for chips in models])


def deviations(models: Models) -> np.ndarray:
    """The standard deviation over chips of each model with two chips or more."""
    if isinstance(models, np.ndarray):
        return models.std(axis=1, ddof=1) if models.shape[1] > 1 else np.array([])
    return np.array([chips.std(ddof=1) for chips in models if len(chips) > 1])
