"""TOML files read into pydantic models, with mistakes reported in the reader's words: file, key, what is allowed."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import pydantic  # schema and types of cards and specs: its checks are wider and better tested than our own

from aimc_robust.errors import InputError, unknown_name


class StrictModel(pydantic.BaseModel):
    """Frozen and strict: no number from text, no NaN; an unknown key is refused with the nearest known one."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        if isinstance(values, dict):
            names = {field.alias or name for name, field in cls.model_fields.items()}
            for key in values:
                if key not in names:
                    raise ValueError(str(unknown_name("key", key, names)))
        return values


Model = TypeVar("Model", bound=StrictModel)


def read_toml(path: Path, model: type[Model], *, what: str) -> Model:
    """The file `path` as a `model`. Raises InputError that names the file, each key at fault and the remedy."""
    return parse(read_values(path, what=what), model, source=str(path))


def read_values(path: Path, *, what: str) -> dict[str, Any]:
    """The tables and keys of a TOML file. Raises InputError when it is missing or not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"there is no {what} at {path}; give the path of an existing TOML file.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} cannot be read as a {what} in TOML: {error}.") from None


def parse(values: dict[str, Any], model: type[Model], *, source: str) -> Model:
    """`values` as a `model`; `source` names their origin in the error."""
    try:
        return model.model_validate(values)
    except pydantic.ValidationError as error:
        faults = [_fault(detail) for detail in error.errors()]
        raise InputError(f"{source}: " + "; ".join(faults)) from None


def _fault(detail: Any) -> str:
    """One fault in one clause: where, what was expected, what came."""
    where = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ").rstrip(".")
    if detail["type"] == "value_error":
        return f"{where}: {message}" if where else message
    if detail["type"] == "missing":
        return f"{where}: this key is required and missing"
    return f"{where}: {message[:1].lower()}{message[1:]}, got {detail['input']!r}"


def to_toml(values: dict[str, Any]) -> str:
    """`values` as TOML text: a section for each table and for each table of tables, inline tables below that.

    Raises InputError for a value that TOML has no form for, such as None.
    """
    lines = [f"{toml_key(key)} = {toml_value(value)}" for key, value in values.items() if not isinstance(value, dict)]
    for key, table in values.items():
        if not isinstance(table, dict):
            continue
        nested = bool(table) and all(isinstance(value, dict) for value in table.values())
        for name, section in (
            {f"{toml_key(key)}.{toml_key(k)}": v for k, v in table.items()} if nested else {toml_key(key): table}
        ).items():
            lines += ["", f"[{name}]", *(f"{toml_key(k)} = {toml_value(v)}" for k, v in section.items())]
    return "\n".join(lines) + "\n"


def toml_key(key: str) -> str:
    """A key as TOML takes it: bare where that is allowed."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _quoted(key)


def toml_value(value: Any) -> str:
    """A value on one line. Raises InputError for one that TOML has no form for."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml_key(key)} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, int | float):
        return repr(float(value) if isinstance(value, float) else int(value))  # plain, also of numpy's numbers
    raise InputError(f"TOML has no form for {value!r}; expected a text, a number, true, false, a list or a table.")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
