"""Choose the rho and sigma of quickstart.toml by the validation accuracy of a grid.

    python benchmarks/tune_quickstart.py [METHOD ...]

Trains every setting with training seeds that the quickstart does not use, and prints one row per setting: accuracy on
the validation split, digital and under Gaussian noise of sigma 0.1 and 0.2 (20 draws), and the score, which is the mean
of the last two. The best row of each method is marked. Test images are not used.
"""

import sys
from pathlib import Path

from aimc_robust import Gaussian, evaluate
from aimc_robust.data.batches import split_batches
from aimc_robust.data.loading import load_data
from aimc_robust.experiments.spec.loading import load_spec, spec_from_dict
from aimc_robust.models.registry import build_model
from aimc_robust.training.loop import train

SPEC = Path(__file__).with_name("quickstart.toml")
SEEDS = (100, 101)
STRENGTHS = {
    "sgd": [{}],
    "sam": [{"rho": rho} for rho in (0.2, 0.4, 0.8, 1.6)],
    "rwp": [{"sigma": sigma} for sigma in (0.1, 0.15, 0.2, 0.3, 0.4)],
    "m-rwp": [{"sigma": sigma} for sigma in (0.1, 0.2, 0.3, 0.4)],
}


def scores(spec, label, seed):
    """Validation accuracies of one training [percent]: digital, sigma 0.1, sigma 0.2."""
    data = load_data(spec.data, data_seed=spec.data_seed, folder=SPEC.parent)
    trained = train(
        build_model(spec.model, data, seed=seed),
        spec.method(label, seed=seed),
        spec.config(),
        training_set=data.training,
        validation_set=data.validation,
        train_seed=seed,
    )
    batches = split_batches(data.validation, 512)
    conditions = (None, Gaussian(0.1), Gaussian(0.2))
    return [evaluate(trained.model, batches, condition, chips=20, chip_seed=1).mean for condition in conditions]


def main():
    base = load_spec(SPEC).model_dump()
    print(f"{'method':<15}{'strength':<14}{'digital':>9}{'s=0.1':>8}{'s=0.2':>8}{'score':>8}")
    for label in sys.argv[1:] or STRENGTHS:
        rows = []
        for strength in STRENGTHS[label]:
            spec = spec_from_dict(base | {"methods": {label: base["methods"][label] | strength}})
            runs = [scores(spec, label, seed) for seed in SEEDS]
            digital, weak, strong = (sum(run[i] for run in runs) / len(runs) for i in range(3))
            rows.append(((weak + strong) / 2, strength, digital, weak, strong))
        best = max(row[0] for row in rows)
        for score, strength, digital, weak, strong in rows:
            text = ", ".join(f"{key} {value:g}" for key, value in strength.items())
            mark = "  <-- best" if score == best else ""
            print(f"{label:<15}{text:<14}{digital:9.1f}{weak:8.1f}{strong:8.1f}{score:8.1f}{mark}", flush=True)


if __name__ == "__main__":
    main()
