"""Whether the report of a comparison is up to date with its results, and with the code that makes reports."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import aimc_robust
from aimc_robust.errors import InputError
from aimc_robust.experiments.results import files as names
from aimc_robust.experiments.results.files import QUESTION, read_file
from aimc_robust.io.atomic import atomic_write
from aimc_robust.io.user_code import source_digest

MANIFEST = ".report.json"
FOLDER_INPUTS = (QUESTION, names.SPEC, names.ENVIRONMENT, names.COVERAGE)
RUN_INPUTS = (names.EVALUATIONS, names.HISTORY, names.FAILURE, names.RANGES, names.LANDSCAPE, names.ANALYSIS)


def write_manifest(folder: Path, inputs: str, written: Iterable[Path]) -> None:
    """Write the manifest of a report; `inputs` is the folder's `inputs_digest` from before the report was made."""
    files = {path.relative_to(folder).as_posix(): _digest(folder, [path]) for path in sorted(written)}
    atomic_write(folder / MANIFEST, json.dumps({"inputs": inputs, "files": files}, indent=1))


def report_is_current(folder: Path) -> bool:
    """Return whether `write_report` would write exactly the files that the folder of a comparison holds.

    Compares contents, not modification times: inputs, version and code of the reports, and the written files. False
    also for a folder without a report, with a damaged manifest, or of an evaluation.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["inputs"] != inputs_digest(folder):
            return False
        return all(_digest(folder, [folder / name]) == digest for name, digest in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no manifest, or a damaged one
        return False


def inputs_digest(folder: Path) -> str:
    """Return a digest of everything that determines a report: spec, rows, notes, package version and report code."""
    runs = sorted(path for path in (folder / "runs").glob("*") if path.is_dir())
    inputs = [folder / name for name in FOLDER_INPUTS] + [run / name for run in runs for name in RUN_INPUTS]
    package = Path(__file__).parent
    code = sorted(path for path in package.rglob("*") if path.suffix in (".py", ".html", ".css", ".js"))
    own = [_section_digest(folder, name) for name in (read_file(folder / QUESTION) or {}).get("report_sections", [])]
    parts = aimc_robust.__version__, _digest(folder, inputs), _digest(package, code), str(own)
    return hashlib.blake2b(" ".join(parts).encode(), digest_size=16).hexdigest()


def _section_digest(folder: Path, reference: str) -> str | None:
    try:
        return source_digest(reference, near=[folder])
    except InputError:  # code of users is refused, and the report says so in the section's place
        return None


def _digest(base: Path, paths: Iterable[Path]) -> str:
    """Digest of the existing files' contents and paths; relative to `base`, so that a folder may be moved."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        if path.is_file():
            content = path.read_bytes()
            digest.update(f"{path.relative_to(base).as_posix()} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()
