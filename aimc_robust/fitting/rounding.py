"""Round fitted numbers to the digits that a card is written with."""

from aimc_robust.fitting.std_laws import FittedStd

DIGITS = 7


def round_number(value: float) -> float:
    """Round to 7 significant digits."""
    return float(f"{value:.{DIGITS}g}")


def round_numbers(values: tuple[float, ...]) -> tuple[float, ...]:
    """Round each number to 7 significant digits."""
    return tuple(round_number(value) for value in values)


def round_law(law: FittedStd) -> FittedStd:
    """Return the law with every parameter rounded to 7 significant digits."""
    values = law.model_dump()
    for key, value in values.items():
        if isinstance(value, float):
            values[key] = round_number(value)
        elif isinstance(value, tuple):
            values[key] = round_numbers(value)
    return type(law).model_validate(values)
