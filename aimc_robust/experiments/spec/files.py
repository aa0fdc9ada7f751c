"""The files of weights that a comparison's trainings read: digests of their content belong to the spec's identity."""

from __future__ import annotations

from pathlib import Path

from aimc_robust.errors import AimcError, CheckpointError
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.models.pretrained import read_weights


def with_file_digests(spec: ComparisonSpec, folder: Path) -> ComparisonSpec:
    """Return a spec that notes the present content of `model.weights` and of teachers, relative to `folder`.

    A comparison whose files have changed is then refused. A file that cannot be read has no digest: the training that
    needs it says why.
    """
    names = dict.fromkeys(name for label in spec.labels for name in spec.files_of(label))
    digests = {name: digest for name in names if (digest := _digest(folder / name)) is not None}
    others = {name: digest for name, digest in spec.code_digests.items() if name not in names}
    return spec.model_copy(update={"code_digests": others | digests})


def check_files(spec: ComparisonSpec, label: str, folder: Path) -> None:
    """Raise CheckpointError if a file of a method has changed since its digest was noted, such as between two trials.

    The machines of one comparison are compared by this too.
    """
    for name in spec.files_of(label):
        known = spec.code_digests.get(name)
        if known is not None and _digest(folder / name) not in (None, known):
            raise CheckpointError(
                f"the file {folder / name} has changed since the comparison began; restore it and run the same command "
                "again, or give --out another folder."
            )


def _digest(path: Path) -> str | None:
    """Return the hash of the names and values of a file of weights; None if it cannot be read."""
    try:
        return read_weights(path).id
    except (AimcError, OSError):
        return None
