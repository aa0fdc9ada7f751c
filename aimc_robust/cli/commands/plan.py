"""The command `plan`: what of a comparison is done, and the cost of the pending trials."""

from typing import Annotated

import typer

from aimc_robust.cli.commands.compare import Accelerator, Models, Out, Overrides, Scale, Spec, result_folders


def plan(
    spec: Spec,
    out: Out = None,
    scale: Scale = None,
    overrides: Overrides = None,
    models: Models = None,
    jobs: Annotated[int, typer.Option(min=1, help="Estimate the time with so many trials at a time.")] = 1,
    accelerator: Accelerator = "auto",
) -> None:
    """List the trials of SPEC with their state, and estimate time and disk space of the pending ones on this machine.

    Times one training step and one chip of each kind, which takes seconds to minutes. Writes nothing. Code that SPEC
    names as package.module:name is imported and run; --no-user-code refuses it.

    Example: aimc-robust plan benchmarks/quickstart.toml --jobs 2
    """
    from aimc_robust.cli.views.plan import show, timing_status
    from aimc_robust.experiments.planning.plan import plan as plan_comparison
    from aimc_robust.experiments.spec.loading import load_spec
    from aimc_robust.training.fabric import Machine

    comparison = load_spec(spec, scale=scale, overrides=overrides or [])
    folder, model_cache = result_folders(comparison.name, scale, out, models)
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
