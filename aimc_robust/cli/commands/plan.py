"""The command `plan`: what of a comparison is done, and the cost of the pending trials."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from aimc_robust.cli.commands.compare import Accelerator, Overrides, Scale, Spec
from aimc_robust.cli.results_location import Models, Out, is_store, reading, result_folders
from aimc_robust.errors import InputError


def plan(
    spec: Spec,
    out: Out = None,
    scale: Scale = None,
    overrides: Overrides = None,
    models: Models = None,
    jobs: Annotated[int, typer.Option(min=1, help="Estimate the time with so many trials at a time.")] = 1,
    accelerator: Accelerator = "auto",
    settle: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="Tell how many training seeds settle a difference of so many points."),
    ] = None,
    pilot: Annotated[
        str | None,
        typer.Option(metavar="DIR|URL", help="Results whose spread --settle uses. Default: those of SPEC."),
    ] = None,
) -> None:
    """List the trials of SPEC with their state, and estimate time and disk space of the pending ones on this machine.

    Times one training step and one chip of each kind, which takes seconds to minutes. Writes nothing. Code that SPEC
    names as package.module:name is imported and run; --no-user-code refuses it.

    --settle needs results of at least two seeds, of the same methods and targets: a pilot. It does not time anything.

    Example: aimc-robust plan benchmarks/quickstart.toml --jobs 2
    """
    from aimc_robust.cli.views.plan import show, show_seeds, timing_status
    from aimc_robust.experiments.planning.plan import plan as plan_comparison
    from aimc_robust.experiments.results.comparison import ComparisonResults
    from aimc_robust.experiments.results.remote_models import fetch_models
    from aimc_robust.experiments.spec.files import with_file_digests
    from aimc_robust.experiments.spec.loading import load_spec
    from aimc_robust.training.fabric import Machine

    comparison = load_spec(spec, scale=scale, overrides=overrides or [])
    folder, model_cache = result_folders(comparison.name, scale, out, models)
    location = str(folder) if out is None else out
    if settle is not None:
        with reading(location if pilot is None else pilot) as results:
            show_seeds(comparison, results, settle)
        return
    if pilot is not None:
        raise InputError("--pilot belongs to --settle; give the difference to settle, such as --settle 1.0.")
    with (
        reading(location, weights=True, may_be_empty=True) as results,
        tempfile.TemporaryDirectory() as temporary,
        timing_status() as update_status,
    ):
        if models is not None and is_store(models):
            model_cache = Path(temporary)
            fetch_models(models, model_cache, ComparisonResults(results, with_file_digests(comparison, spec.parent)))
        result = plan_comparison(
            comparison,
            results,
            data_folder=spec.parent,
            model_cache=model_cache,
            machine=Machine(accelerator=accelerator),
            jobs=jobs,
            on_status=update_status,
        )
    show(result)
