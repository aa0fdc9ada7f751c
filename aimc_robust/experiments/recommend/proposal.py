"""Propose a training method and its strength from the strength of a device's errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aimc_robust.errors import InputError, require_finite

PAPER = "Incorruptible Neural Networks (Jacobson et al., 2026)"
# sigma_train / sigma_test. The best of the paper's Table 1: 2.5, 1.7, 1.2, 1.1; of Table 12 with a ramp: 1.4.
SIGMA_FACTOR = 1.5
LARGE_SIGMA_FACTOR = 2.5
RWP_RAMP = 0.55  # length as a fraction of the run: the paper's App. H.2
RHO = 0.3  # the best constant of Table 2
COARSE_BITS = 6  # of a converter; published training through converters is for 8 bits and fewer
ROUNDING = 1e-6  # of the largest weight: errors that floating-point arithmetic alone causes


@dataclass(frozen=True)
class Proposal:
    """A proposed training method, and the methods that it is compared with.

    Attributes:
        label: Label of the proposed method.
        reasons: Why it is proposed, a sentence each.
        methods: Label -> table of a spec: the methods of the sweep, the baseline first.
        questions: Label of a rival -> what the comparison with it answers.
    """

    label: str
    reasons: tuple[str, ...]
    methods: dict[str, dict[str, Any]]
    questions: dict[str, str]

    @property
    def settings(self) -> dict[str, Any]:
        """Table of the proposed method, as in a spec."""
        return self.methods[self.label]


def propose(sigma: float, *, identified: bool = True, arrays: Mapping[str, Any] | None = None) -> Proposal:
    """Propose a method for a device whose errors act like Gaussian filter_max noise of strength `sigma`.

    Either sigma is `identified`: it follows from what device and noise cost. Or it is the root mean square of the
    weight errors. With `arrays`, from `array_settings`, training through the arrays, with Gaussian noise of that
    strength, is among the methods; it is the proposal where converters are coarse.
    """
    require_finite("sigma", sigma)
    if sigma <= ROUNDING:
        raise InputError(
            f"a device without errors needs no robust training; sigma = {sigma:.2g} is within floating-point rounding."
        )
    factors = (1.0, SIGMA_FACTOR, LARGE_SIGMA_FACTOR)
    matched, proposed, large = (float(f"{factor * sigma:.3g}") for factor in factors)
    ramp = {"shape": "quadratic", "fraction": RWP_RAMP}
    candidates: dict[str, tuple[dict[str, Any], str]] = {
        "sgd": ({}, "does robust training pay on this device"),
        f"rwp-{matched:g}": (
            {"kind": "rwp", "sigma": matched},
            "is more noise in training than in the device better (Theorem 4.1)",
        ),
        f"rwp-{proposed:g}": ({"kind": "rwp", "sigma": proposed}, "is random perturbation better"),
        f"rwp-{proposed:g}-ramp": ({"kind": "rwp", "sigma": proposed, "ramp": ramp}, "does a ramp help"),
        f"rwp-{large:g}": ({"kind": "rwp", "sigma": large}, "is still more noise better"),
        f"m-rwp-{proposed:g}": (
            {"kind": "m-rwp", "sigma": proposed},
            "is it worth twice the cost to mix in the clean gradient",
        ),
        "sam": ({"kind": "sam", "rho": RHO}, "is the worst direction better than random ones"),
    }
    label = f"rwp-{proposed:g}"
    reasons = _reasons(sigma, proposed, identified)
    if arrays is not None:
        through = f"array-aware-{matched:g}"
        table = {**arrays["method"], "noise": f"gaussian-{matched:g}"}
        candidates[through] = table, "is it better to train through the arrays"
        if 0 < arrays["bits"] <= COARSE_BITS:
            label, reasons = through, _array_reasons(arrays, matched, reasons[-1])
    methods = {name: table for name, (table, _) in candidates.items()}
    questions = {name: question for name, (_, question) in candidates.items() if name != label}
    return Proposal(label, reasons, methods, questions)


def _array_reasons(arrays: Mapping[str, Any], matched: float, length: str) -> tuple[str, ...]:
    ranges = ", and the DACs' ranges are learned" if "ranges" in arrays["method"] else ""
    return (
        f"A converter has {arrays['bits']} bits: rounding and clipping act on products, which noise on weights does "
        f"not train for. Here each update computes in the arrays of a new chip{ranges} (Joshi et al., 2020; Rasch et "
        "al., 2023). On digits with 4-bit converters, after a year, such fine-tuning gained 3 points "
        "(docs/how-to/fine-tune-for-hardware.md); strong weight noise gained about as much as arrays did "
        "(benchmarks/array_aware.toml).",
        f"With Gaussian noise of sigma = {matched:g}, what the device's errors act like, which combines the two.",
        length,
    )


def _reasons(sigma: float, proposed: float, identified: bool) -> tuple[str, ...]:
    strength = (
        f"act like sigma = {sigma:.3g}"
        if identified
        else f"are {sigma:.3g} of each filter's largest weight (root mean square)"
    )
    return (
        f"The errors {strength}. Training with noise on the weights was better than SGD at every strength of noise, in "
        f"the paper ({PAPER}, Table 1) and on three data sets here (benchmarks/results/README.md). Its sigma transfers "
        "between networks; SAM's rho, in units of the weights, does not.",
        f"sigma_train = {proposed:g}, {SIGMA_FACTOR:g} times that: training noise above the device's bounds the error "
        "on it, less does not (Theorem 4.1), and the best was 1.1 to 2.5 times it (Tables 1 and 12).",
        "Constant: in the paper's Table 3 a quadratic ramp was better, by 0.6 to 3.9 points; on the data sets here it "
        "was nowhere settled to be better. The sweep tries both.",
        "As many epochs as the spec: the papers compare all methods at equal length.",
    )
