"""A packed results folder holds all rows, and gives the same report again."""

import io
import tarfile

import pytest

from aimc_robust.errors import InputError, ResultsError
from aimc_robust.experiments.results.archive import ARCHIVE, READABLE, pack, unpack
from aimc_robust.report.write import write_report


def contents(folder):
    """Name -> bytes of every file of a report, and of the rows."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".safetensors", ".lock", ".xz") and not path.name.startswith(".")
    }


@pytest.mark.drawn_figures
def test_a_packed_folder_gives_the_same_rows_and_report_again(finished_comparison, tmp_path):
    archive = pack(finished_comparison, tmp_path / "packed")
    assert {path.name for path in archive.parent.iterdir()} == {ARCHIVE, *READABLE}
    write_report(archive.parent)
    expected = contents(finished_comparison)
    assert {name: content for name, content in contents(archive.parent).items() if name in expected} == expected


def test_packing_twice_gives_the_same_bytes(finished_comparison, tmp_path):
    first, second = (pack(finished_comparison, tmp_path / name).read_bytes() for name in "ab")
    assert first == second


def test_unpacking_leaves_rows_that_are_in_place(finished_comparison, tmp_path):
    archive = pack(finished_comparison, tmp_path / "packed")
    unpack(archive.parent)
    rows = next(archive.parent.glob("runs/*/evaluations.jsonl"))
    rows.write_text("changed")
    unpack(archive.parent)
    assert rows.read_text() == "changed"


def test_a_damaged_archive_is_an_error_that_names_it(finished_comparison, tmp_path):
    archive = pack(finished_comparison, tmp_path / "packed")
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(ResultsError, match=ARCHIVE):
        unpack(archive.parent)
    assert not (archive.parent / "question.json").exists()


def test_only_a_folder_with_a_report_is_packed(finished_comparison, tmp_path):
    with pytest.raises(InputError, match=r"holds no comparison"):
        pack(tmp_path, tmp_path / "packed")
    with pytest.raises(ResultsError, match="--out"):
        pack(finished_comparison, finished_comparison)


def test_what_is_missing_is_told_with_the_command_that_writes_it(comparison_copy, run, write_spec, tmp_path):
    (comparison_copy / "environment.json").unlink()  # which nothing writes again
    pack(comparison_copy, tmp_path / "packed")
    (comparison_copy / "report.md").unlink()
    with pytest.raises(ResultsError, match=r"report\.md; run `aimc-robust report"):
        pack(comparison_copy, tmp_path / "packed")
    (comparison_copy / "spec.toml").unlink()
    for use in (write_report, lambda folder: pack(folder, tmp_path / "packed")):
        with pytest.raises(ResultsError, match=r"no spec\.toml; run `compare`"):
            use(comparison_copy)
    run(write_spec())
    write_report(comparison_copy)
    pack(comparison_copy, tmp_path / "packed")


def test_an_evaluation_is_not_packed(finished_evaluation, tmp_path):
    with pytest.raises(ResultsError, match=r"\(evaluation\), not of `compare`"):
        pack(finished_evaluation.results.folder, tmp_path / "packed")


def test_a_path_outside_the_folder_is_not_written(tmp_path):
    folder = tmp_path / "hostile"
    folder.mkdir()
    with tarfile.open(folder / ARCHIVE, "w:xz") as archive:
        member = tarfile.TarInfo("../outside.txt")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(ResultsError, match=ARCHIVE):
        unpack(folder)
    assert not (tmp_path / "outside.txt").exists()
