"""Claim: effective states of arrays with resistive wires give CrossSim's currents to 1 % up to large losses.

    python benchmarks/ir_drop.py            # needs CrossSim 3.2

Square arrays of one-sided pairs of normal weights, the largest of which is at the end of a window with an on/off ratio
of 10. Rows and columns have the same resistance from one device to the next, given in units of the resistance of a
device at the top of the window. Inputs are uniform on [0, 1]. Errors are those of the product (outputs x reads, both
signs' arrays subtracted), relative to the exact product: of a model that ignores the wires, of first order in the
resistances, and of this package. `coupling` is what the package warns by. Seconds, on one thread, are those of one
matrix, once, and of CrossSim's solver for one read of it.
"""

import time

import numpy as np
import torch
from simulator import AnalogCore, CrossSimParameters
from simulator.circuits.array.NonInterleaved_InputSource import NoninterleavedInputSourceArray
from torch import Tensor

from aimc_robust.hardware.config.parasitics import WireResistances
from aimc_robust.hardware.programming.ir_drop import wired_arrays

SIZES, RESISTANCES = (64, 128, 256, 512, 1024), (1e-6, 1e-5, 1e-4, 1e-3)
LARGEST_LOAD = 60.0  # CrossSim's solver needs about 15 times as many iterations
G_MIN, READS, UNIT_OHM = 0.1, 3, 1000.0


def crosssim_currents(g: Tensor, ratio: float, inputs: np.ndarray) -> np.ndarray:
    """Column currents (outputs, reads) of CrossSim's solver."""
    parameters = CrossSimParameters()
    parameters.xbar.device.Rmin = UNIT_OHM
    parasitics = parameters.xbar.array.parasitics
    parasitics.enable, parasitics.Rp_row, parasitics.Rp_col = True, ratio * UNIT_OHM, ratio * UNIT_OHM
    simulation = parameters.simulation
    simulation.Verr_th_mvm, simulation.Niters_max_parasitics, simulation.hide_convergence_msg = 1e-6, 20000, True
    simulation.relaxation_gamma = 1.0 / (1.0 + 0.6 * load(g, ratio))
    solver = NoninterleavedInputSourceArray(parameters)
    matrix = g.double().numpy()
    return np.stack([solver.iterative_solve(matrix.copy(), x) for x in inputs.T], axis=1)


def load(g: Tensor, ratio: float) -> float:
    """About the largest eigenvalue of a wire's resistances times the devices' conductances, for rows and columns."""
    return float(g.mean()) * ratio * 0.41 * (g.shape[0] ** 2 + g.shape[1] ** 2)


def first_order(g: Tensor, ratio: float) -> Tensor:
    """Effective states with the voltage drops of the ideal currents."""
    along_rows = g.flip(0).cumsum(0).flip(0).cumsum(0)
    along_columns = g.cumsum(1).flip(1).cumsum(1).flip(1)
    return g * (1.0 - ratio * (along_rows + along_columns))


def effective(g: Tensor, ratio: float) -> tuple[Tensor, float]:
    """Effective states of this package, and their coupling."""
    wires = WireResistances(row=ratio, column=ratio, row_terminal=0.0, column_terminal=0.0)
    outputs, inputs = g.shape
    result = wired_arrays({1.0: g.float().unsqueeze(0)}, wires, rows=[(0, inputs)], columns=[(0, outputs)])
    return result.states[0].double(), result.coupling


def relative_error(product: Tensor, exact: Tensor) -> float:
    """Error of a product [%]."""
    return 100.0 * float((product - exact).norm() / exact.norm())


def main() -> None:
    AnalogCore(np.ones((2, 2)), CrossSimParameters())  # initializes CrossSim's numpy backend
    torch.set_num_threads(1)
    print("| size | wire / device | ignored | first order | this package | coupling | once [s] | CrossSim's read [s] |")
    print("|---|---|---|---|---|---|---|---|")
    for size in SIZES:
        generator = torch.Generator().manual_seed(size)
        weights = torch.randn(size, size, generator=generator, dtype=torch.float64)
        u = weights / weights.abs().max()
        pair = [G_MIN + (1.0 - G_MIN) * (sign * u).clamp(min=0.0) for sign in (1.0, -1.0)]
        inputs = torch.rand(size, READS, generator=generator, dtype=torch.float64)
        for ratio in RESISTANCES:
            if load(pair[0], ratio) > LARGEST_LOAD:
                continue
            start = time.perf_counter()
            positive, negative = (crosssim_currents(g, ratio, inputs.numpy()) for g in pair)
            per_read = (time.perf_counter() - start) / READS
            exact = torch.from_numpy(positive - negative)
            start = time.perf_counter()
            ours = [effective(g, ratio) for g in pair]
            once = time.perf_counter() - start
            models = pair, [first_order(g, ratio) for g in pair], [states for states, _ in ours]
            cells = [relative_error((states[0] - states[1]) @ inputs, exact) for states in models]
            texts = " | ".join(f"{cell:.2g} %" for cell in cells)
            coupling = max(part[1] for part in ours)
            print(f"| {size} | {ratio:g} | {texts} | {coupling:.2g} | {once:.2g} | {per_read:.2g} |", flush=True)


if __name__ == "__main__":
    main()
