"""The command `evaluate`: trained weights on devices."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    weights: Annotated[
        list[str],
        typer.Argument(
            metavar="WEIGHTS...",
            help="Files of weights (.safetensors, or a saved state_dict), each FILE or LABEL=FILE. A label given again "
            "is another seed of the same recipe: intervals then cover new trainings.",
        ),
    ],
    model: Annotated[
        str, typer.Option(help="package.module:function, torchvision:NAME, timm:NAME, or one of ours such as resnet18.")
    ],
    data: Annotated[str, typer.Option(help="digits, npz:FILE, folder:FOLDER (one per class) or torchvision:NAME.")],
    device: Annotated[
        list[str],
        typer.Option(
            help="Again for each: a card of the library, the path of your own, a noise such as gaussian-0.05, or a "
            'table such as {name = "small", device = "sonos-agrawal2022", adc = {bits = 8}}.'
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for results and report.")] = Path("results/evaluation"),
    times: Annotated[str, typer.Option(help="Times since programming, such as 0,1h,1d,5d.")] = "0",
    chips: Annotated[int, typer.Option(min=1, help="Chips per model and device, or the most of them.")] = 25,
    precision: Annotated[
        float | None,
        typer.Option(help="Stop where the 95 % interval over chips is so many points to each side."),
    ] = None,
    above: Annotated[float | None, typer.Option(help="Yield: share of chips of at least this accuracy [%].")] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="package.module:function of (outputs, labels); again for each."),
    ] = None,
    attribute: Annotated[
        bool, typer.Option("--attribute", help="Find which layer and which error source costs how much.")
    ] = False,
    predict: Annotated[
        bool, typer.Option("--predict", help="Predict the loss without Monte Carlo, beside it.")
    ] = False,
    explain_chips: Annotated[int, typer.Option(min=2, help="Chips behind --attribute and --predict.")] = 10,
    option: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for the model's function; again for each.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of every crossbar, such as rows=256 or adc.bits=8; again for each."),
    ] = None,
    normalise: Annotated[
        str | None,
        typer.Option(help="none, imagenet, MEAN/STD, or training (the default where the data has a training split)."),
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Scale and cut images of folders to this size.")] = None,
    resize: Annotated[int | None, typer.Option(min=1, help="Scale the shorter side to this before the cut.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Use so many test images, drawn by the seed.")] = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Outputs of the model, if more than the data's.")] = None,
    data_root: Annotated[Path, typer.Option(help="Where torchvision's data sets lie.")] = Path("data"),
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once; changes memory and speed alone.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Root of the chips, and of a data split.")] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes.", show_default="one per core")] = None,
) -> None:
    """Predict what trained WEIGHTS will score on devices over time, with intervals, in a table and a report.

    Stop it whenever you like: the same command goes on where it stopped, and with more --chips adds them.

    Example: aimc-robust evaluate rwp.safetensors --model net:build --data npz:images.npz --device rram-milo2021
    --device sonos-agrawal2022 --times 0,1h,1d,5d --chips 25 --out results/rwp
    """
    from aimc_robust.cli.inputs import load_models, metrics_from
    from aimc_robust.cli.views.evaluate import progress_display, show
    from aimc_robust.data.evaluation_set import load_images
    from aimc_robust.experiments.evaluate.run import RunOptions, evaluate_models
    from aimc_robust.experiments.spec.evaluation import EvaluationSpec, describe_images
    from aimc_robust.io.toml import parse
    from aimc_robust.models.spec import ModelSpec
    from aimc_robust.parallel.cores import available_cpus
    from aimc_robust.report.write import write_report
    from aimc_robust.targets.command_line import options_from, target_tables, times_from

    targets = target_tables(device, times_from(times), options_from(set_ or []))
    metrics = metrics_from(metric or [])
    shown = load_images(
        data,
        normalise=normalise,
        size=size,
        resize=resize,
        images=images,
        classes=classes,
        root=data_root,
        seed=seed,
        batch_size=batch_size,
    )
    spec = ModelSpec(name=model, options=options_from(option or []))
    named, models, notes = load_models(weights, spec, shown)
    asked = {"chips": chips, "precision": precision, "threshold": above, "chip_seed": seed, "metrics": list(metrics)}
    asked |= {"models": named, "model": spec, "images": describe_images(shown), "targets": targets}
    question = parse(asked, EvaluationSpec, source="evaluate")
    request = RunOptions(
        jobs=jobs or len(available_cpus()),
        metrics=metrics,
        attribution_chips=explain_chips if attribute else None,
        prediction_chips=explain_chips if predict else None,
    )
    with progress_display() as progress:
        results = evaluate_models(question, models, shown, out, request=request, progress=progress, notes=notes)
    show(results)
    typer.echo(f"report: {write_report(out)}")
