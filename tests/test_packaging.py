"""The wheel and the editable install carry every card and find them, away from the source tree."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROBE = """
import json, aimc_robust
from aimc_robust.devices.library import cards_folder
cards = {name: aimc_robust.load_card(name).model_dump_json() for name in aimc_robust.card_names()}
print(json.dumps({"package": aimc_robust.__file__, "folder": str(cards_folder()), "cards": cards}))
"""


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)


def probe(site, cwd):
    """What a Python that finds the package through the folder `site` and its .pth files sees of it."""
    # In front of whatever else provides the package: the environment of the tests has it installed too.
    code = f"import site, sys; n = len(sys.path); site.addsitedir({str(site)!r})\nsys.path[:0] = sys.path[n:]\n{PROBE}"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    return next(folder.glob("*.whl"))


def source_cards():
    return {path.stem: path.read_bytes() for path in (ROOT / "device_models").glob("*.toml")}


def test_the_wheel_holds_exactly_the_cards_of_the_folder_and_the_type_marker(wheel):
    with zipfile.ZipFile(wheel) as file:
        prefix = "aimc_robust/device_models/"
        cards = {Path(n).stem: file.read(n) for n in file.namelist() if n.startswith(prefix)}
        assert cards == source_cards()
        assert "aimc_robust/py.typed" in file.namelist()
        assert any(name.startswith("aimc_robust/report/templates/") for name in file.namelist())
        assert not any(name.startswith(("tests/", "benchmarks/", "device_models/")) for name in file.namelist())


def test_an_installed_wheel_finds_its_own_cards(wheel, tmp_path):
    site = tmp_path / "site"
    pip("install", "--no-deps", "--target", site, wheel)
    seen = probe(site, tmp_path)
    assert seen["package"].startswith(str(site))
    assert seen["folder"] == str(site / "aimc_robust" / "device_models")
    assert set(seen["cards"]) == set(source_cards())


def test_an_editable_install_finds_the_cards_of_the_checkout(tmp_path):
    pip("install", "--no-deps", "--no-build-isolation", "--ignore-installed", "--prefix", tmp_path, "--editable", ROOT)
    site = next(tmp_path.rglob("site-packages"))
    seen = probe(site, tmp_path)
    assert seen["folder"] == str(ROOT / "device_models")
    assert set(seen["cards"]) == set(source_cards())


def test_the_source_checkout_holds_no_second_folder_of_cards():
    assert not (ROOT / "aimc_robust" / "device_models").exists()
