"""The wheel and the editable install carry every card and find them, away from the source tree; a registry takes both
distributions.
"""

import contextlib
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from email import message_from_string
from pathlib import Path

import pytest
from hatchling.build import build_editable, build_sdist, build_wheel
from twine.commands.check import check

ROOT = Path(__file__).parents[1]
PROBE = """
import json, aimc_robust
from aimc_robust.devices.library import cards_folder
cards = {name: aimc_robust.load_card(name).model_dump_json() for name in aimc_robust.card_names()}
presets = [aimc_robust.load_preset(name).name for name in aimc_robust.preset_names()]
print(json.dumps({"presets": presets, "package": aimc_robust.__file__, "folder": str(cards_folder()), "cards": cards}))
"""


def install(build: Callable[[str], str], folder: Path) -> Path:
    """Build a wheel of the source tree with one of the build backend's hooks, and unpack it, as an installer does."""
    with contextlib.chdir(ROOT):
        wheel = folder / build(str(folder))
    site = folder / "site"
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    return site


def probe(site, cwd):
    """What a Python that finds the package through the folder `site` and its .pth files sees of it."""
    # In front of whatever else provides the package: the environment of the tests has it installed too.
    code = f"import site, sys; n = len(sys.path); site.addsitedir({str(site)!r})\nsys.path[:0] = sys.path[n:]\n{PROBE}"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=cwd, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def wheel_site(tmp_path_factory):
    """The folder that the wheel is installed in."""
    return install(build_wheel, tmp_path_factory.mktemp("wheel"))


def source_cards():
    return {path.stem: path.read_bytes() for path in (ROOT / "device_models").glob("*.toml")}


def test_the_wheel_holds_exactly_the_cards_of_the_folder_and_the_type_marker(wheel_site):
    folder = wheel_site / "aimc_robust" / "device_models"
    assert {path.stem: path.read_bytes() for path in folder.glob("*.toml")} == source_cards()
    presets = {path.name: path.read_bytes() for path in (folder / "presets").iterdir()}
    assert presets == {path.name: path.read_bytes() for path in (ROOT / "device_models" / "presets").iterdir()}
    assert {path.name for path in folder.iterdir() if path.suffix != ".toml"} == {"presets"}
    assert (wheel_site / "aimc_robust" / "py.typed").is_file()
    assert list((wheel_site / "aimc_robust" / "report" / "templates").iterdir())
    assert {path.name for path in wheel_site.iterdir() if path.suffix != ".dist-info"} == {"aimc_robust"}


def test_the_wheel_names_the_command_and_the_dependencies(wheel_site):
    (info,) = wheel_site.glob("*.dist-info")
    assert "aimc-robust = aimc_robust.__main__:main" in (info / "entry_points.txt").read_text()
    metadata = message_from_string((info / "METADATA").read_text())
    needed = {re.split(r"[<>=\[ ;@]", line)[0] for line in metadata.get_all("Requires-Dist")}
    assert {"torch", "numpy", "pydantic", "typer"} <= needed
    assert [line for line in metadata.get_all("Requires-Dist") if "@" in line] == []  # which no registry takes


@pytest.mark.slow
def test_an_installed_wheel_finds_its_own_cards(wheel_site, tmp_path):
    seen = probe(wheel_site, tmp_path)
    assert seen["package"].startswith(str(wheel_site))
    assert seen["folder"] == str(wheel_site / "aimc_robust" / "device_models")
    assert seen["presets"] == sorted(path.stem for path in (ROOT / "device_models" / "presets").glob("*.toml"))
    assert set(seen["cards"]) == set(source_cards())


@pytest.mark.slow
def test_a_registry_takes_both_and_the_source_distribution_builds_the_same_wheel(tmp_path):
    with contextlib.chdir(ROOT):
        files = [tmp_path / build(str(tmp_path)) for build in (build_sdist, build_wheel)]
    assert not check([str(file) for file in files], strict=True)  # True: there was a problem
    with tarfile.open(files[0]) as archive:
        archive.extractall(tmp_path, filter="data")
    with contextlib.chdir(tmp_path / files[0].name.removesuffix(".tar.gz")):
        assert Path("CITATION.cff").is_file()
        again = tmp_path / "again" / build_wheel(str(tmp_path / "again"))
    names, names_again = (sorted(zipfile.ZipFile(file).namelist()) for file in (files[1], again))
    assert names == names_again


@pytest.mark.slow
def test_an_editable_install_finds_the_cards_of_the_checkout(tmp_path):
    seen = probe(install(build_editable, tmp_path), tmp_path)
    assert seen["folder"] == str(ROOT / "device_models")
    assert set(seen["cards"]) == set(source_cards())


def test_the_source_checkout_holds_no_second_folder_of_cards():
    assert not (ROOT / "aimc_robust" / "device_models").exists()
