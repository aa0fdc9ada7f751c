"""The command `compare`: run a spec, here or on a cluster, and write its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aimc_robust.cli.error_handling import SOME_FAILED
from aimc_robust.errors import InputError, require_known

if TYPE_CHECKING:
    from aimc_robust.experiments.callbacks.comparison import ComparisonProgress
    from aimc_robust.experiments.execution.engines.base import Engine
    from aimc_robust.experiments.results.comparison import ComparisonResults

ENGINES = ("local", "ray")
RESULTS = Path("results")  # where results go that --out gives no folder
MODELS = RESULTS / "models"

Scale = Annotated[str | None, typer.Option(help="A scale of the spec, such as smoke or mini, instead of the full one.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Another value, as in training.epochs=2; repeat.")
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder for results and report.", show_default="results/<name of the spec>[-<scale>]"),
]
Models = Annotated[
    Path | None,
    typer.Option(
        help="Folder of trained models that several comparisons share.",
        show_default="results/models; with --out none, each comparison keeps its own",
    ),
]


def compare(
    spec: Annotated[Path, typer.Argument(help="The question: a TOML file with data, model, methods and targets.")],
    out: Out = None,
    scale: Scale = None,
    overrides: Overrides = None,
    models: Models = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Run so many trials at a time, each with its share of cores or a GPU.")
    ] = None,
    engine: Annotated[str, typer.Option(help="Where trials run: local, or ray for a Ray cluster.")] = "local",
    ray_address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster.", show_default="RAY_ADDRESS, or a local Ray")
    ] = None,
    cpus: Annotated[int, typer.Option(min=1, help="Cores of each trial on Ray.")] = 1,
    gpus: Annotated[
        float | None, typer.Option(min=0, help="GPUs of each trial on Ray.", show_default="1 where there are any")
    ] = None,
    part: Annotated[
        str, typer.Option(metavar="I/N", help="Run the I-th of N parts of the models; merge joins the parts' folders.")
    ] = "1/1",
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Try failed models again, say after an upgrade; what has not changed fails the same way.",
        ),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write histories and accuracies for TensorBoard.")
    ] = False,
    devices: Annotated[int, typer.Option(min=1, help="Train each model on so many devices of this node at once.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="On so many nodes, each started with this command.")] = 1,
    accelerator: Annotated[str, typer.Option(help="cpu, gpu, ..., or auto: the best there is.")] = "auto",
    strategy: Annotated[str, typer.Option(help="How devices share a model: auto or ddp.")] = "auto",
) -> None:
    """Train every method and seed of SPEC, evaluate each on every target, and write tables and a report.

    Stop it whenever you like: the same command goes on where it stopped. Exit code 3 says that some model failed.

    Example: aimc-robust compare benchmarks/quickstart.toml --out results/quickstart
    """
    from aimc_robust.experiments.results.completion import read_marker, spec_digest, write_marker
    from aimc_robust.experiments.spec.loading import read_spec
    from aimc_robust.report.freshness import report_is_current

    share = _part(part)
    _check_engine(engine, jobs, ray_address, cpus, gpus)
    how = {"scale": scale, "overrides": overrides or []}
    folder, models = folders(str(read_spec(spec, **how).get("name")), scale, out, models)
    digest = spec_digest(spec, **how)
    failed = None if retry_failed or tensorboard else read_marker(folder, digest)
    if failed is not None and report_is_current(folder):
        typer.echo(f"all models were finished before; report: {folder / 'report.html'}")
        _end(failed)
        return

    if jobs is not None and engine == "local":
        from aimc_robust.experiments.execution.forkserver import begin_imports

        begin_imports()  # of torch for the workers, beside this process's own
    from aimc_robust.experiments.compare import compare as run_comparison
    from aimc_robust.experiments.results.comparison import ComparisonResults
    from aimc_robust.experiments.spec.comparison import load_spec
    from aimc_robust.experiments.spec.loading import written_out
    from aimc_robust.report.write import write_report
    from aimc_robust.training.fabric import Machine

    question = load_spec(spec, **how)
    machine = Machine(devices=devices, nodes=nodes, accelerator=accelerator, strategy=strategy)
    runner = _engine(engine, jobs, ray_address, cpus, gpus)
    first = machine.is_first
    with _watched(first, tensorboard, ComparisonResults(folder, question), models) as (progress, listening):
        outcome = run_comparison(
            question,
            written_out(spec, **how),
            folder,
            data_folder=spec.parent,
            progress=listening,
            retry_failed=retry_failed,
            machine=machine,
            models=models,
            engine=runner,
            part=share,
        )
        if first:
            progress.report(folder / "report.html" if report_is_current(folder) else write_report(folder))
    if first:  # another process that ends badly would be taken for a crash
        names = [str(trial) for trial in outcome.failed]
        if outcome.complete:
            write_marker(folder, digest, names)
        _end(names)


def _end(failed: Sequence[str]) -> None:
    """Exit code 3 where some model failed."""
    if failed:
        names = ", ".join(failed)
        typer.echo(f"failed: {names}; the report gives the reasons, --retry-failed tries them again.", err=True)
        raise typer.Exit(SOME_FAILED)


def folders(name: str, scale: str | None, out: Path | None, models: Path | None) -> tuple[Path, Path | None]:
    """Where results and shared models go."""
    if out is not None:
        return out, models
    return RESULTS / (name if scale is None else f"{name}-{scale}"), models or MODELS


def _part(text: str) -> tuple[int, int]:
    number, slash, parts = text.partition("/")
    if not (slash and number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise InputError(f"--part takes I/N with I from 1 to N, such as 1/3 to 3/3, got {text!r}.")
    return int(number), int(parts)


def _check_engine(name: str, jobs: int | None, address: str | None, cpus: int, gpus: float | None) -> None:
    """Raise InputError or UnknownNameError for options that do not go together."""
    require_known("engine", name, ENGINES)
    if name == "ray" and jobs is not None:
        raise InputError("--jobs is for this machine alone; on Ray, --cpus and --gpus say what each trial takes.")
    if name != "ray" and (address is not None or cpus != 1 or gpus is not None):
        raise InputError("--ray-address, --cpus and --gpus need --engine ray.")


def _engine(name: str, jobs: int | None, address: str | None, cpus: int, gpus: float | None) -> Engine:
    from aimc_robust.experiments.execution.engines.local import LocalEngine
    from aimc_robust.experiments.execution.engines.ray import RayEngine
    from aimc_robust.experiments.execution.engines.serial import SerialEngine

    if name == "ray":
        return RayEngine(address=address, cpus=cpus, gpus=gpus)
    return SerialEngine() if jobs is None else LocalEngine(jobs)


@contextmanager
def _watched(first: bool, tensorboard: bool, store: ComparisonResults, models: Path | None) -> Iterator[tuple[ComparisonProgress, ComparisonProgress]]:
    """(what shows the report's place, what listens to the run)."""
    from aimc_robust.cli.views.compare import progress_display
    from aimc_robust.experiments.callbacks.comparison import ComparisonProgress

    if not first:
        yield ComparisonProgress(), ComparisonProgress()
        return
    with progress_display() as lines:
        if not tensorboard:
            yield lines, lines
            return
        from aimc_robust.experiments.callbacks.tensorboard import TensorBoard

        yield lines, TensorBoard(lines, store, models=models)
