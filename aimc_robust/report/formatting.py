"""Formatting of numbers in pages, tables and terminal output; LaTeX tables for papers."""

import math
from collections.abc import Callable, Iterable, Sequence

MISSING = "–"
Number = Callable[[float | None], str]
"""A function that formats a number."""


def format_number(value: float | None, digits: int = 2) -> str:
    """Format a number with fixed decimals; `–` for None or NaN, and no minus sign before a zero."""
    return MISSING if value is None or math.isnan(value) else f"{value:z.{digits}f}"


def format_significant(value: float | None, digits: int = 3) -> str:
    """Format a number with significant digits; `–` for None or NaN."""
    return MISSING if value is None or math.isnan(value) else f"{value:.{digits}g}"


def format_ratio(ratio: float | None) -> str:
    """Format a ratio such as `2 ×`; `–` for None."""
    return MISSING if ratio is None else f"{ratio:.3g} ×"


def format_interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """Format an interval as `[low, high]`; empty for None or NaN."""
    if low is None or high is None or math.isnan(low):
        return ""
    return f"[{low:z.{digits}f}, {high:z.{digits}f}]"


def format_deviations(
    sd_noise: float | None, sd_seed: float | None, number: Number = format_number, *, every: bool = False
) -> str:
    """Format ` ± sd_noise ± sd_seed`, leaving out those that are None or NaN unless `every` is to be shown."""
    known = [text for sd in (sd_noise, sd_seed) if (text := number(sd)) != MISSING or every]
    return "".join(f" ± {text}" for text in known)


def format_p_value(value: float | None) -> str:
    """Format a p value with two significant digits; `–` for None or NaN."""
    if value is None or math.isnan(value):
        return MISSING
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "[": "{[}", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--", "×": r"$\times$", "±": r"$\pm$", "−": "$-$",
    "µ": r"$\mu$", "σ": r"$\sigma$", "ρ": r"$\rho$", "λ": r"$\lambda$",
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Escape LaTeX's special characters, replace signs that its fonts lack, and put all on one line."""
    return "".join(ESCAPES.get(sign, sign) for sign in " ".join(text.split()))


def latex_value(
    value: float | None,
    sd_noise: float | None,
    sd_seed: float | None,
    *,
    number: Number = format_number,
    bold: bool = False,
    every: bool = False,
) -> str:
    r"""$mean \pm sd_noise \pm sd_seed$; see `format_deviations`."""
    text = number(value)
    text = rf"\mathbf{{{text}}}" if bold else text
    deviations = format_deviations(sd_noise, sd_seed, number, every=every)
    return f"${text}{deviations}$".replace("±", r"\pm").replace(MISSING, r"\mbox{--}")


def latex_table(titles: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return a tabular, which needs booktabs: titles as plain text, rows of (plain text, LaTeX of the other cells)."""
    lines = [[escape_latex(title) for title in titles], *([escape_latex(name), *cells] for name, cells in rows)]
    head, *body = (" & ".join(line) + r" \\" for line in lines)
    begin = rf"\begin{{tabular}}{{l{'r' * (len(titles) - 1)}}}"
    parts = [r"% needs \usepackage{booktabs}", begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule"]
    return "\n".join([*parts, r"\end{tabular}", ""])
