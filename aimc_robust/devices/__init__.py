"""Device cards: TOML files in `device_models/` that say how one memory device behaves, with units and source."""

from aimc_robust.devices.card import Card
from aimc_robust.devices.library import card_names, load_card

__all__ = ["Card", "card_names", "load_card"]
