"""Where a command has its results and models: a folder of this machine, or the URL of an object store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from aimc_robust.cli.error_handling import URL
from aimc_robust.errors import InputError
from aimc_robust.io.object_store import is_url

RESULTS = Path("results")  # default parent of results folders
MODEL_CACHE = RESULTS / "models"

Out = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|URL",
        help="Folder for results and report, or an object store such as s3://bucket/path.",
        show_default="results/<name of the spec>[-<scale>]",
    ),
]
Models = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|URL",
        help="Folder of trained models that several comparisons share, or an object store.",
        show_default="results/models; none if --out is given",
    ),
]


def result_folders(name: str, scale: str | None, out: str | None, models: str | None) -> tuple[Path, Path | None]:
    """Return the results folder, and the folder of shared trained models or None, for the options of these names."""
    cache = None if models is None else local_folder(models)
    if out is not None:
        return local_folder(out), cache
    return RESULTS / (name if scale is None else f"{name}-{scale}"), cache or MODEL_CACHE


def is_store(location: str) -> bool:
    """Return whether a location is a URL; raise InputError for one that has lost a slash."""
    if not is_url(location) and URL.match(location):
        raise InputError(f"expected a folder, or a URL such as s3://bucket/path with two slashes, got {location}.")
    return is_url(location)


def local_folder(location: str) -> Path:
    """Return the folder that a location names; for a URL, the one where this machine has its copy."""
    if not is_store(location):
        return Path(location)
    return RESULTS / "copies" / re.sub(r"[^A-Za-z0-9.]+", "-", location).strip("-.")


@contextmanager
def reading(location: str, **options: bool) -> Iterator[Path]:
    """Yield the results folder at a location; of a URL a temporary copy, with the options of `fetched`."""
    if not is_store(location):
        yield Path(location)
        return
    from aimc_robust.experiments.results.remote_folder import fetched

    with fetched(location, **options) as folder:
        yield folder


@contextmanager
def writing(location: str, *, may_be_empty: bool = False) -> Iterator[Path]:
    """Yield the results folder at a location; of a URL this machine's copy, whose changes are sent at the end.

    Args:
        location: The folder, or the URL.
        may_be_empty: Whether a URL without results is taken for a new one.

    Raises:
        InputError: if there are no results at a URL.
        ResultsError: see `RemoteFolder`.
    """
    if not is_store(location):
        yield Path(location)
        return
    from aimc_robust.experiments.results.remote_folder import RemoteFolder, require_results

    if not may_be_empty:
        require_results(location)
    with RemoteFolder(location, local_folder(location)) as remote:
        yield remote.folder
