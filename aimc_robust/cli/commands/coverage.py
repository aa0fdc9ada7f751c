"""The command `coverage`: what of a network is on arrays, how many there are, and what they do for one input."""

from pathlib import Path
from typing import Annotated

import typer

from aimc_robust.cli.device_options import Layer, Settings


def coverage(
    model: Annotated[
        str, typer.Option(help="package.module:function, torchvision:NAME, timm:NAME, or a name such as resnet18.")
    ],
    device: Annotated[
        list[str],
        typer.Option(
            help="A card of the library, the path of your own card, a cell model package.module:name, or a table such "
            'as {name = "small", device = "sonos-agrawal2022", rows = 64}. Repeatable.'
        ),
    ],
    input_: Annotated[
        str | None,
        typer.Option("--input", metavar="SIZES", help="Shape of one input without the batch, such as 3,224,224."),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=1, help="Number of outputs of the network; with --data, those of the data.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Take the input from data instead of --input: names as for `evaluate`.")
    ] = None,
    task: Annotated[str, typer.Option(help="What --data are for, such as language-modelling.")] = "classification",
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Argument of the model's function. Repeatable.")
    ] = None,
    set_: Settings = None,
    layer: Layer = None,
    data_root: Annotated[Path, typer.Option(help="Folder of torchvision's data sets.")] = Path("data"),
    out: Annotated[
        Path | None, typer.Option(help="Write all numbers to this JSON file too, such as for an energy estimator.")
    ] = None,
) -> None:
    """Show which layers of a network are on arrays, how full these are, and the reads and conversions of one input.

    The network has random weights: only its shapes count.

    Example: aimc-robust coverage --model torchvision:resnet18 --input 3,224,224 --classes 1000
    --device sonos-agrawal2022 --set rows=256 --set columns=256 --set adc.bits=8 --out mapping.json
    """
    import json

    from aimc_robust.cli.inputs import random_network
    from aimc_robust.cli.views.coverage import show
    from aimc_robust.data.evaluation_images import load_evaluation_images
    from aimc_robust.errors import InputError, require_type
    from aimc_robust.experiments.execution.array_mappings import array_mappings
    from aimc_robust.experiments.execution.dry_run import describe_coverage
    from aimc_robust.experiments.spec.task import parse_task
    from aimc_robust.io.atomic import atomic_write
    from aimc_robust.io.toml import parse, parse_settings
    from aimc_robust.models.registry import ModelSpec
    from aimc_robust.targets.build import build_target
    from aimc_robust.targets.command_line import target_tables
    from aimc_robust.targets.target import CrossbarTarget

    settings = parse_settings(set_ or [])
    built_task, data_settings = parse_task(task, settings.pop("task", {})).build(), settings.pop("data", {})
    require_type("--set data", data_settings, dict, example="of the form data.KEY=VALUE")
    targets = [build_target(table) for table in target_tables(device, [0.0], settings, layer or ())]
    if others := [target.name for target in targets if not isinstance(target, CrossbarTarget)]:
        raise InputError(f"coverage needs devices with arrays, got --device {others[0]}.")
    if (input_ is None) == (data is None):
        raise InputError("give the shape of one input, as in --input 3,224,224, or --data, not both.")
    images = None
    if data is not None:
        images = load_evaluation_images(data, classes=classes, root=data_root, task=built_task, settings=data_settings)
    spec = parse({"name": model, "options": parse_settings(option or [])}, ModelSpec, source="--model")
    network, example = random_network(spec, images, input_, classes)
    mappings = array_mappings(model, network, example, targets)
    show(describe_coverage(network, example, targets), mappings)
    if out is not None:
        atomic_write(out, json.dumps(mappings, indent=1))
        typer.echo(f"numbers: {out}")
