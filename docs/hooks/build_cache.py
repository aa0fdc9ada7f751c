"""Folders of generated files under build/, made again only if what they come from has changed."""

import hashlib
import shutil
import tempfile
from functools import cache
from pathlib import Path

import aimc_robust
from aimc_robust.devices.library import cards_folder

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
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix="new-") as unfinished:
        made = Path(unfinished) / target.name
        made.mkdir()
        make(made)
        for older in place.glob("[0-9a-f]" * 16):
            shutil.rmtree(older, ignore_errors=True)
        made.rename(target)
    return target


def _digest(sources):
    paths = [path for source in sources for path in ([source] if source.is_file() else sorted(source.rglob("*")))]
    files = [path for path in paths if path.is_file() and path.suffix != ".pyc"]
    hashes = [f"{path.name} {_file_digest(path, path.stat().st_mtime_ns)}" for path in files]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:16]


@cache
def _file_digest(path, _changed):
    return hashlib.sha256(path.read_bytes()).hexdigest()
