"""The command line: parse, build the config, call one function."""

from aimc_robust.cli.app import main

__all__ = ["main"]
