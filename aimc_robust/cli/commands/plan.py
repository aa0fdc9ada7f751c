"""The command `plan`: what a comparison has done, and what the rest will cost."""

from pathlib import Path
from typing import Annotated

import typer

from aimc_robust.cli.commands.compare import Models, Out, Overrides, Scale, folders


def plan(
    spec: Annotated[Path, typer.Argument(help="The question: a TOML file with data, model, methods and targets.")],
    out: Out = None,
    scale: Scale = None,
    overrides: Overrides = None,
    models: Models = None,
    jobs: Annotated[int, typer.Option(min=1, help="Also the time with so many trials side by side.")] = 1,
    accelerator: Annotated[str, typer.Option(help="cpu, gpu, ..., or auto: the best there is.")] = "auto",
) -> None:
    """List the models of SPEC with what is done already, and estimate time and disk of the rest on this machine.

    A training step and a chip of each kind are timed, which takes seconds to minutes; nothing is written.

    Example: aimc-robust plan benchmarks/quickstart.toml --jobs 2
    """
    from aimc_robust.cli.views.plan import show, waiting
    from aimc_robust.experiments.planning.plan import plan as planned
    from aimc_robust.experiments.spec.comparison import load_spec
    from aimc_robust.training.fabric import Machine

    question = load_spec(spec, scale=scale, overrides=overrides or [])
    folder, models = folders(question.name, scale, out, models)
    with waiting() as told:
        found = planned(
            question,
            folder,
            data_folder=spec.parent,
            models=models,
            machine=Machine(accelerator=accelerator),
            jobs=jobs,
            told=told,
        )
    show(found)
