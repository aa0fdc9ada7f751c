"""How axes name a metric and its unit."""

from aimc_robust.statistics.primary_metric import PrimaryMetric


def unit_in_brackets(unit: str) -> str:
    """Return ` [unit]`; empty for a plain number."""
    return f" [{unit}]" if unit else ""


def axis_label(metric: PrimaryMetric) -> str:
    """Return the label of an axis: title and unit, and which direction is better where that is not up."""
    return f"{metric.title}{unit_in_brackets(metric.unit)}{direction(metric)}"


def direction(metric: PrimaryMetric) -> str:
    """Return `, lower is better`; empty where higher is."""
    return "" if metric.is_higher_better else ", lower is better"


def difference_label(metric: PrimaryMetric) -> str:
    """Return what differences of the metric are called: `points of accuracy`."""
    return f"{metric.difference_unit} of {metric.title}" if metric.difference_unit else metric.title


def state_unit(unit: str) -> str:
    """Return the unit of a device's states as an axis shows it."""
    return {"uS": "µS", "1": "share of full scale"}.get(unit, unit)
