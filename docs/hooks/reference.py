"""Reference pages generated from the package: every public name, the command line, the keys of specs."""

import json
import re
from pathlib import Path

import typer
from spec_keys import OVERRIDES, meanings, spec_models
from typer.main import get_command

import aimc_robust
from aimc_robust.cli.app import app
from aimc_robust.devices.schema import card_schema
from aimc_robust.experiments.spec.schema import spec_schema

API = {  # page: title, packages whose public names it has
    "evaluation": ("Evaluate: accuracy, attribution, prediction", ["evaluation"]),
    "training": ("Train: methods and the training loop", ["training"]),
    "hardware": ("Hardware: crossbars, converters, programmed models", ["hardware"]),
    "devices": ("Devices: cards, cell models, fits", ["devices", "fitting"]),
    "noise": ("Weight noise, seeds and errors", ["noise", "seeding", "errors"]),
    "tasks": ("Tasks, data and models", ["tasks", "data", "models"]),
    "analysis": ("Sharpness, curvature, bounds", ["analysis"]),
    "statistics": ("Statistics", ["statistics"]),
    "plots": ("Plots", ["plot"]),
    "experiments": ("Comparisons, and other frameworks", ["experiments", "integrations"]),
}
_NAMES = {  # the package of each public name
    **{name: module.split(".")[0] for module, names in aimc_robust._MODULES.items() for name in names},
    **{f"plot.{name}": "plot" for name in aimc_robust.plot.__all__},
}
API_PAGE_OF = {
    name: f"reference/api/{page}.md"
    for page, (_, packages) in API.items()
    for name in _NAMES
    if _NAMES[name] in packages
}


def reference_pages():
    """Return the text of each generated page of the reference, and the schemas of specs and cards as files."""
    schema = spec_schema()
    return _api_pages() | {
        "reference/command-line.md": command_line_page(),
        "reference/spec.md": spec_page(schema),
        "reference/spec.schema.json": json.dumps(schema, indent=1),
        "reference/card.schema.json": json.dumps(card_schema(), indent=1),
    }


def _api_pages():
    rows, pages, examples = [], {}, _examples()
    for page, (title, packages) in API.items():
        names = sorted((n for n, package in _NAMES.items() if package in packages), key=lambda n: (n[0].isupper(), n))
        links = ", ".join(f"[`{name}`]({page}.md#aimc_robust.{name})" for name in names)
        rows.append(f"| [{title}]({page}.md) | {links} |")
        entries = "\n\n".join(_entry(name, examples.get(name)) for name in names)
        pages[f"reference/api/{page}.md"] = f"# {title}\n\n`import aimc_robust as ar`\n\n{entries}\n"
    head = (
        "# Python reference\n\nEvery public name. `import aimc_robust as ar` loads none of them until it is used.\n\n"
    )
    table = "| page | names |\n|---|---|\n" + "\n".join(rows)
    version = "\n\n`ar.__version__` is the version of the package, a text.\n"
    return {"reference/api/index.md": head + table + version} | pages


def _entry(name, example):
    entry = f'::: aimc_robust.{name}\n    options: {{ heading: "ar.{name}", toc_label: "{name}" }}'
    shown = f"**Example**, with [the names of all examples](../examples.md):\n\n```python\n{example}```"
    return f"{entry}\n\n{shown}" if example else entry


