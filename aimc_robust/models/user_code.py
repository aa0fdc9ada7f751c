"""The code of a network of the user's own: the same name in a spec is another network when its file has changed."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

LIBRARIES = ("torchvision", "timm")


def add_cwd_to_path() -> None:
    """Have modules looked for in the working directory too, as `python -m` does."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def source_digest(model: str) -> str | None:
    """A digest of the file that `package.module:function` is from; None for any other name, or without a file.

    What that file imports is not looked at.
    """
    module, _, function = model.partition(":")
    if not function or module in LIBRARIES:
        return None
    add_cwd_to_path()
    try:
        found = importlib.util.find_spec(module)
        origin = Path(found.origin) if found is not None and found.has_location else None
        return None if origin is None else hashlib.blake2b(origin.read_bytes(), digest_size=12).hexdigest()
    except Exception:  # whatever the import of a package above it raises; building the network tells it
        return None
