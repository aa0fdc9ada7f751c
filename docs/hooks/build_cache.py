"""Folders of generated files under build/, made again only if what they come from has changed."""

import hashlib
import logging
import shutil
import tempfile
from functools import cache
from pathlib import Path

import aimc_robust
from aimc_robust.devices.library import cards_folder

LOG = logging.getLogger("mkdocs.hooks")
ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build/site-cache"
CODE = [Path(aimc_robust.__file__).parent, cards_folder(), ROOT / "benchmarks/published"]


def cached_folder(name, sources, make):
    """Return a folder that `make(folder)` fills.

    Args:
        name: Name of the folder under build/site-cache.
        sources: Files and folders that the content comes from, beside the package and its cards.
        make: Function of an empty folder.
    """
    place = CACHE / name
    target = place / _digest([*CODE, *sources])
    if target.is_dir():
        return target
    LOG.info("Computing %s; build/site-cache keeps it until the code changes", name)
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix="new-") as unfinished:
        made = Path(unfinished) / target.name
        made.mkdir()
        make(made)
        if not target.is_dir():  # another build may have been faster
            made.rename(target)
    for other in place.iterdir():
        if other != target and not other.name.startswith("new-"):
            shutil.rmtree(other, ignore_errors=True)
    return target


def _digest(sources):
    hashes = [
        f"{path.name} {_file_digest(path, path.stat().st_mtime_ns)}" for source in sources for path in _files(source)
    ]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:16]


def _files(source):
    """Return the files of a folder, in the same order for an installed package, which has the cards in it."""
    names = sorted(path.relative_to(source) for path in source.rglob("*")) if source.is_dir() else [Path()]
    paths = [source / name for name in names if name.suffix != ".pyc" and "device_models" not in name.parts]
    return [path for path in paths if path.is_file()]


@cache
def _file_digest(path, _changed):
    return hashlib.sha256(path.read_bytes()).hexdigest()
