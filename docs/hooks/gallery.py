"""The gallery: each kind of report as a picture and a page, which its command writes when the site is built."""

import os
import posixpath
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
from build_cache import ROOT, cached_folder

import aimc_robust
from aimc_robust.devices.library import card_names

SOURCE = ROOT / "docs/gallery"
BOARD = ROOT / "benchmarks/leaderboard"


def gallery_files():
    """Return the files of the gallery, by their place in the site."""
    made = cached_folder("gallery", [SOURCE, Path(__file__)], _make)
    files = {f"gallery/{path.relative_to(made).as_posix()}": path for path in made.rglob("*") if path.is_file()}
    return files | {
        "gallery/leaderboard-1.html": BOARD / "leaderboard-1.html",
        "benchmarks/leaderboard/figures/worst-device.svg": BOARD / "figures/worst-device.svg",
        "gallery/index.md": _page(),
    }


def _contents():
    return tomllib.loads((SOURCE / "gallery.toml").read_text(encoding="utf-8"))


def _make(folder):
    """Run the commands, and copy their pages and the pictures of the gallery into a folder."""
    contents = _contents()
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(SOURCE / "digits.toml", place)
        _measurements().to_csv(Path(place) / "measurements.csv", index=False)
        first, *others = contents["commands"].values()
        for commands in ([first], others):
            for running in [_start(command, place) for command in commands]:
                printed, _ = running.communicate()
                if running.returncode:
                    raise RuntimeError(f"{shlex.join(running.args)} failed:\n{printed}")
        wanted = {path for entry in contents["entries"] for path in (entry["page"], entry["picture"])}
        for path in Path(place).rglob("*"):
            name = path.relative_to(place).as_posix()
            if path.suffix == ".html" or f"gallery/{name}" in wanted:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / name)


def _start(command, folder):
    program, *words = shlex.split(command)
    assert program == "aimc-robust", command
    package = str(Path(aimc_robust.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "aimc_robust", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _measurements():
    """Return measurements of 300 cells: a programming error that grows with the state, read noise, and drift."""
    rng, rows = np.random.default_rng(0), []
    target = rng.uniform(5.0, 100.0, 300)  # µS
    programmed, exponent = target + (0.5 + 0.02 * target) * rng.normal(size=300), rng.normal(0.02, 0.005, 300)
    for time_s in (0.0, 3600.0, 86400.0):
        state = programmed * ((time_s + 30.0) / 30.0) ** -exponent
        for _ in range(2):
            read = np.maximum(state + 0.3 * rng.normal(size=300), 0.0)
            rows.append(pd.DataFrame({"target": target, "measured": read, "time_s": time_s, "device": range(300)}))
    return pd.concat(rows)


# The page ------------------------------------------------------------------------------------------------------------


def _page():
    contents, seen = _contents(), set()
    reports = "\n\n".join(_entry(entry, contents["commands"], seen) for entry in contents["entries"])
    devices = "\n".join(
        f"[![Curves of {name}](../reference/devices/{name}.svg)<br>{name}](../reference/devices/{name}.md)\n"
        for name in card_names()
    )
    return f"""---
hide: [navigation, toc]
---

# Gallery

Every kind of report, with the command that writes it; a picture leads to the whole page. Pages on a small network for
[handwritten digits](digits.toml) are computed when this site is built. The others are of
[stored results](../benchmarks/results/all.md).

## Reports

<div class="gallery" markdown>

{reports}

</div>

## Results

[All results](../benchmarks/results/all.md) has a page and a full report for each comparison that was run, with the
claims that held.

## Devices

Every card of the [library](../reference/devices/index.md), with its curves, source and limits.

<div class="gallery devices" markdown>

{devices}
</div>
"""


def _entry(entry, commands, seen):
    page, picture, guide = (posixpath.relpath(entry[key], "gallery") for key in ("page", "picture", "guide"))
    command = " ".join((entry.get("command") or commands[entry["run"]]).split())
    lines = textwrap.wrap(command, 48, break_long_words=False, break_on_hyphens=False)
    shown = "" if command in seen else "\n\n```sh\n" + " \\\n    ".join(lines) + "\n```"
    seen.add(command)
    crop = "{ .crop }" if entry.get("crop") else ""  # of a tall picture, its upper part
    return f"""<div markdown>

### [{entry["title"]}]({page})

[![{entry["title"]}]({picture}){crop}]({page})

{entry["text"]} [Read more]({guide}).{shown}

</div>"""
