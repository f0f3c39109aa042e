"""The task of a network, by the kind of its head."""

from collections.abc import Mapping

from vidnas.arch.spec import HeadSpec
from vidnas.engine.tasks.classification import ClassificationTask
from vidnas.engine.tasks.task import Task

_TASKS: Mapping[str, Task] = {"classification": ClassificationTask()}


def task_of(head: HeadSpec) -> Task:
    """What networks with this head learn."""
    return _TASKS[head.kind]
