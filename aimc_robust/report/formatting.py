"""What all pages share: templates, and how numbers are written."""

import html
import math

import jinja2

from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.paired_difference import PairedDifference


def template_environment(template: str) -> jinja2.Environment:
    """Jinja for one template: HTML is escaped, a missing value is an error."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("aimc_robust.report"),
        autoescape=template.endswith(".html.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {"number": number, "interval": interval, "bounds": bounds, "described": described, "short": short}
    made.filters |= {"times": times, "spread": spread}
    return made


def bounds(low: float | None, high: float | None, digits: int = 1) -> str:
    """An interval in brackets; empty where there is none."""
    if low is None or high is None or math.isnan(low):
        return ""
    return f"[{low:z.{digits}f}, {high:z.{digits}f}]"


def number(value: float | None, digits: int = 2) -> str:
    """A number for a table; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:z.{digits}f}"  # no minus before a zero


def spread(sd_noise: float | None, sd_seed: float | None, digits: int = 2) -> str:
    """` ± sd_noise ± sd_seed`, as the papers write it, without what is not known."""
    known = [sd for sd in (sd_noise, sd_seed) if sd is not None and not math.isnan(sd)]
    return "".join(f" ± {sd:.{digits}f}" for sd in known)


def times(ratio: float | None) -> str:
    """A ratio such as `2 ×`; a dash where there is none."""
    return "–" if ratio is None else f"{ratio:.3g} ×"


def short(value: float | None) -> str:
    """Three digits, whatever the size; a dash where there is none."""
    return "–" if value is None else f"{value:.3g}"


def interval(estimate: AccuracyEstimate | PairedDifference, digits: int = 1) -> str:
    """The 95 % interval in brackets; empty where there is none."""
    low, high = estimate.ci
    return "" if math.isnan(low) else f"[{low:.{digits}f}, {high:.{digits}f}]"


def described(svg: str, text: str) -> str:
    """An SVG element that a screen reader reads as a picture of `text`."""
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(text)}"', 1)


def p_value(value: float | None) -> str:
    """A p value with what digits it deserves; a dash where there is none."""
    if value is None or value != value:
        return "–"
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"
