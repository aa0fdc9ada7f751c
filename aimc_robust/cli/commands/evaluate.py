"""The command `evaluate`: what trained weights score on devices."""

from pathlib import Path
from typing import Annotated

import typer

from aimc_robust.cli.commands.compare import Accelerator
from aimc_robust.cli.device_options import Layer, Settings
from aimc_robust.cli.weight_options import Ignore, Key, Prefix


def evaluate(
    weights: Annotated[
        list[str],
        typer.Argument(
            metavar="WEIGHTS...",
            help="Files of weights (.safetensors, a saved state_dict, a training checkpoint, an index of shards or its "
            "folder), each as FILE or LABEL=FILE. Files with the same label are models of one recipe with different "
            "seeds; intervals then cover new trainings.",
        ),
    ],
    model: Annotated[
        str, typer.Option(help="package.module:function, torchvision:NAME, timm:NAME, or a name such as resnet18.")
    ],
    data: Annotated[
        str,
        typer.Option(
            help="digits, npz:FILE, folder:FOLDER (one subfolder per class), torchvision:NAME, csv:FILE, parquet:FILE, "
            "or package.module:function that returns batches."
        ),
    ],
    device: Annotated[
        list[str],
        typer.Option(
            help="A card of the library, the path of your own card, a cell model package.module:name, a noise such as "
            'gaussian-0.05, or a table such as {name = "small", device = "sonos-agrawal2022", adc = {bits = 8}}. '
            "Repeatable."
        ),
    ],
    task: Annotated[
        str,
        typer.Option(
            help="What the model is for: classification, regression, multilabel, segmentation, language-modelling, "
            "model-score, or package.module:function that returns a task."
        ),
    ] = "classification",
    out: Annotated[Path, typer.Option(help="Folder for results and report.")] = Path("results/evaluation"),
    times: Annotated[str, typer.Option(help="Times since programming, such as 0,1h,1d,5d.")] = "0",
    chips: Annotated[int, typer.Option(min=1, help="Chips per model and device; with --precision, the maximum.")] = 25,
    precision: Annotated[
        float | None,
        typer.Option(
            help="Stop when the half-width of the 95 % interval over chips is at most this, in the unit of the metric, "
            "such as points of accuracy."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Report the yield: the share of chips that are at least as good as this, in the unit of the metric, "
            "such as % of accuracy."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Metric: top5, or package.module:function, called with (outputs, labels). Repeatable."),
    ] = None,
    attribute: Annotated[
        bool, typer.Option("--attribute", help="Attribute the loss on a device to layers and error sources.")
    ] = False,
    predict: Annotated[
        bool, typer.Option("--predict", help="Predict the loss without Monte Carlo, and compare with Monte Carlo.")
    ] = False,
    save_states: Annotated[
        bool,
        typer.Option(
            "--save-states",
            help="Write the target and programmed states of chip 0, with the address of every device, to OUT/states.",
        ),
    ] = False,
    explain_chips: Annotated[int, typer.Option(min=2, help="Chips for --attribute and --predict.")] = 10,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Argument of the model's function. Repeatable."),
    ] = None,
    key: Key = None,
    prefix: Prefix = "",
    ignore: Ignore = None,
    set_: Settings = None,
    layer: Layer = None,
    normalize: Annotated[
        str | None,
        typer.Option(
            help="Image normalization: none, imagenet, MEAN/STD (for a model trained elsewhere), or training (the "
            "default if the data have a training split): as `compare` trains, without its validation images."
        ),
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Resize and center-crop images to this size.")] = None,
    resize: Annotated[
        int | None, typer.Option(min=1, help="Length of the shorter side before the crop, in pixels.")
    ] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Size of a random subset of the test examples.")] = None,
    classes: Annotated[
        int | None, typer.Option(min=2, help="Number of outputs of the model, if more than the data have classes.")
    ] = None,
    data_root: Annotated[Path, typer.Option(help="Folder of torchvision's data sets.")] = Path("data"),
    batch_size: Annotated[
        int,
        typer.Option(
            min=1,
            help="Examples per batch; affects memory and speed, not the numbers. The exception is noise that is drawn "
            "at every read, in layers whose inputs do not have the examples along dimension 0; a run with such noise "
            "continues with the same batch size only.",
        ),
    ] = 500,
    data_seed: Annotated[int, typer.Option(min=0, help="Root seed of a data split and of --images.")] = 0,
    chip_seed: Annotated[int, typer.Option(min=0, help="Root seed of the chips.")] = 0,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes; they are on the CPU.", show_default="number of cores"),
    ] = None,
    accelerator: Accelerator = "auto",
    forward_precision: Annotated[
        str,
        typer.Option(
            help="32-true (exact), or bf16-mixed: forward passes of digital weights and chips under autocast, for "
            "devices whose weights alone have errors."
        ),
    ] = "32-true",
) -> None:
    """Predict what trained WEIGHTS score on devices over time, with intervals, as a table and a report.

    Interrupt it at any time: run the same command again to continue. A higher --chips adds chips.

    Example: aimc-robust evaluate rwp.safetensors --model net:build --data npz:images.npz --device rram-wan2022-drift
    --device sonos-agrawal2022 --times 0,1h,1d,2d --chips 25 --out results/rwp
    """
    from aimc_robust.cli.inputs import load_models
    from aimc_robust.cli.progress_display import progress_display
    from aimc_robust.cli.views.evaluate import show
    from aimc_robust.data.evaluation_images import load_evaluation_images
    from aimc_robust.errors import require_type
    from aimc_robust.experiments.evaluate.run import evaluate_models
    from aimc_robust.experiments.evaluate.state_files import write_state_files
    from aimc_robust.experiments.spec.evaluation import EvaluationSpec, describe_images
    from aimc_robust.experiments.spec.task import parse_task
    from aimc_robust.io.toml import parse, parse_settings
    from aimc_robust.models.registry import ModelSpec
    from aimc_robust.models.weight_selection import WeightSelection
    from aimc_robust.parallel.process_pool import available_cpus
    from aimc_robust.report.write import write_report
    from aimc_robust.targets.command_line import parse_times, target_tables
    from aimc_robust.training.fabric import Machine

    machine = Machine.for_evaluation(accelerator, jobs)
    settings = parse_settings(set_ or [])
    task_table = parse_task(task, settings.pop("task", {}))
    built_task, data_settings = task_table.build(), settings.pop("data", {})
    require_type("--set data", data_settings, dict, example="of the form data.KEY=VALUE")
    targets = target_tables(device, parse_times(times), settings, layer or ())
    test_images = load_evaluation_images(
        data,
        normalize=normalize,
        size=size,
        resize=resize,
        images=images,
        classes=classes,
        root=data_root,
        data_seed=data_seed,
        task=built_task,
        settings=data_settings,
    )
    network = parse({"name": model, "options": parse_settings(option or [])}, ModelSpec, source="--model")
    selection = WeightSelection(key=key, prefix=prefix, ignore=ignore or [])
    descriptions, models, notes = load_models(weights, selection, network, test_images, built_task)
    values = {
        "task": task_table,
        "models": descriptions,
        "selection": selection,
        "model": network,
        "images": describe_images(test_images),
        "targets": targets,
        "chip_seed": chip_seed,
        "metrics": metric or [],
        "chips": chips,
        "precision": precision,
        "threshold": threshold,
        "forward_precision": forward_precision,
        "batch_size": batch_size,
    }
    spec = parse(values, EvaluationSpec, source="evaluate")
    with progress_display() as progress:
        results = evaluate_models(
            spec,
            models,
            test_images,
            out,
            jobs=jobs or (len(available_cpus()) if machine.device.type == "cpu" else None),
            machine=machine,
            attribution_chips=explain_chips if attribute else None,
            prediction_chips=explain_chips if predict else None,
            progress=progress,
            notes=[*test_images.notes, *notes],
        )
    show(results)
    if save_states:
        for path in write_state_files(spec, models, test_images, out):
            typer.echo(f"states: {path}")
    typer.echo(f"report: {write_report(out)}")
