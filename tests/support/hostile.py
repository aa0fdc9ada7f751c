"""Input that nobody should write: hostile values, and valid tables with one of them somewhere."""

import copy
import datetime

from hypothesis import strategies as st

NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**63 - 1, 2**64, -(2**63), 10**18, 10**400]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 5e-324, 1e-300, 1e38, 1e300, 1.7976931348623157e308, 0.5, 1.0000000001]),
)
WORDS = ["digital", "ideal", "gaussian-0.1", "laplace-0.0", "os:system", "a.b:c", "../x.toml", "nan", "1e400", "rwp"]
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "\x00", "a" * 5000, "gaussian-" + "9" * 400, "$(id)", "=1+1", *WORDS]),
)
DATES = st.sampled_from([datetime.date(2000, 1, 1), datetime.time(1, 2), datetime.datetime(2000, 1, 1)])


def as_text(value: object) -> str:
    """A value as somebody might write it into a file."""
    return "9" * 5000 if value == 10**400 else str(value)


def nested(levels: int) -> object:
    """A list of lists, `levels` deep."""
    value: object = []
    for _ in range(levels):
        value = [value]
    return value


LEAVES = st.one_of(NUMBERS, TEXTS, st.booleans(), DATES, st.sampled_from([3, 100, 900]).map(nested))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _paths(value: object, path: tuple = ()) -> list[tuple]:
    """Every place in nested tables and lists."""
    places = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    deeper = places if len(path) < 12 else ()
    return [path, *(place for key, item in deeper for place in _paths(item, (*path, key)))]


@st.composite
def disturbed(draw: st.DrawFn, tables: list[dict]) -> dict:
    """One of `tables` with one to three places replaced, removed, renamed or moved."""
    table = copy.deepcopy(draw(st.sampled_from(tables)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(_paths(table)[1:] or [()]))
        if not path:
            break
        *parents, last = path
        parent = table
        for key in parents:
            parent = parent[key]
        match draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "move"])):
            case "replace":
                parent[last] = draw(VALUES)
            case "remove":
                del parent[last]
            case "add" if isinstance(parent, dict):
                parent[draw(TEXTS)] = draw(VALUES)
            case "move" if isinstance(parent, dict):
                parent[draw(st.sampled_from(["sigma", "rho", "kind", "name", "noise", "device"]))] = parent.pop(last)
    return table
