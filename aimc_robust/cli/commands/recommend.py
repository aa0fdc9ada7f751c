"""The command `recommend`: what to train for a device."""

from pathlib import Path
from typing import Annotated

import typer


def recommend(
    spec: Annotated[Path, typer.Option(help="A comparison's TOML file: its data, model and recipe are yours.")],
    device: Annotated[str, typer.Option(help="A card of the library, the path of your own, or a table.")],
    weights: Annotated[
        Path | None, typer.Option(help="Measure on these trained weights instead of training with plain SGD first.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for everything.", show_default="results/<spec>-<device>-advice")
    ] = None,
    time: Annotated[str, typer.Option(help="Time since programming, such as 1d.")] = "0",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of the crossbar, such as adc.bits=8; again for each.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Models of each method.", show_default="the spec's")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Length of the runs.", show_default="the spec's")] = None,
    chips: Annotated[int | None, typer.Option(min=2, help="Chips per model.", show_default="the spec's")] = None,
    sweep: Annotated[bool, typer.Option(help="Confirm or refute the proposal by a sweep.")] = True,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes of the measurement.", show_default="cores")] = None,
) -> None:
    """Measure a device's errors on your model, propose what to train, and let a small sweep confirm or refute it.

    Stop it whenever you like: the same command goes on where it stopped.

    Example: aimc-robust recommend --device rram-wan2022 --spec benchmarks/quickstart.toml --out results/advice
    """
    from aimc_robust.cli.views.compare import progress_display
    from aimc_robust.cli.views.recommend import show
    from aimc_robust.errors import InputError
    from aimc_robust.experiments.recommend.run import device_name
    from aimc_robust.experiments.recommend.run import recommend as run_recommendation
    from aimc_robust.experiments.spec.comparison import load_spec
    from aimc_robust.parallel.cores import available_cpus
    from aimc_robust.report.recommendation.page import write_advice
    from aimc_robust.report.write import write_report
    from aimc_robust.targets.command_line import options_from, target_tables, times_from

    times = times_from(time)
    tables = target_tables([device], times, options_from(set_ or []))
    if len(times) != 1 or len(tables) != 1:
        raise InputError(f"advice is for one device at one time, got --time {time}.")
    question = load_spec(spec)
    folder = out or Path("results") / f"{question.name}-{device_name(tables[0])}-advice"
    with progress_display() as progress:
        found = run_recommendation(
            question,
            tables[0],
            folder,
            data_folder=spec.parent,
            weights=weights,
            seeds=seeds,
            epochs=epochs,
            chips=chips,
            sweep=sweep,
            jobs=jobs or len(available_cpus()),
            progress=progress,
            told=progress.line,
        )
    if sweep:
        write_report(found.sweep)
    show(found)
    typer.echo(f"report: {write_advice(found)}")
