"""The documentation site builds strictly, has every public name, and its pages fit a screen and a phone, offline."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import aimc_robust as ar

ROOT = Path(__file__).parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
WIDTHS = {"screen": (1280, 900), "phone": (390, 844)}
PAGES = [
    "index.html",
    "tutorials/first-report.html",
    "how-to/describe-hardware.html",
    "how-to/predict-accuracy.html",
    "explanation/crossbars.html",
    "explanation/statistics.html",
    "reference/api/evaluation.html",
    "reference/spec.html",
    "reference/command-line.html",
    "reference/devices/pcm-nandakumar2019.html",
    "benchmarks/index.html",
]


def test_the_pictures_of_crossbars_are_what_their_script_draws():
    code = "import pictures, json; print(json.dumps({name: draw() for name, draw in pictures.PICTURES.items()}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "docs/hooks", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name, text in json.loads(done.stdout).items():
        assert (ROOT / "docs/explanation" / name).read_text(encoding="utf-8") == text, name


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="the extra [docs] is not installed; the site cannot be built")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_every_public_name_every_command_and_every_device_has_an_entry(site):
    reference = "".join(path.read_text(encoding="utf-8") for path in (site / "reference/api").glob("*.html"))
    names = {*ar.__all__, *(f"plot.{name}" for name in ar.plot.__all__)} - {"__version__", "plot"}
    assert [name for name in sorted(names) if f'id="aimc_robust.{name}"' not in reference] == []
    assert {path.stem for path in (site / "reference/devices").glob("*.html")} == {"index", *ar.card_names()}


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]+src=\"?(https?:[^\s\">]+)", text)
        loaded += re.findall(r"<link[^>]+rel=\"?(?:stylesheet|preconnect|icon)[^>]+href=\"?(https?:[^\s\">]+)", text)
        assert loaded == [], path


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'"
    )
    if CHROMIUM is None:
        pytest.skip("no Chromium or Chrome on this machine")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("device", WIDTHS)
def test_pages_fit_the_width(site, browser, device):
    width, height = WIDTHS[device]
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
    page = context.new_page()
    for name in PAGES:
        page.goto((site / name).as_uri())
        assert page.locator("h1").first.is_visible(), name
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width, name
    context.close()
