"""All rows of a comparison in one compressed file, small enough to keep under version control."""

from __future__ import annotations

import io
import lzma
import shutil
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path

from aimc_robust.errors import ResultsError
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.io.atomic import atomic_write

ARCHIVE = "rows.tar.xz"
READABLE = ("spec.toml", "environment.json", "summary.csv", "report.md")  # kept beside the archive, for readers
NOTES = ("question.json", "coverage.json")
SUFFIXES = (".json", ".jsonl")  # of a run's rows and notes; checkpoints stay behind


def pack(folder: Path, out: Path) -> Path:
    """Write the packed form of a results folder: what a reader needs, and one archive of all rows.

    Trained weights are left out. `aimc-robust report OUT` makes tables, figures and pages again. Equal rows give
    equal bytes.

    Raises:
        ResultsError: if `folder` does not exist, has no report or no rows, or `out` is in it.
        InputError: if `folder` holds no comparison.
    """
    if not folder.is_dir():
        raise ResultsError(f"there is no folder {folder}; give one that `compare` wrote.")
    _ = ComparisonResults.open(folder).spec_text
    missing = [name for name in ("summary.csv", "report.md") if not (folder / name).is_file()]
    if missing:
        raise ResultsError(f"{folder} has no {', '.join(missing)}; run `aimc-robust report {folder}` first.")
    if out.resolve().is_relative_to(folder.resolve()):
        raise ResultsError(f"expected an output folder outside {folder}, got {out}; give another --out.")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for path in _members(folder):
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())  # no times, no owner: reproducible
            member.size = path.stat().st_size
            archive.addfile(member, io.BytesIO(path.read_bytes()))
    out.mkdir(parents=True, exist_ok=True)
    for name in filter(lambda name: (folder / name).is_file(), READABLE):
        shutil.copyfile(folder / name, out / name)
    atomic_write(out / ARCHIVE, lzma.compress(content.getvalue(), preset=9))
    return out / ARCHIVE


def check_not_packed(folder: Path, pending: Collection[object]) -> None:
    """Raise ResultsError if models would have to be trained again because a packed folder lacks their weights."""
    if pending and (folder / ARCHIVE).exists():
        raise ResultsError(
            f"{folder} is packed: it has rows but no weights, so that {len(pending)} models would be trained anew; "
            f"`aimc-robust report {folder}` shows its results, and --out another folder computes them again."
        )


def unpack(folder: Path) -> None:
    """Restore the rows of a packed results folder; without effect where they are in place."""
    source = folder / ARCHIVE
    if not source.is_file() or (folder / "question.json").exists():
        return
    try:
        with tarfile.open(source, mode="r:xz") as archive:
            members = archive.getmembers()
            # The question last: its presence says that all rows are in place.
            members.sort(key=lambda member: member.name == "question.json")
            archive.extractall(folder, members=members, filter="data")
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise ResultsError(f"{source} is damaged ({error}); get the file again.") from None


def _members(folder: Path) -> Iterator[Path]:
    yield from (folder / name for name in NOTES if (folder / name).is_file())
    for path in sorted((folder / "runs").glob("*/*")):
        if path.is_file() and path.suffix in SUFFIXES and not path.name.startswith("."):
            yield path
