"""Files that a kill cannot leave half written."""

import json
import os

import pytest
from support.for_each import for_each

from aimc_robust.io.atomic import append_rows, atomic_write, read_rows

ROWS = [{"chip": 0, "accuracy": 91.25}, {"chip": 1, "name": 'µS, "quoted"\nand a line'}, {"chip": 2, "loss": None}]
MORE = [{"chip": 3}, {"chip": 4, "list": [1, 2.5]}]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_rows_come_back_as_they_were_appended(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_rows(path, ROWS)
    append_rows(path, MORE)
    assert read_rows(path) == ROWS + MORE
    assert path.read_bytes() == lines(ROWS + MORE)


def test_a_missing_file_has_no_rows_and_stays_missing(tmp_path):
    assert read_rows(tmp_path / "rows.jsonl") == []
    assert not (tmp_path / "rows.jsonl").exists()


def test_floats_come_back_bit_for_bit(tmp_path):
    values = [0.1, 1 / 3, 1e-308, 2.0**-1074, 123456789.123456789, -0.0]
    append_rows(tmp_path / "rows.jsonl", [{"value": value} for value in values])
    assert [row["value"].hex() for row in read_rows(tmp_path / "rows.jsonl")] == [value.hex() for value in values]


@for_each("cut", range(len(lines(ROWS)) + 1))
def test_a_file_cut_anywhere_loses_its_last_incomplete_row_alone(cut, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(ROWS)[:cut])
    whole = [row for n, row in enumerate(ROWS) if len(lines(ROWS[: n + 1])) <= cut]
    assert read_rows(path) == whole
    assert path.read_bytes() == lines(ROWS)[:cut]  # reading does not mend the file
    append_rows(path, MORE)
    assert path.read_bytes() == lines(whole + MORE)


def test_appending_no_rows_still_cuts_an_incomplete_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(ROWS) + b'{"chip')
    append_rows(path, [])
    assert path.read_bytes() == lines(ROWS)


def test_other_bytes_of_the_file_stay_as_they_are(tmp_path):
    path = tmp_path / "rows.jsonl"
    written_by_another = b'{"chip":  7 , "spaces":true}\r\n{}\n'
    path.write_bytes(written_by_another)
    append_rows(path, MORE)
    assert path.read_bytes() == written_by_another + lines(MORE)
    assert read_rows(path) == [{"chip": 7, "spaces": True}, {}, *MORE]


def test_a_row_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_rows(path, ROWS)
    with pytest.raises(TypeError):
        append_rows(path, [{"chip": 3}, {"chip": object()}])
    assert path.read_bytes() == lines(ROWS)


@pytest.mark.parametrize("content", ["text with µ\n", b"\x00\xff bytes", ""])
def test_a_file_is_replaced_whole_and_nothing_else_is_left(content, tmp_path):
    path = tmp_path / "file"
    for _ in range(2):
        atomic_write(path, content)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
        assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stands_until_the_new_one_is_on_disk(tmp_path, monkeypatch):
    path = tmp_path / "file"
    atomic_write(path, "old")

    def disk_full(descriptor):
        assert path.read_text() == "old"
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="no space left"):
        atomic_write(path, "new")
    assert path.read_text() == "old"


def test_what_a_kill_left_of_an_earlier_write_is_overwritten(tmp_path):
    path = tmp_path / "file"
    (tmp_path / ".file.part").write_bytes(b"much longer than the new content")
    atomic_write(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
