"""Detect that a results folder already holds every result of a spec, without loading torch, images or models."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import aimc_robust
from aimc_robust.devices.library import cards_folder
from aimc_robust.experiments.spec.inheritance import resolved_toml
from aimc_robust.io.atomic import atomic_write

MARKER = ".answered.json"


def spec_digest(spec: Path, *, scale: str | None = None, overrides: Sequence[str] = ()) -> str:
    """Return a hash of everything that decides the results: the resolved spec, its cards, the package version.

    Args:
        spec: The TOML file of a comparison.
        scale: See `spec.inheritance.read_spec`.
        overrides: See `spec.inheritance.read_spec`.

    Raises:
        InputError: see `spec.inheritance.read_spec`.
        UnknownNameError: see `spec.inheritance.read_spec`.
    """
    text = resolved_toml(spec, scale=scale, overrides=overrides)
    named = (spec.parent / name for name in re.findall(r"""["']([^"'\n]+\.toml)["']""", text))
    cards = [*sorted(cards_folder().glob("*.toml")), *(path for path in named if path.is_file())]
    digest = hashlib.blake2b(f"{aimc_robust.__version__}\n{text}".encode(), digest_size=16)
    for path in cards:
        digest.update(f"\n{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def write_marker(folder: Path, digest: str, failed: Iterable[str]) -> None:
    """Mark `folder` as complete for the spec with this digest.

    Args:
        folder: The results folder.
        digest: Result of `spec_digest`.
        failed: Names of the trials that failed.
    """
    atomic_write(folder / MARKER, json.dumps({"question": digest, "failed": list(failed)}))


def read_marker(folder: Path, digest: str) -> list[str] | None:
    """Return the failed trials if `folder` is complete for the spec with this digest, else None."""
    try:
        marker = json.loads((folder / MARKER).read_bytes())
        return list(marker["failed"]) if marker["question"] == digest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
