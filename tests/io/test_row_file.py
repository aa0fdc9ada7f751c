"""Rows are parsed once, however often they are read, and always as `read_rows` reads the file."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aimc_robust.errors import ResultsError
from aimc_robust.io import atomic
from aimc_robust.io.atomic import RowFile, append_rows, read_rows

VALUES = st.lists(st.integers(0, 10**6), max_size=5)


@pytest.fixture
def parsed_bytes(monkeypatch):
    """Sizes of what was parsed."""
    sizes = []
    parse = atomic.parse_rows
    monkeypatch.setattr(
        atomic, "parse_rows", lambda path, data, *a, **o: sizes.append(len(data)) or parse(path, data, *a, **o)
    )
    return sizes


def test_only_what_was_appended_is_parsed_again(tmp_path, parsed_bytes):
    path = tmp_path / "rows.jsonl"
    file, total = RowFile(path), 0
    assert file.read() == []
    for number in range(5):
        append_rows(path, [{"n": number}])
        for _ in range(3):
            assert file.read() == [{"n": earlier} for earlier in range(number + 1)]
        total = path.stat().st_size
    assert sum(parsed_bytes) == total


def test_a_caller_that_changes_its_list_changes_no_other(tmp_path):
    append_rows(tmp_path / "rows.jsonl", [{"n": 1}])
    file = RowFile(tmp_path / "rows.jsonl")
    file.read().clear()
    assert file.read() == [{"n": 1}]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES, st.lists(st.tuples(st.sampled_from(["append", "replace", "delete", "half"]), VALUES), max_size=6))
@pytest.mark.filterwarnings("ignore:.*half-written")
def test_whatever_happens_to_the_file_the_rows_are_those_of_read_rows(tmp_path, first, steps):
    path = tmp_path / "rows.jsonl"
    path.unlink(missing_ok=True)
    file = RowFile(path)
    append_rows(path, [{"n": value} for value in first])
    assert file.read() == read_rows(path)
    for kind, values in steps:
        lines = "".join(json.dumps({"n": value}) + "\n" for value in values)
        if kind == "append":
            append_rows(path, [{"n": value} for value in values])
        elif kind == "replace":
            path.write_text(lines)
        elif kind == "delete":
            path.unlink(missing_ok=True)
        else:
            path.write_text(lines + '{"n": 1')
        assert file.read() == read_rows(path)


def test_a_file_replaced_by_one_of_equal_size_and_time_is_read_anew(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"n": 1}\n')
    os.utime(path, ns=(0, 0))
    file = RowFile(path)
    assert file.read() == [{"n": 1}]
    (tmp_path / "new").write_text('{"n": 2}\n')
    os.utime(tmp_path / "new", ns=(0, 0))
    (tmp_path / "new").rename(path)
    assert file.read() == [{"n": 2}]


def test_a_damaged_row_is_named_by_its_number(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_rows(path, [{"n": 1}, {"n": 2}])
    file = RowFile(path)
    file.read()
    with path.open("a") as handle:
        handle.write("{broken}\n")
    with pytest.raises(ResultsError, match="row 3"):
        file.read()
