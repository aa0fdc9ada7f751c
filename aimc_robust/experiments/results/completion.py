"""Whether a folder holds the whole answer to a question already, known in a moment: without torch, images or models."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import aimc_robust
from aimc_robust.devices.library import cards_folder
from aimc_robust.experiments.spec.loading import resolved_toml
from aimc_robust.io.atomic import atomic_write

MARKER = ".read_marker.json"


def spec_digest(spec: Path, *, scale: str | None = None, overrides: Sequence[str] = ()) -> str:
    """A digest of a question: the spec written out, every card that it may name, and the version of this package.

    Raises as `resolved_toml`.
    """
    text = resolved_toml(spec, scale=scale, overrides=overrides)
    named = (spec.parent / name for name in re.findall(r"""["']([^"'\n]+\.toml)["']""", text))
    cards = [*sorted(cards_folder().glob("*.toml")), *(path for path in named if path.is_file())]
    digest = hashlib.blake2b(f"{aimc_robust.__version__}\n{text}".encode(), digest_size=16)
    for path in cards:
        digest.update(f"\n{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def write_marker(folder: Path, question: str, failed: Iterable[str]) -> None:
    """Note that `folder` holds the whole answer to `question` (of `spec_digest`), but for the trials that failed."""
    atomic_write(folder / MARKER, json.dumps({"question": question, "failed": list(failed)}))


def read_marker(folder: Path, question: str) -> list[str] | None:
    """The failed trials of a whole answer to `question`; None where there is none, or another's."""
    try:
        note = json.loads((folder / MARKER).read_bytes())
        return list(note["failed"]) if note["question"] == question else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
