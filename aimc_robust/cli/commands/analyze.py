"""The command `analyze`: sharpness and Hessian spectrum of the trained models of a comparison."""

from typing import Annotated

import typer

from aimc_robust.cli.commands.compare import Accelerator, Overrides, Scale, Spec
from aimc_robust.cli.results_location import Out, result_folders, writing
from aimc_robust.io.object_store import is_url


def analyze(
    spec: Spec,
    out: Out = None,
    scale: Scale = None,
    overrides: Overrides = None,
    split: Annotated[
        str, typer.Option(help="Images that the loss is over: training, validation or test.")
    ] = "training",
    images: Annotated[int | None, typer.Option(min=1, help="Size of a random subset of the images.")] = None,
    sigma: Annotated[
        float, typer.Option(min=0, help="Gaussian noise of average-direction sharpness, relative to each filter's max.")
    ] = 0.02,
    draws: Annotated[int, typer.Option(min=1, help="Draws of this noise for each minibatch.")] = 5,
    rho: Annotated[float, typer.Option(min=0, help="Radius of ascent-direction sharpness.")] = 0.05,
    m: Annotated[int, typer.Option("--m", min=1, help="Size of the minibatches of both.")] = 128,
    eigenvalues: Annotated[int, typer.Option(min=1, help="Number of largest eigenvalues of the Hessian.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Lanczos steps; each is a pass over the images.")] = 80,
    probes: Annotated[int, typer.Option(min=1, help="Random start vectors of the spectral density.")] = 1,
    accelerator: Accelerator = "auto",
) -> None:
    """Measure sharpness and the Hessian's spectrum of all trained models of SPEC, and add them to its report.

    Run `compare` first. Interrupt it at any time: run the same command again to continue.

    Example: aimc-robust analyze benchmarks/quickstart.toml --images 500 --steps 40
    """
    from typing import cast

    from aimc_robust.cli.views.analyze import show
    from aimc_robust.cli.views.plan import timing_status
    from aimc_robust.data.dataset import Split
    from aimc_robust.errors import require_known
    from aimc_robust.experiments.analyze import AnalysisSettings
    from aimc_robust.experiments.analyze import analyze as analyze_comparison
    from aimc_robust.experiments.spec.loading import load_spec
    from aimc_robust.report.write import write_report
    from aimc_robust.training.fabric import Machine

    require_known("--split", split, ("training", "validation", "test"))
    comparison = load_spec(spec, scale=scale, overrides=overrides or [])
    folder, _ = result_folders(comparison.name, scale, out, None)
    settings = AnalysisSettings(
        split=cast(Split, split),
        images=images,
        sigma=sigma,
        draws=draws,
        rho=rho,
        m=m,
        eigenvalues=eigenvalues,
        steps=steps,
        probes=probes,
    )
    with writing(str(folder) if out is None else out) as results:
        with timing_status() as update_status:
            rows = analyze_comparison(
                comparison,
                results,
                settings,
                data_folder=spec.parent,
                device=Machine(accelerator=accelerator).device,
                on_status=update_status,
            )
        show(rows)
        report = write_report(results)
    typer.echo(f"report: {report}{f', also in {out}' if is_url(out or '') else ''}")
