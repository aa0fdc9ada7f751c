"""Options of the commands that take devices: crossbar parameters, and which layers are elsewhere."""

from typing import Annotated

import typer

Layer = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN=PLACE",
        help="Layers that are not on the device: a pattern over names, such as conv1 or '*.attention.*', and digital "
        "or a device as for --device. The first pattern that matches decides. Repeatable.",
    ),
]

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Parameter of every crossbar, such as rows=256, adc.bits=8 or compensation=drift (global drift "
        "compensation; or batchnorm, or ['drift', 'batchnorm']); of the task, such as task.metric=mae; "
        "of a table or function of data, such as data.labels=['y']. Repeatable.",
    ),
]
