"""Tables of a metric for tests."""

import pandas as pd

from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.primary_metric import ACCURACY


def estimate(models, *, pilot=None, metric=ACCURACY, **columns):
    """An estimate from a list of models, each a list of its chips' values; rows arrive in any order.

    columns: further columns, a value for each row in the order of models and chips, or one for all.
    """
    rows = [(seed, chip, value) for seed, chips in enumerate(models) for chip, value in enumerate(chips)]
    table = pd.DataFrame(rows, columns=["train_seed", "chip", metric.name]).assign(**columns)
    return Estimate(table.sample(frac=1.0, random_state=0), pilot, metric)
