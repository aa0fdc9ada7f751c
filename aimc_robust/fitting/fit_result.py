"""A fitted device card, how well it fits, and its file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from aimc_robust.devices.card import Card
from aimc_robust.devices.library import load_card
from aimc_robust.errors import InputError
from aimc_robust.fitting.device_share import DeviceShare
from aimc_robust.fitting.goodness import Goodness
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.programming import MeanOffset
from aimc_robust.fitting.read_noise import ReadNoise
from aimc_robust.fitting.summary_text import comment_lines
from aimc_robust.io.atomic import atomic_write


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A card fitted to measurements.

    Attributes:
        card: The device card.
        goodness: Its goodness of fit.
        offset: Mean of measured - target at the earliest time.
        time_zero_s: Time [s] of the measurements at which the card's time is 0.
        drift_summary: Which drift was selected, and why.
        stuck: Numbers (low, high) of cells that stay at an end of the window.
        warnings: What to know before using the card.
        points: The cells that were fitted.
        read_noise: Their read noise; None without repeated reads.
        device_share: Share of the programming error that stays with a device, with its interval; None unless at least
            10 devices were programmed repeatedly.
    """

    card: Card
    goodness: Goodness
    offset: MeanOffset
    time_zero_s: float
    drift_summary: str
    stuck: tuple[int, int]
    warnings: tuple[str, ...]
    points: Points
    read_noise: ReadNoise | None
    device_share: DeviceShare | None

    def to_toml(self) -> str:
        """Format the card as TOML, with the goodness of fit as comments."""
        return card_toml(self.card, comment_lines(self.card, self.goodness, self.drift_summary))

    def write(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the card to a file.

        Args:
            path: The file, ending in .toml.
            force: Overwrite an existing file.

        Returns:
            The path.

        Raises:
            InputError: If `path` has another ending or its folder is missing, or it exists and `force` is not set.
        """
        path = check_card_path(path, force=force)
        atomic_write(path, self.to_toml())
        if load_card(path) != self.card:
            raise InputError(f"{path} does not read back as the card that was fitted; please report this.")
        return path


def check_card_path(path: str | Path, *, force: bool = False) -> Path:
    """Raise `InputError`, as `Fit.write`, unless a card may be written to `path`."""
    path = Path(path)
    if path.suffix != ".toml":
        raise InputError(f"a card is written to a file that ends in .toml, got {str(path)!r}.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the path of a file.")
    if path.exists() and not force:
        raise InputError(f"{path} exists already; choose another file, or use --force (force=True) to overwrite it.")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent}; create it first.")
    return path


def card_toml(card: Card, comments: Iterable[str] = ()) -> str:
    """Format a card as TOML, below lines of comments."""
    printable = ("".join(c if c.isprintable() else "?" for c in comment) for comment in comments)
    values = card.model_dump(exclude_none=True, exclude_defaults=True)
    return "\n".join([*(f"# {comment}".rstrip() for comment in printable), tomli_w.dumps(_kind_first(values))])


def _kind_first(value: Any) -> Any:
    """Return tables with the key `kind` before the keys that depend on it."""
    if isinstance(value, dict):
        return {key: _kind_first(value[key]) for key in sorted(value, key=lambda key: key != "kind")}
    return [_kind_first(item) for item in value] if isinstance(value, list | tuple) else value
