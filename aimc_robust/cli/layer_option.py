"""The option of commands that evaluate devices: which layers are elsewhere."""

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
