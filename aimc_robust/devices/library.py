"""Find and read the cards that ship with the package, or a user's own."""

from importlib import resources
from pathlib import Path
from typing import Any

from aimc_robust.devices.card import Card
from aimc_robust.errors import InputError, unknown_name
from aimc_robust.io.toml import parse, read_toml


def cards_folder() -> Path:
    """The folder of cards: inside an installed package, or beside it in a source checkout or editable install."""
    package = Path(str(resources.files("aimc_robust")))
    for folder in (package / "device_models", package.parent / "device_models"):
        if folder.is_dir():
            return folder
    raise InputError(f"no device_models folder in or beside {package}; install the package again.")


def card_names() -> list[str]:
    """The names of the library's cards, sorted."""
    return sorted(path.stem for path in cards_folder().glob("*.toml"))


def load_card(device: str | Path | dict[str, Any] | Card) -> Card:
    """A card by library name, by the path of a TOML file, or from a table of the same keys; a Card as it is.

    Raises UnknownNameError for a name that the library lacks, InputError for a file that is not a valid card.
    """
    if isinstance(device, Card):
        return device
    if isinstance(device, dict):
        return parse(device, Card, source="device card")
    if str(device).endswith(".toml"):
        return read_toml(Path(device), Card, what="device card")
    names = card_names()
    if device not in names:
        raise unknown_name("device", str(device), names, advice="Or give the path of your own card, ending in .toml.")
    return read_toml(cards_folder() / f"{device}.toml", Card, what="device card")
