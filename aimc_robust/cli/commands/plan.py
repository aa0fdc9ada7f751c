"""The command `plan`: what of a comparison is done, and the cost of the pending trials."""

from pathlib import Path
from typing import Annotated

import typer

from aimc_robust.cli.commands.compare import Accelerator, Models, Out, Overrides, Scale, Spec, result_folders
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
        Path | None,
        typer.Option(help="Results whose spread --settle uses. Default: those of SPEC."),
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
    from aimc_robust.experiments.spec.loading import load_spec
    from aimc_robust.training.fabric import Machine

    comparison = load_spec(spec, scale=scale, overrides=overrides or [])
    folder, model_cache = result_folders(comparison.name, scale, out, models)
    if settle is not None:
        show_seeds(comparison, folder if pilot is None else pilot, settle)
        return
    if pilot is not None:
        raise InputError("--pilot belongs to --settle; give the difference to settle, such as --settle 1.0.")
    with timing_status() as update_status:
        result = plan_comparison(
            comparison,
            folder,
            data_folder=spec.parent,
            model_cache=model_cache,
            machine=Machine(accelerator=accelerator),
            jobs=jobs,
            on_status=update_status,
        )
    show(result)
