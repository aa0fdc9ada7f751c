"""The command `compare`: run a comparison, on this machine or on a cluster, and write its report."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aimc_robust.cli.error_handling import EXIT_SOME_FAILED
from aimc_robust.cli.results_location import Models, Out, result_folders
from aimc_robust.errors import InputError, require_known
from aimc_robust.io.object_store import is_url

if TYPE_CHECKING:
    from aimc_robust.experiments.execution.engines.base import Engine

Spec = Annotated[Path, typer.Argument(help="The spec: a TOML file with data, model, methods and targets.")]
Scale = Annotated[
    str | None, typer.Option(help="A scale that the spec defines, such as smoke or mini. Default: the full problem.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value, such as training.epochs=2. Repeatable."),
]
Accelerator = Annotated[str, typer.Option(help="Device type: cpu, gpu, ..., or auto for the best available.")]


def compare(
    spec: Spec,
    out: Out = None,
    scale: Scale = None,
    overrides: Overrides = None,
    models: Models = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Number of trials to run at a time; they share cores and GPUs.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Threads of each trial; 1 is fastest beside other programs.", show_default="cores / jobs"
        ),
    ] = None,
    engine: Annotated[str, typer.Option(help="Where trials run: local, or ray for a Ray cluster.")] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(help="Address of the Ray cluster.", show_default="RAY_ADDRESS, or a local Ray"),
    ] = None,
    cpus: Annotated[int, typer.Option(min=1, help="Cores per trial on Ray.")] = 1,
    gpus: Annotated[
        float | None, typer.Option(min=0, help="GPUs per trial on Ray.", show_default="1 if there are any")
    ] = None,
    part: Annotated[
        str,
        typer.Option(metavar="I/N", help="Run the I-th of N parts of the trials. Join the results with merge."),
    ] = "1/1",
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Run failed trials again, for example after an upgrade."),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write training curves and results for TensorBoard.")
    ] = False,
    devices: Annotated[int, typer.Option(min=1, help="Devices of this node that train each model together.")] = 1,
    nodes: Annotated[
        int, typer.Option(min=1, help="Nodes that train each model together; start this command on each.")
    ] = 1,
    accelerator: Accelerator = "auto",
    strategy: Annotated[str, typer.Option(help="How several devices train one model: auto or ddp.")] = "auto",
) -> None:
    """Train every method and seed of SPEC, evaluate each model on every target, write tables and a report.

    Interrupt it at any time: run the same command again to continue. Exit code 3: some trials failed. Code that SPEC
    names as package.module:name is imported and run; --no-user-code refuses it.

    Example: aimc-robust compare benchmarks/quickstart.toml --out results/quickstart
    """
    from aimc_robust.experiments.spec.inheritance import read_spec

    trial_part = _parse_part(part)
    ray_options = ray_address is not None or cpus != 1 or gpus is not None
    _check_engine(engine, local_options=jobs is not None or threads is not None, ray_options=ray_options)
    values = tuple(overrides or ())
    name = str(read_spec(spec, scale=scale, overrides=values).get("name"))
    if (is_url(out or "") or is_url(models or "")) and devices * nodes > 1:
        raise InputError("a URL as --out or --models needs one process for each model; give folders, or --devices 1.")
    folder, model_cache = result_folders(name, scale, out, models)
    trial_engine = _build_engine(engine, jobs, threads, ray_address, cpus, gpus)
    from aimc_robust.cli.progress_display import progress_display
    from aimc_robust.experiments.callbacks.progress import ExperimentProgress
    from aimc_robust.report.comparison.run import compare_and_report
    from aimc_robust.training.fabric import Machine

    machine = Machine(devices=devices, nodes=nodes, accelerator=accelerator, strategy=strategy)
    with progress_display() if machine.is_first else nullcontext(ExperimentProgress()) as progress:
        report, failed = compare_and_report(
            spec,
            folder,
            scale=scale,
            overrides=values,
            model_cache=model_cache,
            progress=progress,
            machine=machine,
            engine=trial_engine,
            part=trial_part,
            retry_failed=retry_failed,
            tensorboard=tensorboard,
            out_url=out if is_url(out or "") else None,
            models_url=models if is_url(models or "") else None,
        )
    if machine.is_first:
        typer.echo(f"report: {report}{f', also in {out}' if is_url(out or '') else ''}")
    if failed:
        typer.echo(
            f"failed: {', '.join(failed)}. See the report for the reasons; --retry-failed runs them again.", err=True
        )
        raise typer.Exit(EXIT_SOME_FAILED)


def _parse_part(text: str) -> tuple[int, int]:
    """Parse the option --part: `1/3` is (1, 3)."""
    number, slash, parts = text.partition("/")
    if not (slash and number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise InputError(f"--part must be I/N with I from 1 to N, such as 1/3, got {text!r}.")
    return int(number), int(parts)


def _check_engine(name: str, *, local_options: bool, ray_options: bool) -> None:
    require_known("engine", name, ("local", "ray"))
    if name == "ray" and local_options:
        raise InputError("--jobs and --threads need --engine local; on Ray, set --cpus and --gpus of each trial.")
    if name == "local" and ray_options:
        raise InputError("--ray-address, --cpus and --gpus need --engine ray.")


def _build_engine(
    name: str, jobs: int | None, threads: int | None, ray_address: str | None, cpus: int, gpus: float | None
) -> Engine:
    if jobs is not None:
        from aimc_robust.experiments.execution.forkserver import begin_imports

        begin_imports()  # of torch in the worker processes, in parallel with the imports of this one
    from aimc_robust.experiments.execution.engines.local import LocalEngine
    from aimc_robust.experiments.execution.engines.ray import RayEngine
    from aimc_robust.experiments.execution.engines.serial import SerialEngine

    if name == "ray":
        return RayEngine(address=ray_address, cpus=cpus, gpus=gpus)
    return SerialEngine(threads=threads) if jobs is None else LocalEngine(jobs, threads)
