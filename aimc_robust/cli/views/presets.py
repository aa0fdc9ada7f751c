"""Output of `presets`: all presets, or one."""

from rich.console import Console
from rich.table import Table

from aimc_robust.devices.library import preset_names, presets_folder
from aimc_robust.hardware.config.presets import read_preset
from aimc_robust.report.device_section import describe_target
from aimc_robust.targets.build import build_target
from aimc_robust.targets.target import CrossbarTarget


def show_presets() -> None:
    """Print a table of all presets."""
    table = Table(title="Presets", title_justify="left", box=None, pad_edge=False)
    for column in ("name", "device", "setting"):
        table.add_column(column, overflow="fold", no_wrap=column != "setting")
    for preset in map(read_preset, preset_names()):
        table.add_row(preset.name, preset.crossbar["device"], preset.summary)
    Console().print(table)


def show_preset(name: str) -> None:
    """Print one preset: its source, its crossbar in words, and its tables, as a spec takes them."""
    preset = read_preset(name)
    console = Console(highlight=False, markup=False)
    console.print(preset.name, style="bold")
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_row("setting", preset.summary)
    source = preset.source
    facts.add_row(
        "source", ", ".join(filter(None, [source.citation, source.figure, source.doi and f"doi:{source.doi}"]))
    )
    target = build_target(name)
    assert isinstance(target, CrossbarTarget)
    for key, text in (("values", source.fit), ("note", source.note), ("crossbar", describe_target([target]))):
        if text:
            facts.add_row(key, text)
    console.print(facts)
    text = (presets_folder() / f"{name}.toml").read_text(encoding="utf-8")
    for part in text.split("\n\n")[2:]:  # name and summary, and the source, are above
        console.print(f"\n{part.strip()}", soft_wrap=True)
