"""The command `evaluate`: accuracy of trained weights on devices."""

from pathlib import Path

import typer

from aimc_robust.cli.evaluate_options import (
    Attribute,
    BatchSize,
    ChipCount,
    ChipSeed,
    ClassCount,
    CrossbarSettings,
    Data,
    DataRoot,
    DataSeed,
    Devices,
    ExplainChips,
    ImageCount,
    Jobs,
    Metrics,
    Network,
    NetworkOptions,
    Normalize,
    Out,
    Precision,
    Predict,
    Resize,
    Size,
    Times,
    WeightFiles,
    YieldThreshold,
)


def evaluate(
    weights: WeightFiles,
    model: Network,
    data: Data,
    device: Devices,
    out: Out = Path("results/evaluation"),
    times: Times = "0",
    chips: ChipCount = 25,
    precision: Precision = None,
    above: YieldThreshold = None,
    metric: Metrics = None,
    attribute: Attribute = False,
    predict: Predict = False,
    explain_chips: ExplainChips = 10,
    option: NetworkOptions = None,
    set_: CrossbarSettings = None,
    normalize: Normalize = None,
    size: Size = None,
    resize: Resize = None,
    images: ImageCount = None,
    classes: ClassCount = None,
    data_root: DataRoot = Path("data"),
    batch_size: BatchSize = 500,
    data_seed: DataSeed = 0,
    chip_seed: ChipSeed = 0,
    jobs: Jobs = None,
) -> None:
    """Predict the accuracy of trained WEIGHTS on devices over time, with intervals, as a table and a report.

    Interrupt it at any time: run the same command again to continue. A higher --chips adds chips.

    Example: aimc-robust evaluate rwp.safetensors --model net:build --data npz:images.npz --device rram-milo2021
    --device sonos-agrawal2022 --times 0,1h,1d,5d --chips 25 --out results/rwp
    """
    from aimc_robust.cli.inputs import load_metrics, load_models
    from aimc_robust.cli.progress_display import progress_display
    from aimc_robust.cli.views.evaluate import show
    from aimc_robust.data.evaluation_images import load_evaluation_images
    from aimc_robust.experiments.evaluate.run import RunOptions, evaluate_models
    from aimc_robust.experiments.spec.evaluation import EvaluationSpec, describe_images
    from aimc_robust.io.toml import parse
    from aimc_robust.io.toml_values import parse_settings
    from aimc_robust.models.spec import ModelSpec
    from aimc_robust.parallel.process_pool import available_cpus
    from aimc_robust.report.write import write_report
    from aimc_robust.targets.command_line import target_tables
    from aimc_robust.targets.times import parse_times

    targets = target_tables(device, parse_times(times), parse_settings(set_ or []))
    metrics = load_metrics(metric or [])
    test_images = load_evaluation_images(
        data,
        normalize=normalize,
        size=size,
        resize=resize,
        images=images,
        classes=classes,
        root=data_root,
        data_seed=data_seed,
    )
    network = ModelSpec(name=model, options=parse_settings(option or []))
    descriptions, models, notes = load_models(weights, network, test_images)
    values = {
        "models": descriptions,
        "model": network,
        "images": describe_images(test_images),
        "targets": targets,
        "chip_seed": chip_seed,
        "metrics": list(metrics),
        "chips": chips,
        "precision": precision,
        "threshold": above,
    }
    spec = parse(values, EvaluationSpec, source="evaluate")
    options = RunOptions(
        jobs=jobs or len(available_cpus()),
        batch_size=batch_size,
        metrics=metrics,
        attribution_chips=explain_chips if attribute else None,
        prediction_chips=explain_chips if predict else None,
    )
    with progress_display() as progress:
        results = evaluate_models(spec, models, test_images, out, options=options, progress=progress, notes=notes)
    show(results)
    typer.echo(f"report: {write_report(out)}")
