"""Noise at reads of layers that are called several times in one forward pass: the batch does not matter."""

from collections.abc import Callable

import pytest
import torch
from support.models import fill
from torch import Tensor, nn

from aimc_robust import DAC, Crossbar, program

NOISE = {
    "read noise": Crossbar("sonos-agrawal2022", rows=5),
    "noise of DACs": Crossbar("rram-milo2021", dac=DAC(kind="ideal", full_scale=1.0, noise=0.1)),
    "both": Crossbar("sonos-agrawal2022", dac=DAC(kind="ideal", full_scale=1.0, noise=0.1), output_noise=0.01),
}


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.layer(x[:, 0]), self.layer(x[:, 1])], dim=1)


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 6)
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        return state


class TwiceRecurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(8, 4, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.memory(self.memory(x)[0])[0]


class CrossAttention(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        query, memory = x[:, :2], x[:, 2:]
        if self.attention.batch_first:
            return self.attention(query, memory, memory)[0]
        query, memory = query.transpose(0, 1), memory.transpose(0, 1)
        return self.attention(query, memory, memory)[0].transpose(0, 1)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x[:, :2], x)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "siamese": Siamese,
    "cell in a loop": Cell,
    "recurrent layer twice": TwiceRecurrent,
    "cross-attention": lambda: CrossAttention(batch_first=True),
    "cross-attention, images second": lambda: CrossAttention(batch_first=False),
    "decoder": Decoder,
}


def inputs() -> Tensor:
    return torch.randn(7, 5, 8, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("name", MODELS)
def test_the_noise_of_an_image_does_not_depend_on_its_batch(name, noise):
    model, x = fill(MODELS[name]()).eval(), inputs()
    together = program(model, NOISE[noise])(x)
    for size in (1, 3):
        chip = program(model, NOISE[noise])
        torch.testing.assert_close(torch.cat([chip(part) for part in x.split(size)]), together, rtol=0, atol=2e-5)
    assert (together - model(x)).abs().max() > 1e-3


@torch.no_grad()
def test_every_call_has_noise_of_its_own_and_the_first_that_of_a_layer_called_once():
    model, x = fill(Siamese()), torch.ones(4, 2, 8)
    chip = program(model, NOISE["read noise"])
    first, second = chip(x).chunk(2, dim=1)
    assert (first != second).all()
    once = program(nn.ModuleDict({"layer": model.layer}), NOISE["read noise"])
    assert torch.equal(once["layer"](x[:, 0]), first)
    assert not torch.equal(chip(x)[:, :6], first)  # the next batch continues each sequence


@torch.no_grad()
def test_a_failed_pass_does_not_shift_the_calls_of_the_next():
    model, x = fill(Siamese()), inputs()
    chip, other = program(model, NOISE["read noise"]), program(model, NOISE["read noise"])
    with pytest.raises(IndexError):
        chip(x[:, :1])  # fails after the first of two calls, which has drawn
    assert torch.equal(chip(x)[:, 6:], other(x)[:, 6:])


@torch.no_grad()
@pytest.mark.parametrize("noise", NOISE)
def test_threads_do_not_change_the_noise(noise):
    model, x = fill(CrossAttention(batch_first=True)).eval(), inputs()
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(program(model, NOISE[noise])(x))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=1e-6)
