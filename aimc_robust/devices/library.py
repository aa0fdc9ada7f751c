"""Find and read the cards that ship with the package, your own cards, and cell models in Python."""

from importlib import resources
from pathlib import Path
from typing import Any

from aimc_robust.devices.card import Card
from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.cell_model_checks import check_cell_model
from aimc_robust.errors import InputError, short_repr, unknown_name
from aimc_robust.io.toml import parse, read_toml
from aimc_robust.io.user_code import construct, is_reference

DEVICE_ADVICE = "Or give the path of your own card, ending in .toml, or a cell model as package.module:name."


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


def measured_cards() -> list[str]:
    """The names of the library's cards of published devices, sorted; the others are definitions, such as `ideal`."""
    return [name for name in card_names() if load_card(name).source.doi is not None]


def presets_folder() -> Path:
    """The folder of presets, within that of the cards."""
    return cards_folder() / "presets"


def preset_names() -> list[str]:
    """The names of the presets, sorted: settings of whole crossbars, see `load_preset`."""
    return sorted(path.stem for path in presets_folder().glob("*.toml"))


def load_card(device: str | Path | dict[str, Any] | Card) -> Card:
    """Load a device card.

    Args:
        device: The name of a card of the library, the path of a TOML file, a table of the same keys, or a card, which
            is returned as it is.

    Raises:
        UnknownNameError: If the library has no card of that name.
        InputError: If the file or table is not a valid card.
    """
    if isinstance(device, Card):
        return device
    if isinstance(device, dict):
        return parse(device, Card, source="device card")
    if not isinstance(device, str | Path):
        raise InputError(
            f"a device card is the name of one, the path of one or a table of its keys, got {short_repr(device)}."
        )
    if str(device).endswith(".toml"):
        return read_toml(Path(device), Card, kind="device card")
    names = card_names()
    if device in preset_names():
        raise InputError(
            f"{device!r} is a preset of a whole crossbar, not a device; load_preset({device!r}).crossbar is it, and "
            "targets take its name."
        )
    if device not in names:
        raise unknown_name("device", str(device), names, advice=DEVICE_ADVICE)
    return read_toml(cards_folder() / f"{device}.toml", Card, kind="device card")


def load_cell_model(device: str | Path | dict[str, Any] | CellModel | type[CellModel]) -> CellModel:
    """Load a device: a card, or a cell model in Python.

    Args:
        device: What `load_card` accepts, a `CellModel`, a subclass of it, or the import path `package.module:name` of
            a `CellModel`'s class or of a function without arguments that returns one.

    Raises:
        UnknownNameError: If the library has no card of that name.
        InputError: If the card is not valid, the import path names no cell model, or the cell model lacks an attribute.
    """
    if isinstance(device, type) and issubclass(device, CellModel):
        device = device()
    elif isinstance(device, str) and is_reference(device):
        device = construct(device, CellModel, what="device")  # type: ignore[type-abstract]  # as isinstance() accepts it
    if isinstance(device, CellModel) and not isinstance(device, Card):
        return check_cell_model(device)
    if not isinstance(device, str | Path | dict | Card):
        raise InputError(
            "a device is the name of a card, the path of one, a table of its keys, a CellModel, or "
            f"package.module:name, got {short_repr(device)}."
        )
    return load_card(device)
