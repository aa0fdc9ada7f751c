"""The task of a spec: one model per kind of table, made from the class of the task, whose fields are its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union

import pydantic

from aimc_robust.errors import require_type, short_repr, unknown_name
from aimc_robust.io.table_model import Table, as_validation_error, table_model
from aimc_robust.io.toml import parse_value
from aimc_robust.io.user_code import import_callable, is_reference, refuse_standard_library
from aimc_robust.statistics.primary_metric import Direction, PrimaryMetric
from aimc_robust.tasks.metrics import require_free_columns
from aimc_robust.tasks.model_score import ModelScore
from aimc_robust.tasks.registry import TASKS, as_task
from aimc_robust.tasks.task import Task

OWN, SCORE = "package.module:function", "model-score"


class TaskTable(Table):
    """What the tables of all tasks share.

    Attributes:
        kind: A name of `TASKS`, or `package.module:function` that returns a task.
    """

    kind: str

    def build(self, **fixed: Any) -> Task:
        """Return the task."""
        task: Task = self.target(**self.arguments(without=("kind",)), **fixed)
        return task

    @property
    def primary(self) -> PrimaryMetric:
        """The metric that estimates, tests and reports are made of."""
        return self.build().primary

    @property
    def code(self) -> str | None:
        """The function of the user's own that the task is, or calls, as `package.module:name`."""
        return None


def _require_own(reference: str) -> str:
    """Return the name of a function of the user's own; it is not imported."""
    if not is_reference(reference):
        raise ValueError(f"expected package.module:function, got {reference!r}")
    with as_validation_error():
        refuse_standard_library(reference, reference.partition(":")[0], "task")
    return reference


OwnCode = Annotated[
    str,
    pydantic.AfterValidator(_require_own),
    pydantic.Field(json_schema_extra={"pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"}),
]


class OwnTask(TaskTable):
    """A task of the user's own: what `package.module:function` returns.

    Attributes:
        options: Keyword arguments of the function.
    """

    fixed: ClassVar[None] = None  # it is not built when it is read: that would import code

    kind: OwnCode
    options: dict[str, Any] = pydantic.Field(default_factory=dict)

    def build(self, **fixed: Any) -> Task:
        """Import and call the function."""
        return as_task(self.kind, self.options)

    @property
    def code(self) -> str:
        """The function."""
        return self.kind


class ScoreTable(TaskTable):
    """A score of the whole model: the fields of `ModelScore`.

    Attributes:
        score: The function `package.module:function`, called with (model, batches).
        bounds: Lowest and highest possible value, or "-inf" and "inf".
    """

    fixed: ClassVar[None] = None

    kind: Literal["model-score"] = "model-score"
    score: OwnCode
    metric: str
    better: Direction = "higher"
    unit: str = ""
    bounds: list[float | Literal["-inf", "inf"]] = pydantic.Field(["-inf", "inf"], min_length=2, max_length=2)

    @pydantic.model_validator(mode="after")
    def _check_metric(self) -> ScoreTable:
        with as_validation_error("metric"):
            require_free_columns([self.metric], "metric of the score")
            _ = self.primary
        return self

    @property
    def primary(self) -> PrimaryMetric:
        """The metric that is named; nothing is imported for it."""
        low, high = map(float, self.bounds)
        return PrimaryMetric(self.metric, self.unit, self.better, (low, high))

    def build(self, **fixed: Any) -> Task:
        """Import the function."""
        score, bounds = import_callable(self.score, what="score"), self.primary.bounds
        return ModelScore(score=score, metric=self.metric, better=self.better, unit=self.unit, bounds=bounds)

    @property
    def code(self) -> str:
        """The function."""
        return self.score


def _table_of(kind: str) -> Any:
    """Return the model of the tables of one kind of task."""
    own_kind: Any = (Literal[kind], kind)
    base = pydantic.create_model(f"{kind} kind", __base__=TaskTable, kind=own_kind)
    return table_model(TASKS[kind], kind, base=base)


def _with_kind(table: Any) -> Any:
    """Return a table with its kind, classification by default; raise ValueError for a kind that there is not."""
    if isinstance(table, TaskTable):
        return table
    if not isinstance(table, dict):
        raise ValueError(f'expected a table such as {{ kind = "regression" }}, got {short_repr(table)}')
    table = {"kind": "classification"} | table
    kind = table["kind"]
    if not isinstance(kind, str) or not (kind in TASKS or is_reference(kind)):
        raise ValueError(str(unknown_name("task", kind, TASKS, advice=f"One of your own is named {OWN}.")))
    return table


def _tag(table: Any) -> str:
    kind = table.get("kind") if isinstance(table, dict) else getattr(table, "kind", None)
    return kind if kind in TASKS else OWN


TABLES: dict[str, Any] = {kind: _table_of(kind) for kind in TASKS if kind != SCORE} | {SCORE: ScoreTable, OWN: OwnTask}

if TYPE_CHECKING:
    TaskEntry = TaskTable
else:
    _TAGGED = [Annotated[table, pydantic.Tag(kind)] for kind, table in TABLES.items()]
    TaskEntry = Annotated[Union[tuple(_TAGGED)], pydantic.Discriminator(_tag), pydantic.BeforeValidator(_with_kind)]  # noqa: UP007


def default_task() -> TaskTable:
    """Return the table of a spec that says nothing of its task."""
    table: TaskTable = TABLES["classification"](kind="classification")
    return table


def parse_task(kind: str, keys: Any) -> TaskTable:
    """Return the table of a task that command line options give by its kind, and by `--set task.KEY=VALUE`."""
    require_type("--set task", keys, dict, example="of the form task.KEY=VALUE")
    table: TaskTable = parse_value({"kind": kind} | keys, TaskEntry, source="task")
    return table
