"""One process at a time on a results folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout  # two processes on one folder; freed by the system when a process dies

from aimc_robust.errors import AimcError, ResultsError
from aimc_robust.experiments.results.filenames import QUESTION


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Make `folder` and keep others out of it until the block ends, or the process does.

    Raises ResultsError when it cannot be written, holds other files, or another process works on it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / QUESTION).exists() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise ResultsError(f"{folder} holds other files; give --out an empty or new folder.")
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise ResultsError(f"another process works on {folder}; wait for it, or give --out another folder.") from None
    except OSError as error:
        if isinstance(error, AimcError):
            raise
        raise ResultsError(
            f"{error.filename or folder} cannot be written ({error.strerror}); mend that, or give --out "
            "another folder. What is done is kept."
        ) from None
