"""Hardware-aware training, aihwkit-lightning's and ours, on one network, one data set and the same simulated chips.

    python benchmarks/peers/lightning_training.py benchmarks/data/fashion-28.npz [--seeds 3] [--images 10000]

The data: see crosssim_training.py, whose network this is (7018 parameters, no BatchNorm). The chips: PCM (Nandakumar
2019), arrays of 128 rows, one scale for each output, converters of --bits with levels of sign and magnitude, a year
after programming, drift compensated. All methods have the same images, batches, initial weights, learning rate, and
weights clipped to 2.5 standard deviations of an output; the digital training has no clipping.

aihwkit-lightning has no PCM and no drift: it trains with its input ranges (learned), the same converters, an output
bound (--out-bound) and Gaussian weight noise of a share (--noise) of each output's largest weight. `import_aihwkit`
brings its weights and ranges over. Its models are deployed with learned input ranges and calibrated output ranges,
ours with calibrated or learned ones. Needs aihwkit-lightning (pip install --no-deps aihwkit-lightning).
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from aihwkit_lightning.nn.conversion import convert_to_analog
from aihwkit_lightning.optim import AnalogOptimizer
from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig
from aihwkit_lightning.simulator.parameters import WeightClipType, WeightNoiseInjectionType
from common import BATCH, Split, load, parser, print_table, small_cnn, train, train_ours
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import aimc_robust as ar
from aimc_robust.hardware.config.ranges import ConverterRanges
from aimc_robust.statistics.estimate import Estimate

CHIPS, LR, ROWS, YEAR_S = 10, 2e-3, 128, 31536000.0
LEARNED = ar.LearnedRanges(decay=0.005, init_batches=20)
CLIPPING = ar.WeightClipping(std=2.5, per="channel")


def pcm(bits: int) -> ar.Crossbar:
    """Return the crossbar, with converters of so many bits."""
    dac, adc = ar.DAC(bits=bits, kind="sign-magnitude"), ar.ADC(bits=bits, kind="sign-magnitude")
    return ar.Crossbar("pcm-nandakumar2019", rows=ROWS, scaling="column", dac=dac, adc=adc)


def peer_config(bits: int, noise: float, out_bound: float) -> TorchInferenceRPUConfig:
    """Return aihwkit-lightning's configuration of the same converters and arrays, with its weight noise."""
    config = TorchInferenceRPUConfig()
    config.forward.inp_res = config.forward.out_res = 2**bits - 2
    config.forward.out_bound = out_bound
    config.mapping.max_input_size = ROWS
    config.clip.type, config.clip.sigma = WeightClipType.LAYER_GAUSSIAN_PER_CHANNEL, 2.5
    config.modifier.noise_type = WeightNoiseInjectionType.ADD_NORMAL_PER_CHANNEL
    config.modifier.std_dev = noise
    config.pre_post.input_range.enable = True
    return config


def train_peer(
    config: TorchInferenceRPUConfig, data: Split, *, epochs: int, seed: int
) -> tuple[nn.Module, ConverterRanges, float]:
    """Train with aihwkit-lightning; return the plain network, its input ranges, and the time per update [s]."""
    model = convert_to_analog(small_cnn(seed), config).train()
    optimizer = AnalogOptimizer(torch.optim.Adam, model.analog_layers, model.parameters(), lr=LR)

    def step(images: Tensor, labels: Tensor, update: int) -> None:
        cross_entropy(model(images), labels).backward()

    seconds = train(optimizer, step, data, epochs=epochs, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(model.state_dict(), Path(folder) / "model.pt")
        plain, ranges = ar.import_aihwkit(small_cnn(seed), Path(folder) / "model.pt")
    return plain, ranges, seconds


def with_learned(calibrated: ConverterRanges, learned: ConverterRanges) -> ConverterRanges:
    """Return calibrated ranges with the learned ones in their place."""
    layers = {
        name: replace(layer, inputs=learned[name].inputs, outputs=learned[name].outputs or layer.outputs)
        for name, layer in calibrated.items()
    }
    return ConverterRanges(layers, found_with=calibrated.found_with)


def deployed(
    models: list[nn.Module],
    learned: list[ConverterRanges | None],
    crossbar: ar.Crossbar,
    calibration: Tensor,
    test: Split,
) -> Estimate:
    """Estimate the accuracy of models on the chips, each with its own ranges."""
    batches, tables = list(calibration.split(BATCH)), []
    for seed, (model, own) in enumerate(zip(models, learned, strict=True)):
        ranges = ar.calibrate(model, crossbar, batches)
        ranges = ranges if own is None else with_learned(ranges, own)
        deployment = ar.Deployment(ranges=ranges, compensation=("drift",), data=batches)
        found = ar.evaluate(model, [test], crossbar, chips=CHIPS, time_s=YEAR_S, deployment=deployment)
        tables.append(found.table.assign(train_seed=seed))
    return replace(found, table=pd.concat(tables, ignore_index=True))


def main() -> None:
    options_parser = parser(__doc__)
    options_parser.add_argument("--bits", type=int, default=6)
    options_parser.add_argument("--noise", type=float, nargs="+", default=[0.05, 0.1])
    options_parser.add_argument("--out-bound", type=float, nargs="+", default=[10.0], help="Rasch et al. 2023: 10")
    options = options_parser.parse_args()
    training, test = load(options.data, options.images, 2000)
    crossbar = pcm(options.bits)
    arrays = {"time_s": (1.0, YEAR_S), "drift_compensation": True}
    ours = {
        "digital": ar.SGD(),
        "RWP 0.05": ar.RWP(sigma=0.05),
        "ArrayAware": ar.ArrayAware(crossbar, **arrays),
        "ArrayAware, learned ranges": ar.ArrayAware(crossbar, ranges=LEARNED, **arrays),
        "the same and RWP 0.05": ar.ArrayAware(crossbar, ranges=LEARNED, noise=ar.Gaussian(0.05), **arrays),
    }
    peers = {
        f"lightning, noise {noise}, bound {bound:g}": peer_config(options.bits, noise, bound)
        for noise in options.noise
        for bound in options.out_bound
    }
    digital: dict[str, Estimate] = {}
    chips: dict[str, Estimate] = {}
    seconds: dict[str, list[float]] = {name: [] for name in [*ours, *peers]}
    for name in seconds:
        models: list[nn.Module] = []
        learned: list[ConverterRanges | None] = []
        for seed in range(options.seeds):
            setting = {"epochs": options.epochs, "seed": seed}
            if name in peers:
                model, ranges, time_s = train_peer(peers[name], training, **setting)
            else:
                clipping = None if name == "digital" else CLIPPING
                model, time_s = train_ours(ours[name], training, lr=LR, clipping=clipping, **setting)
                ranges = ar.learned_ranges(model) if getattr(ours[name], "ranges", None) is LEARNED else None
            models.append(model)
            learned.append(ranges)
            seconds[name].append(time_s)
        digital[name] = ar.evaluate(models, [test], None)
        chips[name] = deployed(models, learned, crossbar, training[0][:512], test)
    print_table("digital weights, no converters", digital, seconds)
    print_table(f"PCM after one year, {options.bits}-bit converters, {CHIPS} chips", chips, seconds)


if __name__ == "__main__":
    main()
