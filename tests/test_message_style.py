"""Errors and warnings say which value is wrong, what is allowed and what to do, in one or two plain sentences.

The checks read the messages in the source: formatted parts stand as `{}`.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import aimc_robust
from aimc_robust import errors

PACKAGE = Path(aimc_robust.__file__).parent
OWN = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
LONGEST = 300  # characters, without the values
NAMES = r"[A-Z]\w*[A-Z_\d]|[A-Z]\w*\.\w|[A-Z]\w*\("
"""What may begin a sentence with a capital letter: DDP, CrossSim, Fabric.launch, Ramp(...)."""
CONCRETE = r"\{\}|`|'|\"|--\w|\w ?=|\w+_\w+|\w\(|\.\w|[a-z][A-Z]|\b[A-Z]{2,}|\bgot\b|;"
"""A value, a key, an option, a name of the API, or advice."""
IDIOMS = [
    r"\btells?\b",
    r"\btold\b",
    r"\bwant of\b",
    r"\bthat cannot be\b",
    r"\bcannot be[.;,]",
    r"\bmend(ed|s)?\b",
    r"\bdearest\b",
    r"\bforeseen\b",
    r"\bwhat there is\b",
    r"\bof (its|one's|your|their) own\b",
    r"\bstands? for\b",
    r"\bon the way\b",
    r"\bso far as\b",
    r"\bthe rest\b",
    r"\bblame\b",
    r"\bgo(es)? on\b",
    r"\bgone on\b",
    r"\bbegun\b",
    r"\ball the same\b",
    r"\bas it were\b",
    r"\bin vain\b",
    r"\btoo few of\b",
    r"\bto be had\b",
]


class Message(NamedTuple):
    """A message in the source; kind: the exception's name, or "warning"."""

    where: str
    kind: str
    text: str


def text_of(node: ast.expr, assigned: dict[str, ast.expr]) -> str | None:
    """The text of a string expression, with `{}` for what is formatted; None if it is no literal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [text_of(side, assigned) for side in (node.left, node.right)]
        return None if parts == [None, None] else "".join(part or "{}" for part in parts)
    if isinstance(node, ast.Name) and node.id in assigned:
        return text_of(assigned[node.id], {})
    return None


def messages(source: str, path: str) -> Iterator[Message]:
    """Messages of raised exceptions and of warnings."""
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        nodes = list(ast.walk(function))
        assigned = {
            n.targets[0].id: n.value for n in nodes if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)
        }
        for node in nodes:
            if isinstance(node, ast.Call) and node.args:
                kind = ast.unparse(node.func).rpartition(".")[2]
                text = text_of(node.args[0], assigned)
                if text and (kind in OWN or kind in ("ValueError", "TypeError", "RuntimeError", "warn")):
                    yield Message(f"{path}:{node.lineno}", "warning" if kind == "warn" else kind, text)


def faults(message: Message) -> list[str]:
    """What is wrong with the style of a message."""
    text, found = message.text, []
    part = message.kind == "ValueError"  # becomes a part of another message, such as pydantic's
    if re.match(r"[A-Z]", text) and not re.match(NAMES, text):
        found.append("begins with a capital letter that is no name's")
    if part and text.endswith("."):
        found.append("ends with a period, but is a part of a message")
    if not part and not re.search(r"(\.|: \{\}|\{\}|: pip install .*)$", text):
        found.append("does not end with a period")
    if len(text) > LONGEST:
        found.append(f"is longer than {LONGEST} characters")
    if len(re.findall(r"[.?!] +[A-Z{]", text)) > 1:
        found.append("has more than two sentences")
    if not re.search(CONCRETE, text):
        found.append("names no value and no key, and gives no advice")
    found += [f"has the idiom {match[0]!r}" for idiom in IDIOMS if (match := re.search(idiom, text, re.IGNORECASE))]
    return [f"{message.where}: {text!r} {fault}" for fault in found]


@pytest.fixture(scope="module")
def package_messages() -> list[Message]:
    return sorted(
        {
            message
            for path in PACKAGE.rglob("*.py")
            for message in messages(path.read_text(encoding="utf-8"), str(path.relative_to(PACKAGE)))
        }
    )


def test_every_message_has_the_style(package_messages):
    assert [fault for message in package_messages for fault in faults(message)] == []


def test_the_messages_of_the_package_have_been_seen(package_messages):
    assert len(package_messages) > 300
    assert {message.kind for message in package_messages} >= {
        "InputError",
        "DataError",
        "ResultsError",
        "warning",
        "ValueError",
    }


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("raise InputError(f'Rows must be whole, got {rows}.')", "capital"),
        ("raise InputError(f'rows must be whole, got {rows!r}')", ""),  # ends with the value
        ("raise InputError(f'rows is {rows}, expected a number')", "period"),
        ("raise ValueError(f'rows is {rows}, expected a number.')", "part of a message"),
        ("raise InputError('this is wrong.')", "names no value"),
        ("raise InputError(f'{rows} are rows that cannot be.')", "that cannot be"),
        ("warnings.warn(f'rows are {rows}. ' + 'This was not foreseen.')", "foreseen"),
        ("text = f'{rows} want mending'\n    raise InputError(text)", "period"),
        ("raise InputError(f'{rows}: ' + 'x' * 3)", ""),
        ("raise InputError(f'{rows} " + 300 * "x" + ".')", "longer than"),
        ("raise InputError(f'a is {rows}. It is bad. Go away.')", "two sentences"),
        ("raise InputError(f'rows must be at least 1, got {rows}.')", ""),
        ("raise InputError('DDP needs `rows`.')", ""),
    ],
)
def test_the_checker_finds_each_fault(statement, fault):
    (message,) = messages(f"def f(rows):\n    {statement}\n", "a.py")
    found = faults(message)
    assert [text for text in found if fault in text] == found
    assert bool(found) == bool(fault)
