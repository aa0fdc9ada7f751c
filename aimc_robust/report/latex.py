"""LaTeX tables for papers; pandas' own need jinja2 and leave half of these signs as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aimc_robust.report.formatting import format_deviations, format_number

ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "[": "{[}", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "–": "--", "×": r"$\times$", "±": r"$\pm$", "−": "$-$",
    "µ": r"$\mu$", "σ": r"$\sigma$", "ρ": r"$\rho$", "λ": r"$\lambda$",
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Escape LaTeX's special characters, replace signs that its fonts lack, and put all on one line."""
    return "".join(ESCAPES.get(sign, sign) for sign in " ".join(text.split()))


def latex_value(
    value: float | None, sd_noise: float | None, sd_seed: float | None, *, digits: int = 2, bold: bool = False
) -> str:
    r"""$mean \pm sd_noise \pm sd_seed$."""
    text = format_number(value, digits)
    text = rf"\mathbf{{{text}}}" if bold else text
    return f"${text}{format_deviations(sd_noise, sd_seed, digits)}$".replace("±", r"\pm")


def latex_table(titles: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    r"""Return a tabular for a document with \usepackage{booktabs}.

    Args:
        titles: Titles of the columns, as plain text.
        rows: (plain text, LaTeX of the further cells).
    """
    lines = [[escape_latex(title) for title in titles], *([escape_latex(name), *cells] for name, cells in rows)]
    head, *body = (" & ".join(line) + r" \\" for line in lines)
    begin = rf"\begin{{tabular}}{{l{'r' * (len(titles) - 1)}}}"
    parts = [r"% needs \usepackage{booktabs}", begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule"]
    return "\n".join([*parts, r"\end{tabular}", ""])
