"""Run a comparison and write its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aimc_robust.errors import InputError
from aimc_robust.experiments.callbacks.progress import ExperimentProgress, ProgressGroup
from aimc_robust.experiments.callbacks.tensorboard import TensorBoard
from aimc_robust.experiments.callbacks.uploads import uploads
from aimc_robust.experiments.compare import compare
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.spec.files import with_file_digests
from aimc_robust.experiments.spec.inheritance import resolved_toml
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.io.user_code import import_callable
from aimc_robust.report.freshness import report_is_current
from aimc_robust.training.fabric import Machine


def compare_and_report(
    spec: Path,
    folder: Path,
    *,
    scale: str | None = None,
    overrides: tuple[str, ...] = (),
    model_cache: Path | None = None,
    progress: ExperimentProgress,
    machine: Machine,
    tensorboard: bool = False,
    out_url: str | None = None,
    models_url: str | None = None,
    **options: Any,
) -> tuple[Path, list[str]]:
    """Run the unfinished trials as `experiments.compare.compare` does, and write the report unless it is up to date.

    Returns the path of report.html, and the names of the trials that failed.

    Args:
        spec: The spec, a TOML file.
        folder: The results folder.
        scale: Name of a scale of the spec; None: the full one.
        overrides: Overrides KEY=VALUE of the spec.
        model_cache: Folder of trained models that several comparisons share.
        progress: Callbacks.
        machine: Devices and processes that train one model. Only the first process writes, and knows what failed.
        tensorboard: Write histories and results for TensorBoard too.
        out_url: Object store that `folder` is a copy of, such as `s3://bucket/path`, see `RemoteFolder`.
        models_url: Object store that `model_cache` is a copy of, see `RemoteModels`.
        **options: Further arguments of `compare`.

    Raises:
        AimcError: As `compare`.
    """
    comparison = with_file_digests(load_spec(spec, scale=scale, overrides=overrides), spec.parent)
    for reference in comparison.report_sections:  # now, not after hours of training
        try:
            import_callable(reference, what="report section", near=[spec.parent])
        except InputError as error:
            raise InputError(f"{error} To do without such sections: --set 'report_sections=[]'.") from None
    if tensorboard and machine.is_first:
        events = TensorBoard(ComparisonResults(folder, comparison), model_cache=model_cache)
        progress = ProgressGroup([progress, events])
    with uploads(
        ComparisonResults(folder, comparison), model_cache, out_url=out_url, models_url=models_url
    ) as uploading:
        outcome = compare(
            comparison,
            folder,
            spec_text=resolved_toml(spec, scale=scale, overrides=overrides),
            data_folder=spec.parent,
            model_cache=model_cache,
            progress=ProgressGroup([progress, uploading]),
            machine=machine,
            **options,
        )
        report = folder / "report.html"
        if not machine.is_first:
            return report, []
        if not report_is_current(folder):
            from aimc_robust.report.write import write_report  # slow to import; a finished comparison needs none

            write_report(folder)
    return report, [str(trial) for trial in outcome.failed]
