"""The command `recommend`: propose a training method for a device."""

from pathlib import Path
from typing import Annotated, cast

import typer

from aimc_robust.cli.commands.compare import Accelerator
from aimc_robust.cli.device_options import Layer
from aimc_robust.cli.weight_options import Ignore, Key, Prefix


def recommend(
    spec: Annotated[Path, typer.Option(help="Spec of a comparison, a TOML file; its data, model and recipe are used.")],
    device: Annotated[
        str,
        typer.Option(
            help="A card of the library, the path of your own card, a cell model package.module:name, or a table."
        ),
    ],
    weights: Annotated[
        Path | None, typer.Option(help="Trained weights to measure on. Default: train with plain SGD first.")
    ] = None,
    key: Key = None,
    prefix: Prefix = "",
    ignore: Ignore = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for all results.", show_default="results/<spec>-<device>-advice")
    ] = None,
    time: Annotated[str, typer.Option(help="Time since programming, such as 1d.")] = "0",
    task: Annotated[
        str | None, typer.Option(help="What the model is for, such as regression.", show_default="as in the spec")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Crossbar parameter, such as adc.bits=8, or a key of the task, such as task.metric=mae. Repeatable.",
        ),
    ] = None,
    layer: Layer = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Trained models per method.", show_default="as in the spec")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs per training.", show_default="as in the spec")
    ] = None,
    chips: Annotated[int | None, typer.Option(min=2, help="Chips per model.", show_default="as in the spec")] = None,
    sweep: Annotated[bool, typer.Option(help="Test the proposal by a sweep over methods.")] = True,
    keep_digital: Annotated[
        float | None,
        typer.Option(
            metavar="REQUIRED",
            help="Propose which layers to keep digital, so that the model reaches this on the device, such as 90 for "
            "90 % accuracy, and confirm it on other chips.",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes of the measurement; they are on the CPU.", show_default="number of cores"),
    ] = None,
    accelerator: Accelerator = "auto",
    forward_precision: Annotated[
        str,
        typer.Option(
            help="Of the measurement: 32-true (exact), or bf16-mixed: forward passes under autocast, for devices whose "
            "weights alone have errors."
        ),
    ] = "32-true",
) -> None:
    """Measure a device's errors on your model, propose a training method, and test the proposal by a small sweep.

    Interrupt it at any time: run the same command again to continue.

    Example: aimc-robust recommend --device rram-wan2022 --spec benchmarks/quickstart.toml --out results/advice
    """
    from aimc_robust.cli.progress_display import progress_display
    from aimc_robust.cli.views.recommend import show
    from aimc_robust.errors import InputError
    from aimc_robust.experiments.recommend.run import recommend as recommend_method
    from aimc_robust.experiments.spec.loading import load_spec
    from aimc_robust.io.toml import parse_settings
    from aimc_robust.models.weight_selection import WeightSelection
    from aimc_robust.parallel.process_pool import available_cpus
    from aimc_robust.report.recommendation.page import write_recommendation
    from aimc_robust.report.write import write_report
    from aimc_robust.targets.build import build_target
    from aimc_robust.targets.command_line import parse_times, target_tables
    from aimc_robust.training.config import Precision
    from aimc_robust.training.fabric import Machine

    machine = Machine.for_evaluation(accelerator, jobs)
    of_task = [text for text in set_ or [] if text.lstrip().startswith("task.")]
    times_s = parse_times(time)
    options = parse_settings([text for text in set_ or [] if text not in of_task])
    tables = target_tables([device], times_s, options, layer or ()) if len(times_s) == 1 else []
    if len(tables) != 1:
        raise InputError(f"a recommendation needs one device at one time, got --device {device} --time {time}.")
    comparison = load_spec(spec, overrides=[*([f"task.kind={task}"] if task else []), *of_task])
    folder = out or Path("results") / f"{comparison.name}-{build_target(tables[0]).name}-advice"
    with progress_display() as progress:
        recommendation = recommend_method(
            comparison,
            tables[0],
            folder,
            data_folder=spec.parent,
            weights=weights,
            selection=WeightSelection(key=key, prefix=prefix, ignore=ignore or []),
            seeds=seeds,
            epochs=epochs,
            chips=chips,
            sweep=sweep,
            required=keep_digital,
            jobs=jobs or (len(available_cpus()) if machine.device.type == "cpu" else None),
            machine=machine,
            forward_precision=cast(Precision, forward_precision),
            progress=progress,
        )
    if sweep:
        write_report(recommendation.sweep)
    show(recommendation)
    typer.echo(f"report: {write_recommendation(recommendation)}")
