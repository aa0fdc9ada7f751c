"""Send results and models to object stores while a comparison runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from aimc_robust.errors import StoreError
from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.remote_folder import RemoteFolder
from aimc_robust.experiments.results.remote_models import RemoteModels, fetch_models
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row

EVERY_S = 300.0  # how often the state of an unfinished training is sent, at most


class Uploads(ExperimentProgress):
    """Sends the files of each trial when it ends, and those of one that is in training every five minutes."""

    def __init__(self, results: ComparisonResults, folder: RemoteFolder | None, models: RemoteModels | None) -> None:
        self.results, self.folder, self.models = results, folder, models
        self._sent_at: dict[Trial, float] = {}

    def training(self, trial: Trial, *, done: int) -> None:
        """Begin to wait."""
        self._sent_at[trial] = time.monotonic()

    def epoch(self, trial: Trial, row: Row) -> None:
        """Send the trial's unfinished training, if it is time."""
        if time.monotonic() - self._sent_at.get(trial, 0.0) > EVERY_S:
            self._send(trial)

    def finished(self, trial: Trial, means: dict[str, float]) -> None:
        """Send the trial."""
        self._send(trial)

    def failed(self, trial: Trial, reason: str) -> None:
        """Send the trial."""
        self._send(trial)

    def send_models(self) -> None:
        """Send what was trained in this call and is not in the store: the models that were in training, too."""
        for trial in self._sent_at:
            self._send_model(trial)

    def _send_model(self, trial: Trial) -> None:
        if self.models is not None:
            self.models.send(self.results.spec.recipe(trial.model, trial.train_seed))

    def _send(self, trial: Trial) -> None:
        self._sent_at[trial] = time.monotonic()
        self._send_model(trial)
        if self.folder is not None:
            self.folder.send(str(trial))


@contextmanager
def uploads(
    results: ComparisonResults, model_cache: Path | None, *, out_url: str | None, models_url: str | None
) -> Iterator[ExperimentProgress]:
    """Fetch results and models of earlier calls; yield callbacks that send new ones; send the rest at the end.

    For errors see `RemoteFolder`.
    """
    with ExitStack() as stack:
        folder = None if out_url is None else stack.enter_context(RemoteFolder(out_url, results.folder))
        models = None
        if models_url is not None and model_cache is not None:
            models = fetch_models(models_url, model_cache, results)
        callbacks = Uploads(results, folder, models)
        try:
            yield callbacks
        except StoreError:  # further attempts would delay its message
            raise
        except BaseException:
            with suppress(StoreError):  # in place of what ends the comparison
                callbacks.send_models()
            raise
