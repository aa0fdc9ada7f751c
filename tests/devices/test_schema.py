"""The JSON schema of cards for editors: every card of the library is valid, a broken one is not."""

import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest
from support.command_line import invoke

from aimc_robust.devices.library import card_names, cards_folder, load_card
from aimc_robust.devices.schema import card_schema

VALIDATOR = jsonschema.Draft202012Validator(card_schema())
PAGE = Path(__file__).parents[2] / "docs/reference/device-cards.md"
CARD = re.search(r"<!-- example card -->\n```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]


def problems(text):
    return [error.message for error in VALIDATOR.iter_errors(tomllib.loads(text))]


def test_it_is_a_schema_and_the_command_prints_it():
    jsonschema.Draft202012Validator.check_schema(card_schema())
    assert json.loads(invoke("schema", "card").stdout) == json.loads(json.dumps(card_schema()))


def test_every_card_of_the_library_and_of_the_page_is_valid():
    texts = {name: (cards_folder() / f"{name}.toml").read_text(encoding="utf-8") for name in card_names()}
    assert len(texts) > 10
    assert {name: found for name, text in texts.items() if (found := problems(text))} == {}
    assert problems(f"#:schema card.schema.json\n{CARD}") == []


def test_keys_have_the_meaning_that_an_editor_shows():
    schema = card_schema()
    assert schema["properties"]["technology"]["description"] == "One line on the technology."
    assert schema["$defs"]["PowerLawDrift"]["properties"]["t0_s"]["description"].startswith("Seconds from")
    assert "Attributes" not in json.dumps(schema)


BROKEN = {
    "unknown key": ('technology = "', 'technolgy = "'),
    "a missing table": ("[range]\nmin = 2.0\nmax = 50.0\nlimits = [0.0, 60.0]\n", ""),
    "a text for a number": ("min = 2.0", 'min = "2"'),
    "a name with capitals": ('name = "my-cell"', 'name = "My cell"'),
    "the name of exact weights": ('name = "my-cell"', 'name = "digital"'),
    "an unknown state": ('state = "conductance"', 'state = "resistance"'),
    "the unit of another state": ('unit = "uS"', 'unit = "nA"'),
    "an unknown law": ('kind = "power-law"', 'kind = "powerlaw"'),
    "a key of another law": (
        'kind = "polynomial"\ncoefficients = [0.4, 2.1, -1.3]',
        'kind = "none"\ncoefficients = [0.4]',
    ),
    "a negative time": ("t0_s = 30.0", "t0_s = -30.0"),
    "three limits": ("limits_s = [0.0, 86400.0]", "limits_s = [0.0, 1.0, 86400.0]"),
    "a share above 1": ("low = 0.001", "low = 1.5"),
    "a short citation": ("Our lab's measurement of lot 7, notebook 12, 2026", "ours"),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=list(BROKEN))
def test_a_broken_card_is_invalid_for_the_editor_and_for_the_tool(change, tmp_path):
    assert change[0] in CARD
    path = tmp_path / "my-cell.toml"
    path.write_text(CARD.replace(*change, 1), encoding="utf-8")
    assert problems(path.read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match=r"my-cell\.toml: "):
        load_card(path)
