"""Section of an evaluation's page on how to get the same numbers again."""

from __future__ import annotations

from aimc_robust.hardware.calibration.converter_ranges import needs_calibration
from aimc_robust.report import device_section
from aimc_robust.report.evaluation.content import EvaluationContent
from aimc_robust.report.page_model import Section, Table


def reproduction(content: EvaluationContent) -> Section:
    """Say how to get the same numbers again."""
    spec, devices = content.results.spec, [target for family in content.devices for target in family]
    uses = {
        "Converter ranges": any(needs_calibration(target.condition) for target in devices),
        "BatchNorm statistics on the chip": any("batchnorm" in target.deployment.compensation for target in devices),
    }
    used = " and ".join(name for name, applies in uses.items() if applies)
    how = (
        f"Normalization of inputs: {spec.images.normalization}. "
        f"{f'{used} come from {spec.images.calibrated_on}. ' if used else ''}"
        f"Root of the chips' random draws: chip_seed {spec.chip_seed}. "
        "`question.json` beside this page is the complete spec with every device card; `evaluations.csv` has a row "
        "per chip. The numbers do not depend on the number of processes."
    )
    options = [("options", f"`{spec.selection.options}`")] if spec.selection.options else []
    rows = [[("model", str(m.trial)), ("weights", f"`{m.file}`"), *options, ("hash", f"`{m.id}`")] for m in spec.models]
    notes = device_section.environment_notes(content.results.environments)
    return Section("How to reproduce", [how, Table("Weights", rows), *notes])
