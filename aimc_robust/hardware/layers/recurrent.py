"""Recurrent layers with their matrices in arrays, read at every time step; gates and states stay digital."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from aimc_robust.errors import InputError

State = tuple[Tensor, ...]
"""Hidden state, and the cell state of an LSTM; each (images, features)."""


class AnalogRecurrent(nn.Module):
    """Replacement of nn.RNN, nn.GRU or nn.LSTM, with the same arguments and results.

    Read noise is drawn anew at every time step, from a stream of its own, so that it does not depend on the batch.
    Arrays do not read the padding of packed sequences.
    `projections`: a linear layer for each weight matrix, by the name of the parameter.
    """

    def __init__(self, layer: nn.RNNBase, projections: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.projections = nn.ModuleDict(projections)
        self.mode, self.num_layers, self.bidirectional = layer.mode, layer.num_layers, layer.bidirectional
        self.hidden_size, self.proj_size = layer.hidden_size, layer.proj_size
        self.batch_first, self.dropout = layer.batch_first, float(layer.dropout)

    def flatten_parameters(self) -> None:
        """Do nothing: there is no flat copy of the weights."""

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | State | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor | State]:
        """Return outputs, and the last states, for inputs (steps, images, features) in torch's layouts, or packed.

        Raises:
            InputError: if `input` or `hx` does not fit the layer.
        """
        x, active, batched = self._images_first(input)
        states = self._initial_states(x, hx, batched=batched)
        last: list[State] = []
        for layer in range(self.num_layers):
            if layer:
                x = F.dropout(x, self.dropout, self.training)
            directions = [f"l{layer}", f"l{layer}_reverse"][: 1 + self.bidirectional]
            results = [self._run(x, states[len(last) + i], name, active) for i, name in enumerate(directions)]
            x = torch.cat([outputs for outputs, _ in results], dim=-1)
            last += [state for _, state in results]
        stacked = tuple(torch.stack(values) for values in zip(*last, strict=True))
        final = stacked if batched else tuple(state.squeeze(1) for state in stacked)
        return self._like(input, x, active), final if self.mode == "LSTM" else final[0]

    def _images_first(self, input: Tensor | PackedSequence) -> tuple[Tensor, Tensor | None, bool]:
        """Return inputs (images, steps, features), which steps are no padding (None: all), and if there are images."""
        if isinstance(input, PackedSequence):
            x, lengths = pad_packed_sequence(input, batch_first=True)
            return x, (torch.arange(x.shape[1]) < lengths[:, None]).to(x.device), True
        if input.ndim not in (2, 3):
            raise InputError(f"a recurrent layer takes 2 or 3 dimensions, got {tuple(input.shape)}.")
        if input.ndim == 2:
            return input.unsqueeze(0), None, False
        return input if self.batch_first else input.transpose(0, 1), None, True

    def _initial_states(self, x: Tensor, hx: Tensor | State | None, *, batched: bool) -> list[State]:
        """Return the initial state of each layer and direction."""
        count, images = self.num_layers * (1 + self.bidirectional), len(x)
        sizes = [self.proj_size or self.hidden_size, self.hidden_size][: 1 + (self.mode == "LSTM")]
        if hx is None:
            return [tuple(x.new_zeros(images, size) for size in sizes)] * count
        given = hx if isinstance(hx, tuple | list) else (hx,)
        expected = [(count, images, size) if batched else (count, size) for size in sizes]
        if [tuple(state.shape) for state in given] != expected:
            shapes = ", ".join(str(tuple(state.shape)) for state in given)
            raise InputError(f"initial states must have the shapes {', '.join(map(str, expected))}, got {shapes}.")
        return list(zip(*(state.reshape(count, images, -1) for state in given), strict=True))

    def _run(self, x: Tensor, state: State, name: str, active: Tensor | None) -> tuple[Tensor, State]:
        """Run one layer in one direction; return outputs (images, steps, features) and the last state."""
        inputs = self._project(f"weight_ih_{name}", x, active)
        steps, outputs = range(x.shape[1]), {}
        for step in reversed(steps) if name.endswith("_reverse") else steps:
            now = None if active is None else active[:, step]
            hidden = self._project(f"weight_hh_{name}", state[0], now, step)
            new = next_state(self.mode, inputs[:, step], hidden, state)
            if self.proj_size:
                new = (self._project(f"weight_hr_{name}", new[0], now, step), *new[1:])
            if now is not None:
                new = tuple(torch.where(now[:, None], after, before) for after, before in zip(new, state, strict=True))
            state, outputs[step] = new, new[0]
        return torch.stack([outputs[step] for step in steps], dim=1), state

    def _project(self, name: str, x: Tensor, active: Tensor | None, step: int | None = None) -> Tensor:
        """Multiply by one matrix; results for padding are 0, and calibration and read noise do not see it."""
        projection = self.projections[name]
        projection.__dict__["step"] = () if step is None else (step,)
        if active is None:
            out: Tensor = projection(x)
            return out
        seen = projection(x[active])
        out = seen.new_zeros(*active.shape, seen.shape[-1])
        out[active] = seen
        return out

    def _like(self, input: Tensor | PackedSequence, x: Tensor, active: Tensor | None) -> Tensor | PackedSequence:
        """Return outputs in the layout of the inputs."""
        if isinstance(input, PackedSequence):
            assert active is not None
            order = slice(None) if input.sorted_indices is None else input.sorted_indices
            packed = pack_padded_sequence(x[order], active[order].sum(dim=1).cpu(), batch_first=True)
            return PackedSequence(packed.data, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
        if input.ndim == 2:
            return x.squeeze(0)
        return x if self.batch_first else x.transpose(0, 1)


class AnalogRecurrentCell(nn.Module):
    """Replacement of nn.RNNCell, nn.GRUCell or nn.LSTMCell, with the same arguments and results."""

    def __init__(self, cell: nn.RNNCellBase, projections: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.projections, self.hidden_size = nn.ModuleDict(projections), cell.hidden_size
        kind = "LSTM" if isinstance(cell, nn.LSTMCell) else "GRU" if isinstance(cell, nn.GRUCell) else "RNN"
        self.mode = f"RNN_{cell.nonlinearity}".upper() if isinstance(cell, nn.RNNCell) else kind

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Compute one time step for inputs (images, features) or (features,)."""
        if hx is None:
            zeros = input.new_zeros(*input.shape[:-1], self.hidden_size)
            hx = (zeros, zeros)
        state = tuple(hx) if isinstance(hx, tuple | list) else (hx,)
        state = state if self.mode == "LSTM" else state[:1]
        inputs, hidden = self.projections["weight_ih"](input), self.projections["weight_hh"](state[0])
        new = next_state(self.mode, inputs, hidden, state)
        return new if self.mode == "LSTM" else new[0]


def next_state(mode: str, inputs: Tensor, hidden: Tensor, state: State) -> State:
    """Compute the next state, before a projection, as torch's documentation defines it.

    `inputs`, `hidden`: products of the inputs and of the hidden state, with bias (images, gates x hidden size).
    """
    if mode == "LSTM":
        enter, forget, candidate, out = (inputs + hidden).chunk(4, dim=-1)
        memory = forget.sigmoid() * state[1] + enter.sigmoid() * candidate.tanh()
        return out.sigmoid() * memory.tanh(), memory
    if mode == "GRU":
        reset, update, candidate = inputs.chunk(3, dim=-1)
        reset_hidden, update_hidden, candidate_hidden = hidden.chunk(3, dim=-1)
        keep = (update + update_hidden).sigmoid()
        new = (candidate + (reset + reset_hidden).sigmoid() * candidate_hidden).tanh()
        return ((1.0 - keep) * new + keep * state[0],)
    total = inputs + hidden
    return (total.tanh() if mode == "RNN_TANH" else total.relu(),)
