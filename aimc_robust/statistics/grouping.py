"""Values per chip grouped by trained model, with the mean and standard deviation of each group."""

import numpy as np

ModelValues = np.ndarray | list[np.ndarray]
"""The values of each model's chips: an array of shape (models, chips) if all models have equally many chips, otherwise
a list of arrays. The array form is about ten times faster to reduce."""


def group_by_model(seeds: np.ndarray, values: np.ndarray) -> ModelValues:
    """Split values into one group per trained model.

    Args:
        seeds: Seed of the model of each value, shape (n,), in ascending order.
        values: Values to split, shape (n,).

    Returns:
        An array of shape (models, chips) if all groups have the same size, otherwise a list of arrays.
    """
    starts = np.flatnonzero(seeds[1:] != seeds[:-1]) + 1
    models, chips = len(starts) + 1, len(values) // (len(starts) + 1)
    if len(values) == models * chips and np.array_equal(starts, chips * np.arange(1, models)):
        return values.reshape(models, chips)
    return np.split(values, starts)


def model_means(models: ModelValues) -> np.ndarray:
    """Mean over chips of each model, shape (models,)."""
    return models.mean(axis=1) if isinstance(models, np.ndarray) else np.array([chips.mean() for chips in models])


def model_stds(models: ModelValues) -> np.ndarray:
    """Sample standard deviation over chips of each model that has at least two chips."""
    if isinstance(models, np.ndarray):
        return models.std(axis=1, ddof=1) if models.shape[1] > 1 else np.array([])
    return np.array([chips.std(ddof=1) for chips in models if len(chips) > 1])
