"""Trained models in an object store, which comparisons on several machines share: each is below its recipe's hash."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.io.object_store import ObjectStore
from aimc_robust.training.resumption import FINISHED, UNFINISHED


class RemoteModels:
    """The folder `cache` of shared models as a copy of a part of what is at `url`.

    Several processes may write to the store at once: equal recipes give equal models.
    """

    def __init__(self, url: str, cache: Path) -> None:
        advice = f"the models of this machine are in {cache}, and the same command continues."
        self.store, self.cache = ObjectStore(url, advice=advice), cache
        self._finished: set[str] = set()  # recipes whose training is in the store

    def fetch(self, recipes: Iterable[str]) -> None:
        """Fetch what the store has of these recipes, where the cache has nothing."""
        files: dict[str, list[str]] = defaultdict(list)
        for name in self.store.names():
            files[name.partition("/")[0]].append(name)
        self._finished = {recipe for recipe, names in files.items() if f"{recipe}/{FINISHED}" in names}
        for recipe in dict.fromkeys(recipes):
            if not any((self.cache / recipe / name).exists() for name in (FINISHED, UNFINISHED)):
                # The file that marks the training as finished comes last.
                names = sorted(files[recipe], key=lambda name: name.endswith(FINISHED))
                self.store.download(names, self.cache)

    def send(self, recipe: str) -> None:
        """Send the model of a recipe, unless the store has it finished; an unfinished one replaces an earlier state."""
        if recipe in self._finished or not (self.cache / recipe).is_dir():
            return
        names = sorted(path.name for path in (self.cache / recipe).iterdir() if not path.name.startswith("."))
        self.store.upload(self.cache, [f"{recipe}/{name}" for name in names if name != FINISHED])
        if FINISHED in names:
            self.store.upload(self.cache, [f"{recipe}/{FINISHED}"])
            self.store.remove([f"{recipe}/{UNFINISHED}"])
            self._finished.add(recipe)


def fetch_models(url: str, cache: Path, results: ComparisonResults) -> RemoteModels:
    """Return the models at `url`, after fetching those that the pending trials of a comparison need.

    Raises:
        ResultsError: if the results folder cannot be continued.
    """
    results.check()
    models = RemoteModels(url, cache)
    pending = [trial for trial in results.trials if not results.is_evaluated(trial)]
    models.fetch(results.spec.recipe(trial.model, trial.train_seed) for trial in pending)
    return models
