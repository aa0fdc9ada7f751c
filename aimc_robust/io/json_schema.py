"""JSON schemas of TOML files, for editors that complete and check them."""

from __future__ import annotations

import re
from typing import Any

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def any_of(node: Any) -> Any:
    """Return a schema without `discriminator`, and with anyOf for oneOf: members of a union may overlap."""
    if isinstance(node, list):
        return [any_of(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {"anyOf" if key == "oneOf" else key: any_of(item) for key, item in node.items() if key != "discriminator"}


def describe_keys(definition: Schema) -> None:
    """Move what the docstring of a table says of its keys, under `Attributes:`, to these keys."""
    text, _, attributes = definition.get("description", "").partition("\n\nAttributes:\n")
    definition["description"] = text
    for entry in re.split(r"\n {4}(?=\w+: )", f"\n{attributes}")[1:]:
        key, _, meaning = entry.partition(": ")
        if key in definition["properties"]:
            definition["properties"][key].setdefault("description", " ".join(meaning.split()))
