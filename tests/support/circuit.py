"""The circuit of an array with resistive wires, node by node, in float64: Kirchhoff's laws as one dense system."""

from collections.abc import Mapping

import torch
from torch import Tensor


def exact_currents(
    devices: Mapping[float, Tensor],
    *,
    row: float = 0.0,
    column: float = 0.0,
    row_terminal: float = 0.0,
    column_terminal: float = 0.0,
) -> Tensor:
    """Currents (outputs, inputs) of each column per volt of each input; `devices`: sign -> states (outputs, inputs).

    Rows start beside output 0, columns end behind the last input. Resistances below 1e-9 are taken as 1e-9.
    """
    outputs, inputs = next(iter(devices.values())).shape
    signs = list(devices)
    columns = len(signs) * outputs * inputs  # nodes: those of the rows of each sign, then those of the columns
    nodes = columns + outputs * inputs
    laplacian, drive = torch.zeros(nodes, nodes, dtype=torch.float64), torch.zeros(nodes, inputs, dtype=torch.float64)

    def connect(a: int, b: int, conductance: float) -> None:
        laplacian[a, a] += conductance
        laplacian[b, b] += conductance
        laplacian[a, b] -= conductance
        laplacian[b, a] -= conductance

    at_end = 1.0 / max(column + column_terminal, 1e-9)
    for o in range(outputs):
        for j in range(inputs):
            below = columns + o * inputs + j
            for s, sign in enumerate(signs):
                node = (s * outputs + o) * inputs + j
                connect(node, below, float(devices[sign][o, j]))
                if o == 0:
                    start = 1.0 / max(row + row_terminal, 1e-9)
                    laplacian[node, node] += start
                    drive[node, j] += sign * start
                else:
                    connect(node, node - inputs, 1.0 / max(row, 1e-9))
            if j == inputs - 1:
                laplacian[below, below] += at_end
            else:
                connect(below, below + 1, 1.0 / max(column, 1e-9))
    voltages = torch.linalg.solve(laplacian, drive)
    return voltages[columns + inputs - 1 :: inputs] * at_end
