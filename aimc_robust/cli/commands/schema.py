"""The command `schema`: the JSON schema of spec files, for editors."""

import json

import typer


def schema() -> None:
    """Print the JSON schema of specs: editors complete and check a TOML file with it.

    Put `#:schema spec.schema.json` in the first line of a spec for editors that use Taplo, such as Even Better TOML.

    Example: aimc-robust schema > spec.schema.json
    """
    from aimc_robust.experiments.spec.schema import spec_schema

    typer.echo(json.dumps(spec_schema(), indent=1))
