"""From the strength of a device's errors to a method, its strength, its ramp and its length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aimc_robust.errors import InputError, require_finite

PAPER = "Incorruptible Neural Networks (Jacobson et al., 2026)"
SMALL = (
    0.04  # sigma of filter_max: below it SAM was best in the paper's Table 3 (0.02, 0.03), above it RWP (0.05, 0.07)
)
OVER = 1.5  # sigma_train / sigma_test; the best of Table 1: 2.5, 1.7, 1.2, 1.1, of Table 12 with a ramp: 1.4
FAR_OVER = 2.5
RWP_RAMP, SAM_RAMP = 0.55, 0.25  # lengths as a share of the run: the paper's App. H.2
RHO = 0.5  # above the best constant of Table 2 (0.3), as App. H.2 says of ramped strengths
DIGITS = 3
ROUNDING = 1e-6  # of the largest weight; what floating point alone may leave


@dataclass(frozen=True)
class Proposal:
    """label: of the proposed method among `methods`. reasons: a sentence each.

    methods: label -> table of a spec, the baseline first; the sweep that judges the proposal. questions: label of each
    rival -> what comparing with it asks.
    """

    label: str
    reasons: tuple[str, ...]
    methods: dict[str, dict[str, Any]]
    questions: dict[str, str]

    @property
    def settings(self) -> dict[str, Any]:
        """The proposed method's table, as a spec takes it."""
        return self.methods[self.label]


def propose(sigma: float, *, identified: bool = True) -> Proposal:
    """What to train for a device whose errors act like Gaussian filter_max noise of strength `sigma`.

    sigma, identified: `evaluation.equivalent_sigma`. Raises InputError where it is no more than rounding.
    """
    require_finite("sigma", sigma)
    if sigma <= ROUNDING:
        raise InputError(f"a device without error needs no robust training; got sigma = {sigma:.2g}, rounding alone.")
    over, far, matched = (_rounded(factor * sigma) for factor in (OVER, FAR_OVER, 1.0))
    ramp = {"shape": "quadratic", "fraction": RWP_RAMP}
    methods = {
        "sgd": {},
        f"rwp-{matched:g}": {"kind": "rwp", "sigma": matched},
        f"rwp-{over:g}": {"kind": "rwp", "sigma": over},
        f"rwp-{over:g}-ramp": {"kind": "rwp", "sigma": over, "ramp": ramp},
        f"rwp-{far:g}-ramp": {"kind": "rwp", "sigma": far, "ramp": ramp},
        f"m-rwp-{over:g}": {"kind": "m-rwp", "sigma": over},
        "sam-ramp": {"kind": "sam", "rho": RHO, "ramp": {"shape": "quadratic", "fraction": SAM_RAMP}},
    }
    questions = {
        "sgd": "does robust training pay on this device",
        f"rwp-{matched:g}": "is more noise in training than in the device better (Theorem 4.1)",
        f"rwp-{over:g}": "does the ramp help",
        f"rwp-{over:g}-ramp": "is random perturbation better",
        f"rwp-{far:g}-ramp": "is still more noise better",
        f"m-rwp-{over:g}": "is it worth twice the cost to mix in the clean gradient",
        "sam-ramp": "is the worst direction better than random ones",
    }
    label = "sam-ramp" if sigma < SMALL else f"rwp-{over:g}-ramp"
    return Proposal(
        label, _reasons(sigma, over, identified), methods, {k: v for k, v in questions.items() if k != label}
    )


def _reasons(sigma: float, over: float, identified: bool) -> tuple[str, ...]:
    strength = (
        f"act like sigma = {sigma:.3g}" if identified else f"are {sigma:.3g} of each filter's largest weight (rms)"
    )
    length = "As long as the recipe says: the papers compare all methods at one length, here the spec's."
    if sigma < SMALL:
        return (
            f"The errors {strength}, where SAM was ahead of RWP: 79.5 against 78.3 % at sigma 0.02, "
            f"77.6 against 77.0 % at 0.03 ({PAPER}, Table 3).",
            f"With a quadratic ramp over the first {100 * SAM_RAMP:g} % of the updates (App. H.2), to rho = {RHO:g}, "
            "above the best constant (0.3, Table 2). rho counts in the weights' units and does not carry over between "
            "networks as sigma does: the weakest part of this proposal.",
            length,
        )
    return (
        f"The errors {strength}, where RWP was ahead of SAM: 72.4 against 68.1 % at sigma 0.05, "
        f"65.3 against 60.2 % at 0.07 ({PAPER}, Table 3).",
        f"sigma_train = {over:g}, {OVER:g} times that: training noise above the device's bounds the error on it, "
        "less does not (Theorem 4.1), and the best was 1.1 to 2.5 times it (Tables 1 and 12).",
        f"With a quadratic ramp over the first {100 * RWP_RAMP:g} % of the updates (Table 3, App. H.2).",
        length,
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
