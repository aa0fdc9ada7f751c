"""What a report was made from: whether it would be the same if it were made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import aimc_robust
from aimc_robust.experiments.results.filenames import (
    COVERAGE,
    ENVIRONMENT,
    EVALUATIONS,
    FAILURE,
    HISTORY,
    QUESTION,
    RANGES,
    SPEC,
)
from aimc_robust.io.atomic import atomic_write

MANIFEST = ".report.json"
OF_COMPARISON, OF_RUN = (QUESTION, SPEC, ENVIRONMENT, COVERAGE), (EVALUATIONS, HISTORY, FAILURE, RANGES)


def write_manifest(folder: Path, made_from: str, written: Iterable[Path]) -> None:
    """Note what the report's files were made from, and what they hold."""
    files = {path.relative_to(folder).as_posix(): _digest(folder, [path]) for path in sorted(written)}
    atomic_write(folder / MANIFEST, json.dumps({"made_from": made_from, "files": files}, indent=1))


def report_is_current(folder: Path) -> bool:
    """Whether `write_report` would write what the folder of a comparison already holds.

    It looks at contents, not at times: question, rows and notes, version and code of the report, and the files that
    were written. False for a folder without a report, a damaged note of what it was made from, or an evaluation's.
    """
    try:
        stamp = json.loads((folder / MANIFEST).read_bytes())
        if stamp["made_from"] != sources(folder):
            return False
        return all(_digest(folder, [folder / name]) == digest for name, digest in stamp["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no stamp, or a damaged one
        return False


def sources(folder: Path) -> str:
    """A digest of all that decides a report: question, rows, notes, the package's version and the report's own code."""
    runs = sorted(path for path in (folder / "runs").glob("*") if path.is_dir())
    rows = [folder / name for name in OF_COMPARISON] + [run / name for run in runs for name in OF_RUN]
    package = Path(__file__).parent
    code = sorted(path for path in package.rglob("*") if path.suffix in (".py", ".j2", ".css", ".js"))
    parts = aimc_robust.__version__, _digest(folder, rows), _digest(package, code)
    return hashlib.blake2b(" ".join(parts).encode(), digest_size=16).hexdigest()


def _digest(base: Path, paths: Iterable[Path]) -> str:
    """Of the contents of the files that exist, and their names from `base`: a folder may move."""
    found = hashlib.blake2b(digest_size=16)
    for path in paths:
        if path.is_file():
            content = path.read_bytes()
            found.update(f"{path.relative_to(base).as_posix()} {len(content)}\n".encode())
            found.update(content)
    return found.hexdigest()
