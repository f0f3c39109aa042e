"""The task of a network, by the kind of its head."""

from collections.abc import Mapping

from vidnas.arch.spec import HeadSpec
from vidnas.base.errors import VidnasError
from vidnas.data.video_list import VideoList
from vidnas.engine.tasks.classification import ClassificationTask
from vidnas.engine.tasks.multi_label import MultiLabelTask
from vidnas.engine.tasks.task import Task

_TASKS: Mapping[str, Task] = {"classification": ClassificationTask(), "multi_label": MultiLabelTask()}


def task_of(head: HeadSpec) -> Task:
    """What networks with this head learn."""
    return _TASKS[head.kind]


def check_task(head: HeadSpec, videos: VideoList) -> None:
    """Make sure that a head is for videos as a list has them.

    Raises:
        VidnasError: several labels per video for a classifier, or one for a multi-label head.
    """
    if videos.multi_label and head.kind != "multi_label":
        raise VidnasError(
            f"{videos.root}: the list has several labels per video, and the network's head.kind is {head.kind!r}; use "
            "head.kind 'multi_label', or a list with one label in each line"
        )
    if head.kind == "multi_label" and not videos.multi_label:
        raise VidnasError(
            f"{videos.root}: the list has one label per video, and the network's head.kind is 'multi_label'; use "
            "head.kind 'classification', or write labels as `run;jump`, and `run;` where one is all"
        )
