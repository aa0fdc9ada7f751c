"""Networks that the model tests name as `module:function`."""

import torch
from torch import Tensor, nn

from aimc_robust.devices.cell_model import CellModel


def tiny(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def wrong_output() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def not_a_module() -> str:
    return "a model"


constant = 3


class TwoInputs(nn.Module):
    """Scores of three labels from two inputs by name, in a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(torch.relu(self.first(a) + self.second(b)))}


def gpt2(vocabulary: int = 11) -> nn.Module:
    """A language model of transformers with random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, bos_token_id=0, eos_token_id=0, **sizes))


class Detector(nn.Module):
    """Boxes of a list of images of unequal size."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        return [{"boxes": self.layer(image[None]).mean(dim=(2, 3))} for image in images]


def mean_box(model: nn.Module, batches: object) -> dict[str, float]:
    """A score of `Detector`: the mean of its boxes."""
    boxes = [output["boxes"] for images, _ in batches for output in model(images)]
    return {"box": float(torch.cat(boxes).mean()), "boxes": len(boxes)}


def mostly_zero() -> nn.Module:
    """Its weights are 0 but for one: the median weight is 0."""
    layer = nn.Linear(64, 10, bias=False)
    nn.init.zeros_(layer.weight)
    layer.weight.data[0, 0] = 1.0
    return nn.Sequential(nn.Flatten(), layer)


class HungryWhenBuilt(nn.Module):
    """Asks for more memory than any machine has when it is built."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(10**15))


def leaves() -> nn.Module:
    """Ends the process, as a script does whose arguments are wrong."""
    raise SystemExit(0)


class Leaves(nn.Module):
    """The same, when it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        raise SystemExit(0)


class LeavingCells(CellModel):
    """The same, when cells are programmed."""

    name, unit, window = "leaving", "uS", (1.0, 20.0)

    def programming_std(self, target: Tensor) -> Tensor:
        raise SystemExit(0)


class Hungry(nn.Module):
    """Asks for more memory in training than any machine has."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = tiny()

    def forward(self, images: Tensor) -> Tensor:
        scores = self.layers(images)
        return scores + scores.new_empty(10**15).sum() if self.training else scores
