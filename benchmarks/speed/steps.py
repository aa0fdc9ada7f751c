"""Claim: a training step of RWP costs at most 1.10 x an SGD step, one of SAM or single-process m-RWP 2.15 x.

    python benchmarks/speed/steps.py

ResNet-18 in its CIFAR form, batch 128, SGD with momentum; ratios in one run.
"""

from common import images, print_ratios, ratios, resnet18_cifar
from torch import nn, optim

from aimc_robust import RWP, SAM, SGD, Method, MixedRWP


def main() -> None:
    model = resnet18_cifar().train()
    optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    batch = images(128)
    loss_fn = nn.CrossEntropyLoss()

    def step(method: Method):
        def run():
            optimizer.zero_grad()
            method.backward(model, loss_fn, [batch] * method.batches_per_update, step=1)
            optimizer.step()

        return run

    methods = {"RWP": RWP(sigma=0.05), "SAM": SAM(rho=0.1), "m-RWP": MixedRWP(sigma=0.05)}
    calls = {name: step(method) for name, method in methods.items()}
    limits = {"RWP": 1.10, "SAM": 2.15, "m-RWP": 2.15}
    print_ratios("one step against an SGD step", ratios(step(SGD()), calls, rounds=5), limits)


if __name__ == "__main__":
    main()
