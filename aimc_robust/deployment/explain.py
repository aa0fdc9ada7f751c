"""What is to blame for the loss, and what is predicted without Monte Carlo, for the models of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from aimc_robust.bench.evaluation_images import EvaluationImages
from aimc_robust.bench.targets import Target
from aimc_robust.deployment.question import Question, TrainedModel
from aimc_robust.deployment.ready import ready
from aimc_robust.deployment.store import Results
from aimc_robust.deployment.tables import families
from aimc_robust.evaluation.attribution import attribute
from aimc_robust.hardware import Crossbar

Told = Callable[..., None]
Named = Sequence[tuple[TrainedModel, nn.Module]]


def attribute_models(
    results: Results, models: Named, images: EvaluationImages, chips: int, jobs: int | None, told: Told
) -> None:
    """Attribute the loss of the first model of each label on each device, at its last time; rows go to attribution."""
    done = results.rows("attribution")
    for model, trained in _first_of_each(models):
        for target in last_crossbars(results.question):
            if (
                len(done)
                and ((done["model"] == str(model)) & (done["target"] == target.name) & (done["chips"] == chips)).any()
            ):
                continue
            crossbar, how = ready(results, model, trained, images, target)

            def on_chip(number: int, total: int, what: str = f"{model} on {target.name}: what is to blame") -> None:
                told(what, done=number, total=total)

            found = attribute(
                trained,
                images,
                crossbar,
                chips=chips,
                seed=results.question.seed,
                deployment=how,
                jobs=jobs,
                on_chip=on_chip,
            )
            facts = {
                "model": str(model),
                "target": target.name,
                "chips": chips,
                "exact": found.exact,
                "whole": found.whole,
            }
            table = found.table.astype({"weights": object}).where(found.table.notna(), None)
            results.add_rows("attribution", [facts | row for row in table.to_dict("records")])


def predict_models(
    results: Results, models: Named, images: EvaluationImages, chips: int, jobs: int | None, told: Told
) -> None:
    pass


def last_crossbars(question: Question) -> list[Target]:
    """Each device at its last time, where its errors can be switched on and off; compensated ones left out."""
    crossbars = [target for target in question.built_targets() if isinstance(target.condition, Crossbar)]
    plain = [t for t in crossbars if t.deployment.backend == "native" and not t.deployment.compensation]
    return [family[-1] for family in families(plain)]


def _first_of_each(models: Named) -> Named:
    return [(model, trained) for model, trained in models if model.seed == 0]
