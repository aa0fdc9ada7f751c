"""coverage(model, example): multiplies of a forward pass against counts by hand."""

import pytest
import torch
from torch import Tensor, nn

from aimc_robust import coverage
from aimc_robust.errors import InputError

LAYERS = {
    # outputs, each the sum of as many products as its filter has weights
    "linear": (nn.Linear(6, 4), (3, 5, 6), 3 * 5 * 4 * 6),
    "conv1d": (nn.Conv1d(6, 4, 3), (2, 6, 9), 2 * 4 * 7 * 6 * 3),
    "conv2d": (nn.Conv2d(6, 4, 3, stride=2, padding=1), (2, 6, 9, 9), 2 * 4 * 5 * 5 * 6 * 9),
    "conv3d": (nn.Conv3d(2, 3, 2), (1, 2, 4, 4, 4), 3 * 27 * 2 * 8),
    "grouped": (nn.Conv2d(6, 4, 3, groups=2), (2, 6, 9, 9), 2 * 4 * 49 * 3 * 9),
    "depthwise": (nn.Conv2d(6, 6, 3, groups=6), (2, 6, 9, 9), 2 * 6 * 49 * 9),
    # every input meets the whole kernel of each output of its group once
    "transposed": (nn.ConvTranspose2d(6, 4, 3, stride=2), (2, 6, 5, 5), 2 * 6 * 25 * 4 * 9),
    "transposed grouped": (nn.ConvTranspose2d(6, 4, 3, groups=2), (2, 6, 5, 5), 2 * 6 * 25 * 2 * 9),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_counted_by_hand(name):
    layer, shape, count = LAYERS[name]
    macs = coverage(nn.Sequential(layer), torch.randn(shape)).macs
    assert macs.analog == count
    assert macs.digital == {}
    assert macs.analog_percent == 100.0


class SelfAttention(nn.Module):
    def __init__(self, **options: object) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.other = options.get("kdim")

    def forward(self, x: Tensor) -> Tensor:
        memory = x.repeat(1, 2, 1)[..., : self.other or 8] if self.other else x
        return self.mix(x, memory, memory, need_weights=self.training)[0]


def test_projections_of_attention_are_analog_its_scores_digital():
    images, length, width = 2, 5, 8
    macs = coverage(SelfAttention(), torch.randn(images, length, width)).macs
    assert macs.analog == images * length * 4 * width * width
    # Q K^T and its product with V, over both heads
    assert macs.digital == {"mix": 2 * images * length * length * width}
    assert macs.total == macs.analog + 2 * images * length * length * width


def test_attention_with_keys_of_another_width_and_length_is_counted():
    macs = coverage(SelfAttention(kdim=6, vdim=6), torch.randn(2, 5, 8)).macs
    assert macs.analog == 2 * (5 * 64 + 10 * 48 + 10 * 48 + 5 * 64)
    assert macs.digital == {"mix": 2 * 2 * 5 * 10 * 8}


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_recurrent_layers_are_counted(kind, gates):
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = kind(3, 6, num_layers=2, bidirectional=True, batch_first=True)
            self.head = nn.Linear(12, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.memory(x)[0])

    first, second = gates * 6 * (3 + 6), gates * 6 * (12 + 6)
    macs = coverage(Tagger(), torch.randn(4, 7, 3)).macs
    assert macs.analog == 4 * 7 * (2 * (first + second) + 24)
    assert macs.digital == {}


def test_a_cell_called_in_a_loop_counts_each_call():
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(3, 6)

        def forward(self, x: Tensor) -> Tensor:
            state = x.new_zeros(len(x), 6)
            for part in x.unbind(1):
                state = self.cell(part, state)
            return state

    macs = coverage(Loop(), torch.randn(4, 7, 3)).macs
    assert macs.analog == 4 * 7 * 18 * (3 + 6)
    assert macs.digital == {}


def test_a_transformers_fast_path_is_counted_like_its_slow_one():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    macs = coverage(nn.TransformerEncoder(layer, 2), torch.randn(2, 5, 8)).macs
    assert macs.analog == 2 * 2 * 5 * (4 * 64 + 2 * 8 * 16)
    assert sum(macs.digital.values()) == 2 * (2 * 2 * 5 * 5 * 8)


def test_parts_in_a_list_are_not_counted_again_by_the_whole():
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([nn.Linear(4, 4), nn.ModuleDict({"deep": nn.Linear(4, 4)})])

        def forward(self, x: Tensor) -> Tensor:
            return self.parts[1]["deep"](self.parts[0](x))

    macs = coverage(Listed(), torch.randn(3, 4)).macs
    assert macs.analog == 2 * 3 * 16
    assert macs.digital == {}


def test_a_digital_product_is_named_and_told_in_the_line():
    class Similarity(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x) @ x.transpose(-2, -1)

    found = coverage(Similarity(), torch.randn(2, 3, 4))
    assert found.macs.analog == 2 * 3 * 16
    assert found.macs.digital == {"": 2 * 3 * 3 * 4}
    assert found.macs.digital_percent("") == pytest.approx(100.0 * 72 / 168)
    assert "57.1 % of the multiplies" in found.summary()
    assert "digital multiplies: the model itself (42.9 %)" in found.summary()


def test_a_layer_called_twice_counts_twice_and_no_example_counts_nothing():
    layer = nn.Linear(4, 4)
    assert coverage(nn.Sequential(layer, layer), torch.randn(3, 4)).macs.analog == 2 * 3 * 16
    assert coverage(nn.Sequential(layer, layer)).macs is None


def test_counting_leaves_the_fast_path_switch_and_the_model_as_they_were():
    model = SelfAttention().train()
    coverage(model, torch.randn(2, 5, 8))
    assert torch.backends.mha.get_fastpath_enabled()
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


class Experts(nn.Module):
    """As in a mixture of experts: a layer for the choice, and a grouped product."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.w = nn.Linear(64, 4), nn.Parameter(torch.randn(4, 64, 32).bfloat16())

    def forward(self, x: Tensor) -> Tensor:
        ends = torch.tensor([4, 8, 12, 16], dtype=torch.int32)
        self.gate(x)
        return torch._grouped_mm(x.bfloat16(), self.w, offs=ends).float()


class FallbackExperts(Experts):
    """As transformers computes the product where torch has none."""

    def forward(self, x: Tensor) -> Tensor:
        ends = torch.tensor([4, 8, 12, 16], dtype=torch.int32)
        self.gate(x)
        return torch.ops.transformers.grouped_mm_fallback(x.bfloat16(), self.w, ends).float()


class ProductOfElements(nn.Module):
    """A matrix product, written as an elementwise one and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.w = nn.Linear(16, 16), nn.Parameter(torch.randn(16, 1000))

    def forward(self, x: Tensor) -> Tensor:
        return (self.first(x)[:, :, None] * self.w).sum(1)


class OwnerIsNotCalled(nn.Module):
    """The module of the weight never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.table = nn.Linear(16, 8), nn.ParameterDict({"w": torch.randn(8, 4)})

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("ni,io->no", self.first(x), self.table["w"] * 2.0)


@pytest.mark.parametrize(
    ("model", "x", "analog", "digital", "owner"),
    [
        pytest.param(
            *(Experts(), torch.randn(16, 64), 16 * 64 * 4, 16 * 64 * 32, "the model itself"),
            marks=pytest.mark.skipif(not hasattr(torch, "_grouped_mm"), reason="came with torch 2.8"),
        ),
        (ProductOfElements(), torch.randn(2, 16), 2 * 16 * 16, 2 * 16 * 1000, "the model itself"),
        (OwnerIsNotCalled(), torch.randn(2, 16), 2 * 16 * 8, 2 * 8 * 4, "table"),
    ],
    ids=["grouped", "elementwise", "owner not called"],
)
def test_products_outside_of_layers_are_counted_and_refused_by_name(model, x, analog, digital, owner):
    found = coverage(model, x)
    assert found.macs.analog == analog
    assert found.macs.digital == {"": digital}
    with pytest.raises(InputError, match=owner):
        found.require_all_analog()


def test_a_grouped_product_is_counted_where_torch_has_none():
    pytest.importorskip("transformers.integrations.moe")
    found = coverage(FallbackExperts(), torch.randn(16, 64))
    assert (found.macs.analog, found.macs.digital) == (16 * 64 * 4, {"": 16 * 64 * 32})
    assert not found.macs.unknown


def test_every_way_to_multiply_with_a_layers_weight_is_counted():
    class Ways(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(8, 8, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            w = self.a.weight
            products = [
                torch.baddbmm(x[None], x[None], w.T[None])[0], torch.inner(x, w), x @ w.clone(), x @ w[:, :8],
                torch.einsum("ij,kj->ik", x, w * torch.ones(8, 8)), torch.addmm(x, x, w), torch.tensordot(x, w, 1),
            ]  # fmt: skip
            return sum(products)

    macs = coverage(Ways(), torch.randn(8, 8)).macs
    assert macs.analog == 7 * 8 * 8 * 8
    assert macs.digital == {}


def test_an_operation_that_cannot_be_counted_is_named():
    class Distances(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cdist(self.a(x), x)

    found = coverage(Distances(), torch.randn(8, 8))
    assert found.macs.unknown == {"": ("_cdist_forward",)}
    assert "the model itself (_cdist_forward)" in found.summary()
    with pytest.raises(InputError, match="_cdist_forward"):
        found.require_all_analog()


def test_a_constant_that_is_written_in_place_is_no_weight():
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(8, 8, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            buffer = torch.zeros(8, 8)
            buffer[:] = self.a(x)
            return buffer * x

    macs = coverage(Written(), torch.randn(8, 8)).macs
    assert (macs.analog, macs.digital) == (512, {})
