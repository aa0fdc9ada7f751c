"""The JSON schema of spec files, for editors: what `ComparisonSpec` accepts, and what a file may say beyond it.

A file may leave keys to the spec that it `extends` or that extends it, so no key of a table is required; entries of
lists are whole.
"""

from __future__ import annotations

from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.task import TABLES as TASK_TABLES
from aimc_robust.io.json_schema import DIALECT, Schema, any_of
from aimc_robust.training.methods.registry import METHODS

MERGED = ("DataSpec", "ModelSpec", "TrainingTable", "EarlyStopping")  # tables that files merge key by key
SWEEP = {
    "type": "object",
    "description": "One method per combination of values; keys may be dotted, and the label contains {key}.",
    "additionalProperties": {"type": "array", "minItems": 1},
}


def spec_schema() -> Schema:
    """Return the JSON schema (draft 2020-12) of the spec of a comparison."""
    schema: Schema = ComparisonSpec.model_json_schema()
    definitions: dict[str, Schema] = schema.pop("$defs")
    keys: dict[str, Schema] = schema["properties"]
    for key in ComparisonSpec.stored_keys:
        keys[key]["description"] = "Written by aimc-robust into the spec of a results folder."
    for name in definitions.keys() & {*MERGED, *METHODS, *(table.__name__ for table in TASK_TABLES.values())}:
        definitions[name].pop("required", None)
    for kind in METHODS:
        definitions[kind]["properties"]["sweep"] = SWEEP
    keys["methods"] = _methods()
    remove = {"type": "array", "items": {"type": "string"}, "description": "Dotted keys of the spec that are left out."}
    before = {"type": "string", "description": "Name of the scale that is applied before this one."}
    scale_keys = {key: value for key, value in keys.items() if key not in ("scale", *ComparisonSpec.stored_keys)}
    scale_keys = {"extends": before} | {"remove": remove} | scale_keys
    definitions["Scale"] = {"type": "object", "properties": scale_keys, "additionalProperties": False}
    extends = {"type": "string", "description": "Path of another spec, whose keys this file overrides."}
    scales = {"type": "object", "additionalProperties": {"$ref": "#/$defs/Scale"}}
    keys = {"extends": extends} | keys | {"scale": {"anyOf": [scales, {"type": "string"}]}}
    return any_of(
        {
            "$schema": DIALECT,
            "title": "Spec of a comparison by aimc-robust",
            "type": "object",
            "properties": keys,
            "additionalProperties": False,
            "$defs": definitions,
        }
    )


def _methods() -> Schema:
    """Return the schema of the methods: a table without `kind` is of the kind that its label names."""
    any_kind = {"anyOf": [{"$ref": f"#/$defs/{kind}"} for kind in METHODS]}
    of_label = {kind: {"anyOf": [{"$ref": f"#/$defs/{kind}"}, any_kind | {"required": ["kind"]}]} for kind in METHODS}
    return {"type": "object", "properties": of_label, "additionalProperties": any_kind}
