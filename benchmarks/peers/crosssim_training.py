"""Training in the loop, CrossSim's and ours, on the case of CrossSim's tutorial (ISCA 2024, part 3).

    python benchmarks/peers/crosssim_training.py benchmarks/data/fashion-28.npz [--seeds 3] [--images 10000]

The data: x_train (N, 28, 28), y_train, x_test, y_test in an .npz, such as benchmarks/fashion_images.py writes, or
MNIST as mnist.npz of Keras. The network has 7018 parameters; programming errors are normal with a standard deviation of
0.3 of the cell's state; 8-bit weights in two cells of 7 bits, and nothing else errs. Both simulators compute with the
same parameters, which `crosssim_json` writes. All models are evaluated on the same 10 chips, natively; the last table
draws 10 chips by CrossSim itself. Needs CrossSim.

The tutorial's text says that the error does not depend on the state; its code passes proportional_error = "False", a
text that is true, so that its figures are those of the proportional error: 98.98 without errors, 93.74 +- 1.15, and
97.62 +- 0.22 after training in the loop (MNIST, 48 000 images, 20 epochs).
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from common import Split, load, parser, print_table, small_cnn, train, train_ours
from simulator import CrossSimParameters
from simulator.algorithms.dnn.torch.convert import from_torch, reinitialize, synchronize, to_torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import aimc_robust as ar

CHIPS, LR = 10, 1e-3
CROSSBAR = ar.Crossbar("proportional-gaussian", error_scale=6.0, cell_bits=7)  # 6 x 5 %


def parameters() -> CrossSimParameters:
    """Return CrossSim's parameters of the crossbar."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "crossbar.json"
        path.write_text(ar.crosssim_json(CROSSBAR))
        return CrossSimParameters.from_json(str(path))


def train_crosssim(data: Split, *, epochs: int, seed: int) -> tuple[nn.Module, float]:
    """Train in CrossSim's loop, as its tutorial does; return the network in plain torch and the time per update [s]."""
    np.random.seed(seed)
    analog = from_torch(small_cnn(seed), parameters())
    optimizer = torch.optim.Adam(analog.parameters(), lr=LR)
    optimizer.register_step_post_hook(lambda *_: synchronize(analog))

    def step(images: Tensor, labels: Tensor, update: int) -> None:
        cross_entropy(analog(images), labels).backward()

    seconds = train(optimizer, step, data, epochs=epochs, seed=seed)
    return to_torch(analog), seconds


def accuracies_in_crosssim(model: nn.Module, test: Split) -> list[float]:
    """Return the accuracy [%] of each of 10 draws of CrossSim."""
    np.random.seed(1)
    analog, values = from_torch(model, parameters()).eval(), []
    for _ in range(CHIPS):
        reinitialize(analog)
        with torch.no_grad():
            values.append(100 * float((analog(test[0]).argmax(1) == test[1]).float().mean()))
    return values


def main() -> None:
    options = parser(__doc__).parse_args()
    training, test = load(options.data, options.images, 2000)
    methods = {
        "digital": ar.SGD(),
        "in the loop, ours: RWP(noise=...)": ar.RWP(noise=CROSSBAR),  # ArrayAware trains the same models, more slowly
        "ours, m-RWP(noise=...)": ar.MixedRWP(noise=CROSSBAR, batches="same"),
    }
    models: dict[str, list[nn.Module]] = {name: [] for name in [*methods, "in the loop, CrossSim"]}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for seed in range(options.seeds):
        for name in models:
            if name in methods:
                model, time_s = train_ours(methods[name], training, epochs=options.epochs, seed=seed, lr=LR)
            else:
                model, time_s = train_crosssim(training, epochs=options.epochs, seed=seed)
            models[name].append(model)
            seconds[name].append(time_s)
    for title, crossbar in {"without errors": None, "10 chips": CROSSBAR}.items():
        estimates = {name: ar.evaluate(ms, [test], crossbar, chips=CHIPS) for name, ms in models.items()}
        print_table(title, estimates, seconds)
    print("10 draws of CrossSim, models of seed 0: mean and standard deviation")
    for name, trained in models.items():
        values = accuracies_in_crosssim(trained[0], test)
        print(f"{name:<34}{np.mean(values):8.2f} +- {np.std(values):.2f}")


if __name__ == "__main__":
    main()
