"""From what is asked for to a race that can start: lists read, budgets and clip settled, the folder held."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from vidnas.arch.latency import LatencyTable
from vidnas.base.errors import VidnasError
from vidnas.data.video_list import VideoList
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.run.runtime import set_threads
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.trials.executors import Executor
from vidnas.pipeline.lists import SEARCH_PARTS, Lists, holding, load_lists, search_parts
from vidnas.pipeline.method import HALF, RANKS_FROM_STEPS, STEPS_OF_A_SEARCH, MethodTimes
from vidnas.pipeline.plan import SpaceChoice, chosen_clip
from vidnas.pipeline.prepare import SearchRequest, latency_of, read_lists, refuse_another_run
from vidnas.pipeline.race.config import RaceConfig
from vidnas.pipeline.race.course import Course
from vidnas.pipeline.race.estimate import mean_step_seconds, trial_seconds
from vidnas.pipeline.race.plan import least_trials
from vidnas.pipeline.race.race import Race
from vidnas.search.limits import Limits
from vidnas.search.space.published.registry import resolve_space


@dataclass(frozen=True)
class RaceInputs:
    """What a run by race starts with."""

    lists: Lists
    race: Race

    def space_at_clip(self, choice: SpaceChoice) -> SpaceChoice:
        """Where a supernet searches once the clip has been raced for: there, round the multiply-adds of X3D."""
        course, clip = self.race.course, self.race.clip
        scaled = course.scale_macs(course.x3d(clip).spec) if choice.space == "auto" else None
        return replace(choice, clip=clip, macs=scaled)


@contextmanager
def prepare_race(
    request: SearchRequest,
    training: TrainConfig,
    config: RaceConfig,
    executor: Executor,
    reserved: int,
    *,
    with_supernet: bool = False,
) -> Iterator[RaceInputs | None]:
    """Read the lists and plan the race in OUT/race; None for a dry run, which says what it would take.

    The run folder is kept from other commands until the end.

    Args:
        request: what is asked for.
        training: of every network.
        config: of the race.
        executor: runs the trainings.
        reserved: trainings that follow the race.
        with_supernet: a search on one comes between the race of clips and that of networks, and has half of the hours.

    Raises:
        VidnasError: anything about videos, folder, budgets or groups that will not do.
    """
    lists = read_lists(request, SEARCH_PARTS if with_supernet else ("train",))
    with _held(request):
        race = Race(
            course_of(request, lists),
            request.data,
            training,
            config,
            request.out / "race",
            executor,
            resume=request.resume,
            max_hours=request.max_hours,
            hours_share=HALF if with_supernet else 1.0,
            reserved=reserved,
            dry_run=request.dry_run,
        )
        yield None if request.dry_run else RaceInputs(lists, race)


def measure_methods(
    request: SearchRequest, training: TrainConfig, config: RaceConfig, executor: Executor, reserved: int
) -> MethodTimes:
    """What race and supernet would take, for a run with a time limit.

    Args:
        request: what is asked for, `max_hours` among it.
        training: of every network.
        config: of the race.
        executor: runs the trainings.
        reserved: trainings that follow the race.

    Raises:
        VidnasError: as `prepare_race`.
    """
    assert request.max_hours is not None
    lists = load_lists(request.data, parts=("train",))
    training = training.in_steps(len(lists.train), len(lists.train.classes))
    with _held(request) if "ms" in request.targets else nullcontext():
        starting = course_of(request, lists).clips()
    specs = [one.spec for one in starting]
    trial_sec = trial_seconds(specs, training, executor.workers, executor.threads)
    step_sec = mean_step_seconds(specs, training, request.search.threads)
    steps = _supernet_steps(lists.train, request.search)
    return MethodTimes(
        given_sec=3600 * request.max_hours,
        trial_sec=trial_sec,
        least=least_trials(len(starting)),
        wanted=config.trials,
        reserved=reserved,
        supernet_steps=steps,
        supernet_sec=steps * STEPS_OF_A_SEARCH * step_sec,
    )


def _supernet_steps(train: VideoList, config: SearchConfig) -> int:
    """How long a supernet beside a race would be trained; 0 where the list cannot be divided for one."""
    try:
        videos = len(search_parts(train, config.seed)["weights"])
    except VidnasError:
        return 0
    return config.with_length(RANKS_FROM_STEPS).schedule(max(1, videos // config.batch_size)).total


def course_of(request: SearchRequest, lists: Lists) -> Course:
    """What the race is run on: any clip, unless one or a space with one is asked for.

    Raises:
        VidnasError: no clip, and budgets that allow for any; a latency table of another clip.
    """
    held = holding(lists.train)
    clip, space = chosen_clip(request.space, held), None
    if request.space.space != "auto":
        space = resolve_space(request.space.space, clip=clip)
        space = space.with_classes(len(lists.train.classes), multi_label=lists.train.multi_label)
        clip = space.clip
    if "ms" in request.targets:
        set_threads(request.search.threads)  # those of the supernet, which searches under the same milliseconds
    latency = latency_of(request, keep=not request.dry_run)
    limits = Limits(request.targets, latency)
    course = Course(lists.train, held, limits, clip, space, request.space.streams, request.check)
    if latency is not None and request.latency_table is not None:
        check_table(request.latency_table, course)
    return course


def check_table(path: Path, course: Course) -> None:
    """Refuse a latency table of another clip before anything is trained; one that is not there will be measured.

    Raises:
        VidnasError: it is of another clip, or the race looks for one.
    """
    if not path.exists():
        return
    table = LatencyTable.load(path)
    if course.clip is None:
        raise VidnasError(
            f"{path}: this latency table is of the clip {table.clip}, and a race looks for one; add --clip, or leave "
            "the table out, and it will be measured"
        )
    if str(course.clip) != str(table.clip):
        raise VidnasError(
            f"{path}: this latency table is of the clip {table.clip}, the race of {course.clip}; name another file, "
            "and it will be measured"
        )


@contextmanager
def _held(request: SearchRequest) -> Iterator[None]:
    """Keep the run folder, unless nothing is to be written there.

    Raises:
        VidnasError: another command is in it, or it holds another run.
    """
    with nullcontext() if request.dry_run else RunFolder(request.out).lock():
        if not request.dry_run:
            refuse_another_run(request)
        yield
