"""TOML as it is written is read back as the same values."""

import datetime
import math
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimc_robust.errors import InputError
from aimc_robust.experiments.spec.loading import load_spec, spec_from_dict
from aimc_robust.io.toml import to_toml, toml_key, toml_value

# TOML's text is Unicode without surrogates; what else it forbids in a file must be escaped.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), TEXT
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
TABLES = st.dictionaries(TEXT, VALUES, max_size=6)


@given(TABLES)
def test_any_table_is_read_back_as_it_was(values):
    assert tomllib.loads(to_toml(values)) == values


@given(st.dictionaries(TEXT, st.dictionaries(TEXT, TABLES, max_size=2), max_size=2))
def test_tables_of_tables_of_tables_are_read_back_as_they_were(values):
    assert tomllib.loads(to_toml(values)) == values


@given(TEXT)
def test_any_text_is_a_key(key):
    assert tomllib.loads(f"{toml_key(key)} = 1") == {key: 1}


def test_a_number_keeps_its_type():
    read = tomllib.loads(to_toml({"a": 1, "b": 1.0, "c": 1e22, "d": -0.0, "e": True}))
    assert [type(value) for value in read.values()] == [int, float, float, float, bool]
    assert math.copysign(1.0, read["d"]) == -1.0


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinity_is_toml_too(value):
    assert tomllib.loads(f"a = {toml_value(value)}")["a"] == value


@pytest.mark.parametrize("value", [None, {"a": None}, [None], object(), {1, 2}, b"x", datetime.timedelta(1)])
def test_what_toml_does_not_know_is_refused_not_written_wrong(value):
    with pytest.raises(InputError, match="TOML"):
        to_toml({"key": value})


def test_sections_are_laid_out_as_a_person_would(tmp_path):
    methods = {"sgd": {}, "m-rwp": {"b": 2.5}}
    text = to_toml({"name": "x", "seeds": [0, 1], "model": {"name": "cnn"}, "methods": methods})
    assert text == (
        'name = "x"\nseeds = [0, 1]\n\n[model]\nname = "cnn"\n\n[methods.sgd]\n\n[methods.m-rwp]\nb = 2.5\n'
    )


def test_a_spec_with_its_cards_is_read_back_as_the_same_question(write_spec, tmp_path):
    spec = load_spec(write_spec())
    path = tmp_path / "again.toml"
    path.write_text(to_toml(spec.model_dump(mode="json", exclude_none=True)))
    assert load_spec(path) == spec
    assert spec_from_dict(tomllib.loads(path.read_text())) == spec
