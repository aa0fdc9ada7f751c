"""The command `require`: what trained weights require of a memory device."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from aimc_robust.cli.device_options import Layer
from aimc_robust.cli.weight_options import Ignore, Key, Prefix

INPUTS = (
    *("model", "option", "data", "task", "key", "prefix", "ignore", "layer", "normalize", "size", "resize", "images"),
    *("classes", "data_root", "batch_size", "data_seed", "chip_seed"),
)
"""Options that `evaluate` takes alike."""


def require(
    context: typer.Context,
    weights: Annotated[str, typer.Argument(help="File of weights, as for `evaluate`.")],
    model: Annotated[
        str, typer.Option(help="package.module:function, torchvision:NAME, timm:NAME, or a name such as resnet18.")
    ],
    data: Annotated[str, typer.Option(help="Labelled data, as for `evaluate`: digits, npz:FILE, folder:FOLDER, ...")],
    drop: Annotated[
        float,
        typer.Option(help="Largest drop that a chip may have against digital weights, in points or the metric's unit."),
    ],
    yield_: Annotated[
        float, typer.Option("--yield", help="Share of chips that must keep it, above 0 and below 1.")
    ] = 0.95,
    quantity: Annotated[
        list[str] | None,
        typer.Option(help="Error to find the limit of, such as programming or adc-bits. Repeatable. Default: all."),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="A device to judge: a card of the library, the path of your own card, or package.module:name; or "
            "`library` for all cards. Repeatable."
        ),
    ] = None,
    task: Annotated[str, typer.Option(help="What the model is for, as for `evaluate`.")] = "classification",
    out: Annotated[Path, typer.Option(help="Folder for report, numbers and card.")] = Path("results/requirements"),
    time: Annotated[str, typer.Option(help="Time since programming, for drift, such as 1d.")] = "1d",
    drift_spread: Annotated[
        float, typer.Option(min=0.0, help="Standard deviation of the drift exponent, in units of its mean.")
    ] = 1 / 3,
    t0: Annotated[
        float, typer.Option(min=1e-9, help="Seconds from the programming pulse to time 0, for the drift's power law.")
    ] = 20.0,
    chips: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Chips of each search, and as many others of each confirmation.",
            show_default="as many as show the yield although one fails",
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Argument of the model's function. Repeatable.")
    ] = None,
    key: Key = None,
    prefix: Prefix = "",
    ignore: Ignore = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Part of the crossbar that the device is for, such as rows=64, mapping=two-sided or "
            "window=[0.02,1.0] for an on/off ratio of 50; of the task or the data, as for `evaluate`. Repeatable.",
        ),
    ] = None,
    layer: Layer = None,
    normalize: Annotated[str | None, typer.Option(help="Image normalization, as for `evaluate`.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Resize and center-crop images to this size.")] = None,
    resize: Annotated[
        int | None, typer.Option(min=1, help="Length of the shorter side before the crop, in pixels.")
    ] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Size of a random subset of the test examples.")] = None,
    classes: Annotated[
        int | None, typer.Option(min=2, help="Number of outputs of the model, if more than the data have classes.")
    ] = None,
    data_root: Annotated[Path, typer.Option(help="Folder of torchvision's data sets.")] = Path("data"),
    batch_size: Annotated[int, typer.Option(min=1, help="Examples per batch.")] = 500,
    data_seed: Annotated[int, typer.Option(min=0, help="Root seed of a data split and of --images.")] = 0,
    chip_seed: Annotated[int, typer.Option(min=0, help="Root seed of the chips.")] = 0,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Number of processes.", show_default="number of cores")
    ] = None,
) -> None:
    """Find the largest errors of a device with which WEIGHTS keep their accuracy, one by one and all together.

    Example: aimc-robust require rwp.safetensors --model small-cnn --data digits --drop 1.0 --yield 0.95
    --set rows=128 --device library --out results/rwp-requirements
    """
    from aimc_robust.cli.inputs import load_models
    from aimc_robust.cli.progress_display import progress_display
    from aimc_robust.cli.views.require import show
    from aimc_robust.data.evaluation_images import load_evaluation_images
    from aimc_robust.devices.library import measured_cards
    from aimc_robust.errors import InputError, require_type
    from aimc_robust.evaluation.requirements.run import ARRAY, device_requirements
    from aimc_robust.experiments.spec.task import parse_task
    from aimc_robust.io.toml import parse, parse_settings
    from aimc_robust.models.registry import ModelSpec
    from aimc_robust.models.weight_selection import WeightSelection
    from aimc_robust.parallel.process_pool import available_cpus
    from aimc_robust.report.requirements.command import evaluate_command
    from aimc_robust.report.requirements.page import write_requirements
    from aimc_robust.targets.build import build_target
    from aimc_robust.targets.command_line import parse_times, target_tables
    from aimc_robust.targets.target import CrossbarTarget

    settings = parse_settings(set_ or [])
    built_task, data_settings = parse_task(task, settings.pop("task", {})).build(), settings.pop("data", {})
    require_type("--set data", data_settings, dict, example="of the form data.KEY=VALUE")
    times_s = parse_times(time)
    if len(times_s) != 1:
        raise InputError(f"requirements are for one time, got --time {time}.")
    arrays = {"rows": ARRAY, "columns": ARRAY} | settings
    (table,) = target_tables(["ideal"], [0.0], arrays, layer or ())
    target = build_target(table)
    assert isinstance(target, CrossbarTarget)
    if not target.is_plain or target.time_s:
        raise InputError(
            "--set describes arrays and converters here; leave compensation, backend, fold and time_s out."
        )
    examples = load_evaluation_images(
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
    _, (trained,), notes = load_models([weights], selection, network, examples, built_task)
    names = [name for each in device or [] for name in (measured_cards() if each == "library" else [each])]
    with progress_display() as progress:
        for note in [*examples.notes, *notes]:
            progress.note(note)
        found = device_requirements(
            trained,
            examples.batches("test", min(batch_size, built_task.batch_size)),
            drop=drop,
            required_yield=yield_,
            crossbar=target.condition,
            quantities=quantity,
            devices=list(dict.fromkeys(names)),
            time_s=times_s[0],
            t0_s=t0,
            drift_spread=drift_spread,
            calibrate_on=examples.calibration_batches(),
            chips=chips,
            chip_seed=chip_seed,
            jobs=jobs or len(available_cpus()),
            task=built_task,
            on_step=lambda text: progress.note(f"searching: {text}"),
        )
    show(found)
    subject = f"{weights} ({model}) on {examples.count} examples of {data}"
    of_inputs = [text for text in set_ or [] if text.lstrip().startswith(("task.", "data."))]
    inputs = [[weights], *_given(context), *(["--set", text] for text in of_inputs)]
    typer.echo(f"report: {write_requirements(found, out, subject, evaluate_command(found, inputs, arrays, out))}")


def _given(context: typer.Context) -> Iterator[list[str]]:
    """Yield each option of `INPUTS` that the command line has, with its value."""
    options = {option.name: option for option in context.command.params}
    for name in INPUTS:
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        for each in value if isinstance(value, list | tuple) else [value]:
            yield [options[name].opts[0], str(each)]
