"""The arguments and options of `evaluate`, with their help texts."""

from pathlib import Path
from typing import Annotated

import typer

WeightFiles = Annotated[
    list[str],
    typer.Argument(
        metavar="WEIGHTS...",
        help="Files of weights (.safetensors or a saved state_dict), each as FILE or LABEL=FILE. Files with the "
        "same label are models of one recipe with different seeds; intervals then cover new trainings.",
    ),
]
Network = Annotated[
    str, typer.Option(help="package.module:function, torchvision:NAME, timm:NAME, or a name such as resnet18.")
]
Data = Annotated[
    str, typer.Option(help="digits, npz:FILE, folder:FOLDER (one subfolder per class) or torchvision:NAME.")
]
Devices = Annotated[
    list[str],
    typer.Option(
        help="A card of the library, the path of your own card, a cell model package.module:name, a noise such as "
        'gaussian-0.05, or a table such as {name = "small", device = "sonos-agrawal2022", adc = {bits = 8}}. '
        "Repeatable."
    ),
]
Out = Annotated[Path, typer.Option(help="Folder for results and report.")]
Times = Annotated[str, typer.Option(help="Times since programming, such as 0,1h,1d,5d.")]
ChipCount = Annotated[int, typer.Option(min=1, help="Chips per model and device; with --precision, the maximum.")]
Precision = Annotated[
    float | None,
    typer.Option(help="Stop when the half-width of the 95 % interval over chips reaches this many points."),
]
YieldThreshold = Annotated[
    float | None, typer.Option(help="Report the yield: the share of chips with at least this accuracy [%].")
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(help="Metric package.module:function, called with (outputs, labels). Repeatable."),
]
Attribute = Annotated[
    bool, typer.Option("--attribute", help="Attribute the accuracy loss to layers and error sources.")
]
Predict = Annotated[
    bool, typer.Option("--predict", help="Predict the loss without Monte Carlo, and compare with Monte Carlo.")
]
ExplainChips = Annotated[int, typer.Option(min=2, help="Chips for --attribute and --predict.")]
NetworkOptions = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Argument of the model's function. Repeatable."),
]
CrossbarSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Parameter of every crossbar, such as rows=256 or adc.bits=8. Repeatable.",
    ),
]
Normalize = Annotated[
    str | None,
    typer.Option(
        help="Image normalization: none, imagenet, MEAN/STD, or training (the default if the data have a training "
        "split)."
    ),
]
Size = Annotated[int | None, typer.Option(min=1, help="Resize and center-crop images to this size.")]
Resize = Annotated[int | None, typer.Option(min=1, help="Length of the shorter side before the crop, in pixels.")]
ImageCount = Annotated[int | None, typer.Option(min=1, help="Size of a random subset of the test images.")]
ClassCount = Annotated[
    int | None, typer.Option(min=2, help="Number of outputs of the model, if more than the data have classes.")
]
DataRoot = Annotated[Path, typer.Option(help="Folder of torchvision's data sets.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per batch; affects memory and speed, not the numbers.")]
DataSeed = Annotated[int, typer.Option(min=0, help="Root seed of a data split and of --images.")]
ChipSeed = Annotated[int, typer.Option(min=0, help="Root seed of the chips.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Number of processes.", show_default="number of cores")]
