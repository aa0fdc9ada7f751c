"""Tasks by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimc_robust.errors import InputError, unknown_name
from aimc_robust.io.user_code import construct, is_reference
from aimc_robust.tasks.classification import Classification
from aimc_robust.tasks.language_modelling import LanguageModelling
from aimc_robust.tasks.model_score import ModelScore
from aimc_robust.tasks.multilabel import Multilabel
from aimc_robust.tasks.regression import Regression
from aimc_robust.tasks.segmentation import Segmentation
from aimc_robust.tasks.task import Task

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "regression": Regression,
    "multilabel": Multilabel,
    "segmentation": Segmentation,
    "language-modelling": LanguageModelling,
    "model-score": ModelScore,
}
TaskLike = Task | str | None
"""A task, its name in TASKS, `package.module:function` that returns one, or None for classification."""


def as_task(task: TaskLike, options: Mapping[str, Any] | None = None) -> Task:
    """Return the task that is given or named.

    Raises:
        InputError: if it is none, or its function fails.
        UnknownNameError: if there is no such name.
    """
    if isinstance(task, Task):
        return task
    name = "classification" if task is None else task
    if not isinstance(name, str):
        raise InputError(f"task must be a Task or a name such as 'regression', got {task!r}.")
    if is_reference(name):
        built: Task = construct(name, Task, what="task", options=options)  # type: ignore[type-abstract]
        return built
    if name not in TASKS:
        raise unknown_name("task", name, TASKS, advice="One of your own is named package.module:function.")
    try:
        return TASKS[name](**(options or {}))
    except TypeError as error:
        raise InputError(
            f"task {name}: {error}; build it in Python, as with ModelScore(score=..., metric=...)."
        ) from None
