"""The recorded numbers of CrossSim 3.2.0 (see data/README.md), and crossbars as they were recorded."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.for_each import for_each
from torch import Tensor

from aimc_robust import Crossbar
from aimc_robust.hardware.config.converters import ADC, DAC

DATA = Path(__file__).parents[1] / "golden"
CASES = json.loads((DATA / "crosssim.json").read_text(encoding="utf-8"))
with np.load(DATA / "crosssim.npz") as stored:
    ARRAYS = {name: torch.from_numpy(stored[name]) for name in stored.files}

PRECISIONS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
DAY_S = 86400.0


def by_id(cases: list[dict]) -> Callable[[Callable], Callable]:
    return for_each("case", cases)


def stored_array(case: dict, name: str) -> Tensor | None:
    """An array of the case in float64 (bool for masks), None where there is none."""
    found = ARRAYS.get(f"{case['id']}/{name}")
    return found if found is None or found.dtype == torch.bool else found.double()


def replayed(case: dict, names: tuple[str, str] = ("xi_pos", "xi_neg")) -> Callable:
    """Draws that give the recorded normals of the positive and of the negative devices; 0 for a case without errors."""

    def draws(device: int) -> Callable[[str, Tensor], Tensor]:
        def draw(effect: str, like: Tensor) -> Tensor:
            assert effect == "programming"  # neither card has another effect that draws
            recorded = ARRAYS.get(f"{case['id']}/{names[device]}")
            return torch.zeros_like(like) if recorded is None else recorded.to(like.dtype).reshape(like.shape)

        return draw

    return draws


def converting_crossbar(case: dict, device: str, window: tuple[float, float], **others: object) -> Crossbar:
    """A crossbar with the converters and the array height of a case."""
    adc = None
    if case["adc"] is not None:
        adc = ADC(**case["adc"] | {"range": tuple(case["adc"]["range"])})
    return Crossbar(
        device, window=window, rows=case["rows"], dac=DAC(**case["dac"]), adc=adc, read_noise=False, **others
    )


def disagreement(case: dict, y: Tensor) -> tuple[float, float]:
    """Largest difference to the recorded outputs, in units of the tolerance: where they may be compared, elsewhere.

    Elsewhere a sum lies on a rounding threshold of an ADC and the last bit decides: one code per array.
    """
    error = (y.detach().double() - stored_array(case, "y")).abs()
    safe = stored_array(case, "safe")
    if safe is None:
        return float(error.max()) / case["tolerance"], 0.0
    return float(error[safe].max()) / case["tolerance"], float(error[~safe].max()) / case["elsewhere"]
