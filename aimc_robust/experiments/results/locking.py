"""Lock a results folder: one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout  # the operating system frees the lock when the process dies

from aimc_robust.errors import AimcError, ResultsError
from aimc_robust.experiments.results.filenames import QUESTION
from aimc_robust.experiments.results.origin import has_runs


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Create `folder` and keep other processes out of it until the block or the process ends.

    Raises:
        ResultsError: if the folder is not writable, holds other files, or is locked by another process.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_known = (folder / QUESTION).exists() or has_runs(folder)
        if not is_known and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise ResultsError(f"{folder} holds other files; give --out an empty or new folder.")
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise ResultsError(f"another process works on {folder}; wait for it, or give --out another folder.") from None
    except OSError as error:
        if isinstance(error, AimcError):
            raise
        raise ResultsError(
            f"{error.filename or folder} cannot be written ({error.strerror}); correct the cause and run the command "
            "again, or give --out another folder. Finished work is kept."
        ) from None