def _examples():
    """Return the block of docs/reference/examples.md of each name that a heading has."""
    text = (Path(__file__).parents[1] / "reference/examples.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^### ([^\n]*)\n\n```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return {name: block for heading, block in blocks for name in re.findall(r"ar\.([\w.]+)", heading)}


# Command line --------------------------------------------------------------------------------------------------------


def command_line_page():
    """Return a section for each command, with its arguments and options, as `--help` has them."""
    group = get_command(app)
    context = typer.Context(group, info_name="aimc-robust")
    parts = ["# Command line", _paragraphs(group.help), _options(group)]
    for name, command in group.commands.items():
        inner = typer.Context(command, info_name=name, parent=context)
        usage = " ".join(command.collect_usage_pieces(inner))
        parts += [f"## {name}", f"```sh\naimc-robust {name} {usage}\n```", _paragraphs(command.help), _options(command)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _paragraphs(text):
    return re.sub(r"^Example: (.*)$", r"Example: `\1`", _escaped(text), flags=re.MULTILINE)


def _options(command):
    rows = []
    for parameter in command.params:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
        if parameter.param_type_name == "argument":
            names = f"`{(parameter.metavar or parameter.name).upper()}`"
        shown = getattr(parameter, "show_default", None)
        default = shown if isinstance(shown, str) else parameter.default
        default = (
            "" if default is None or default is False or default == () or callable(default) else _escaped(str(default))
        )
        needed = "required" if parameter.required else default
        rows.append(f"| {names} | {needed} | {_escaped(parameter.help or '')} |")
    return "| argument | default | meaning |\n|---|---|---|\n" + "\n".join(rows)


def _escaped(text):
    """Escape what Markdown would interpret; within code only what ends a cell of a table."""
    return re.sub(
        r"`[^`\n]*`|[|<*_\[\]]", lambda m: m[0].replace("|", r"\|") if m[0][0] == "`" else f"\\{m[0]}", text or ""
    )


# Keys of specs -------------------------------------------------------------------------------------------------------


def spec_page(schema):
    """Return a table of the keys of a spec, and one for each table in it."""
    intro = (
        "# Keys of a spec\n\nWhat a TOML spec of `compare` may hold, as `aimc-robust schema` prints it; "
        "[spec.schema.json](spec.schema.json) is the schema itself, for editors. [Compare training methods]"
        "(../how-to/compare-methods.md) explains how specs are used. Defaults are those of a key that is left out."
    )
    models = spec_models()
    parts = [intro, "## The spec", _keys(schema["properties"], models[""])]
    for name, definition in schema["$defs"].items():
        if name == "Scale":
            parts += ["## Scale", "All keys of the spec again: those that `--scale NAME` replaces."]
            continue
        if name in OVERRIDES:
            whole = OVERRIDES[name]
            parts += [f"## {name}", f"The keys of [{whole}](#{whole.lower()}) that a method has of its own."]
            continue
        text = (definition.get("description") or "").split("\n\nAttributes:")[0]
        required = definition.get("required")
        needed = f"Required: {', '.join(f'`{key}`' for key in required)}." if required else ""
        parts += [f"## {name}", _escaped(" ".join(text.split())), needed, _keys(definition["properties"], models[name])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _keys(properties, model):
    rows, said = [], meanings(model)
    for key, value in properties.items():
        default = json.dumps(value["default"]) if value.get("default") is not None else ""
        default = f"`{default}`" if default else ""
        rows.append(f"| `{key}` | {_kind(value)} | {default} | {_escaped(value.get('description') or said.get(key))} |")
    return "| key | values | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows)


def _kind(value):
    """Return in words which values a key takes."""
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    for union in ("anyOf", "allOf"):
        if union in value:
            return " or ".join(dict.fromkeys(_kind(item) for item in value[union] if item.get("type") != "null"))
    if "enum" in value or "const" in value:
        return ", ".join(f"`{json.dumps(item)}`" for item in value.get("enum", [value.get("const")]))
    if value.get("type") == "array":
        items = (
            value.get("items") or {"anyOf": value["prefixItems"]} if "prefixItems" in value or "items" in value else {}
        )
        return f"list of {_kind(items)}" if items else "list"
    if value.get("type") == "object":
        inner = value.get("additionalProperties")
        return f"table, each value {_kind(inner)}" if isinstance(inner, dict) and inner else "table"
    words = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
    limits = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    kind = words.get(value.get("type"), "any value")
    return kind + "".join(f", {word} {value[key]:g}" for key, word in limits.items() if key in value)
