"""Options of the commands that read files of weights: which of their weights are meant."""

from typing import Annotated

import typer

Key = Annotated[
    str | None,
    typer.Option(help="Dotted path of the weights in a training checkpoint, such as state_dict_ema."),
]
Prefix = Annotated[str, typer.Option(help="Keep only weights whose name has this prefix, such as net., and remove it.")]
Ignore = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Drop weights of these names in the file, such as 'loss.*'. Repeatable."),
]
