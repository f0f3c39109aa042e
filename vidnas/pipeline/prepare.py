"""From what is asked for to a search that can start: processes met, lists read, a space chosen, the folder held."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

from vidnas.arch.latency import Device
from vidnas.base.errors import VidnasError
from vidnas.base.log import is_first_process, log
from vidnas.data.datamodule import DataConfig
from vidnas.data.groups import group_notice
from vidnas.data.sampler import repeat_notice
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.run.processes import get_world_size, together
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.data import SearchData
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.trials.executors import Executor
from vidnas.pipeline.clip_probe import keep_probe, kept_probe
from vidnas.pipeline.job import Job, keep_job, list_hashes
from vidnas.pipeline.latency import MeasuredLatency
from vidnas.pipeline.lists import SEARCH_PARTS, Lists, holding, load_lists
from vidnas.pipeline.method import RANKS_FROM_STEPS, STEPS_OF_A_SEARCH, MethodTimes
from vidnas.pipeline.out import check_out
from vidnas.pipeline.plan import SearchPlan, SpaceChoice, chosen_clip, plan_search
from vidnas.pipeline.progressive import check_steps, divided, step_folder
from vidnas.pipeline.race.config import RaceConfig
from vidnas.pipeline.race.course import Course
from vidnas.pipeline.race.estimate import step_seconds, trial_seconds
from vidnas.pipeline.race.plan import least_trials
from vidnas.pipeline.race.race import Race
from vidnas.pipeline.search import prepare_process
from vidnas.pipeline.settle import JobSettings, keep, kept, settle
from vidnas.search.space.progressive import STEPS
from vidnas.search.space.published.registry import resolve_space
from vidnas.search.space.space import Space


@dataclass(frozen=True)
class SearchRequest:
    """A search as it is asked for.

    Attributes:
        out: run folder.
        data: where the videos are, and how clips are made.
        targets: budgets by metric, at least one.
        space: where to search.
        search: settings.
        device: what milliseconds are of.
        latency_table: where their measurements are kept; None is in the run folder.
        resume: go on with the run in the folder.
        dry_run: nothing is to be written.
        max_hours: what the job may take; None is as long as it does.
        search_folder: of the search within the run folder: `search`, or `.`.
        progressive: search the space, of two streams, in steps.
        step_macs: what the first steps leave, in multiply-adds; None is the paper's shares of the targets.
    """

    out: Path
    data: DataConfig
    targets: Mapping[str, float]
    space: SpaceChoice
    search: SearchConfig
    device: Device = "cpu"
    latency_table: Path | None = None
    resume: bool = False
    dry_run: bool = False
    max_hours: float | None = None
    search_folder: str = "."
    progressive: bool = False
    step_macs: tuple[float, ...] | None = None

    @property
    def step_folders(self) -> tuple[str, ...]:
        """Of every search on a supernet that there is, in their order, within the run folder."""
        if not self.progressive:
            return (self.search_folder,)
        return tuple(str(PurePath(self.search_folder, step_folder(step))) for step in range(len(STEPS)))

    def check(self, space: Space) -> None:
        """Make sure that a space can be searched as it is asked for.

        Raises:
            VidnasError: not step by step.
        """
        if self.progressive:
            check_steps(space, divided(self.targets, self.search, self.step_macs))

    @property
    def settings_file(self) -> Path:
        """The first file of a run: its settings after any time limit."""
        return self.out / "settled.json"

    @property
    def probe_file(self) -> Path:
        """What a look at the videos found, from which the clip follows."""
        return self.out / "probe.json"


@dataclass(frozen=True)
class SearchInputs:
    """What a search starts with.

    Attributes:
        lists: training and test list.
        plan: space, budgets and parts.
        data: the parts as clips.
        config: settings, for the number of processes that there are.
    """

    lists: Lists
    plan: SearchPlan
    data: SearchData
    config: SearchConfig


@contextmanager
def prepare_search(request: SearchRequest) -> Iterator[SearchInputs]:
    """Meet the other processes, read the lists and choose the space; says what was chosen.

    The run folder is kept from other commands until the end, unless this is a dry run.

    Raises:
        VidnasError: anything about videos, folder, budgets or space that will not do.
    """
    threads = None
    if request.resume:
        folder = RunFolder(request.out / request.step_folders[0])
        threads = folder.threads_to_resume(request.search.threads, "search")
    config = prepare_process(request.search, threads)
    with ExitStack() as held:
        yield together(_prepare, request, config, held)


@dataclass(frozen=True)
class RaceInputs:
    """What a run by race starts with."""

    lists: Lists
    race: Race


@contextmanager
def prepare_race(
    request: SearchRequest,
    training: TrainConfig,
    config: RaceConfig,
    executor: Executor,
    max_hours: float | None,
    reserved: int,
) -> Iterator[RaceInputs | None]:
    """Read the lists and plan the race in OUT/race; None for a dry run, which says what it would take.

    The run folder is kept from other commands until the end.

    Args:
        request: what is asked for.
        training: of every network.
        config: of the race.
        executor: runs the trainings.
        max_hours: for the race and the trainings that follow.
        reserved: how many follow.

    Raises:
        VidnasError: anything about videos, folder, budget or groups that will not do.
    """
    lists = _read_lists(request, config.seed, ("train",))
    course = _course(request, lists)
    with ExitStack() as kept_folder:
        if not request.dry_run:
            kept_folder.enter_context(RunFolder(request.out).lock())
            _refuse_another_run(request)
        race = Race(
            course,
            request.data,
            training,
            config,
            request.out / "race",
            executor,
            resume=request.resume,
            max_hours=max_hours,
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
    lists = load_lists(request.data, config.seed, parts=("train",))
    course = _course(request, lists)
    training = training.with_length(len(lists.train), len(lists.train.classes))
    starting = course.clips()
    trial_sec = trial_seconds([one.spec for one in starting], training, executor.workers, executor.threads)
    step_sec = step_seconds(starting[0].spec, training, executor.threads * executor.workers)
    return MethodTimes(
        given_sec=3600 * request.max_hours,
        trial_sec=trial_sec,
        least=least_trials(len(starting)),
        wanted=config.trials,
        reserved=reserved,
        supernet_sec=RANKS_FROM_STEPS * STEPS_OF_A_SEARCH * step_sec,
    )


def _course(request: SearchRequest, lists: Lists) -> Course:
    """What the race is run on: any clip, unless one or a space with one is asked for."""
    held = holding(lists.train)
    clip, space = chosen_clip(request.space, held), None
    if request.space.space != "auto":
        space = resolve_space(request.space.space, clip=clip)
        space = space.with_classes(len(lists.train.classes), multi_label=lists.train.multi_label)
        clip = space.clip
    return Course(lists.train, held, request.targets["macs"], clip, space, request.space.streams, request.check)


def job_settings(
    request: SearchRequest, inputs: SearchInputs, training: TrainConfig | None = None
) -> JobSettings | None:
    """The settings after any time limit, those of the start for a resumed run; None for a dry run.

    Says what the job will take.
    """
    settings = together(kept, inputs.config, training, request.settings_file) if request.resume else None
    fresh = settings is None
    if settings is None:
        settings = settle(inputs.plan, inputs.data, inputs.config, training, request.max_hours)
    log.info(settings.line)
    if request.dry_run:
        return None
    if fresh and is_first_process():
        keep(settings, request.settings_file)
    return settings


def remember(request: SearchRequest, inputs: SearchInputs, training: TrainConfig, views: str) -> None:
    """Note in the run folder what later commands on it must know."""
    if is_first_process():
        job = Job(request.step_folders[-1], request.data, training, views, list_hashes(inputs.lists))
        keep_job(job, request.out)


def _read_lists(request: SearchRequest, seed: int, parts: Collection[str]) -> Lists:
    lists = load_lists(request.data, seed, parts=parts)
    for notice in lists.notices:
        log.info(f"note: {notice}")
    check_out(request.out, request.data.path, (lists.train, lists.test))
    return lists


def _prepare(request: SearchRequest, config: SearchConfig, held: ExitStack) -> SearchInputs:
    _refuse_another_run(request)
    lists = _read_lists(request, config.seed, SEARCH_PARTS)
    if "ms" in request.targets and request.latency_table is None:  # which is measured into the run folder
        _hold(request, held)
    probe = kept_probe(lists.train, request.probe_file) if request.resume else None
    plan = plan_search(lists.train, request.targets, request.space, config.seed, _latency(request), probe)
    request.check(plan.space)
    log.info(plan.explanation)
    sizes = ", ".join(f"{len(part)} for {name}" for name, part in plan.parts.items())
    log.info(f"{len(lists.train)} training videos ({sizes}), {len(lists.test)} test videos")
    if told := group_notice(plan.parts):
        log.info(f"note: {told}")
    for part, size, option in (
        ("weights", config.batch_size, "--search.batch-size"),
        ("alpha", config.score_batch_size, "--search.alpha-batch-size"),
    ):
        if repeats := repeat_notice(size, len(plan.parts[part]), part, option):
            log.info(repeats)
    if not request.dry_run:
        _hold(request, held)
        if plan.probe is not None and is_first_process():
            keep_probe(plan.probe, plan.train, request.probe_file)
    data = SearchData(plan.train, plan.parts, plan.space.clip, request.data, config)
    return SearchInputs(lists, plan, data, config)


def _refuse_another_run(request: SearchRequest) -> None:
    if request.settings_file.exists() and not (request.resume or request.dry_run):
        raise VidnasError(f"{request.out}: holds a run already; add --resume to go on with it, or choose another --out")


def _hold(request: SearchRequest, held: ExitStack) -> None:
    """Keep the run folder, before anything is written there."""
    held.enter_context(RunFolder(request.out).lock())
    _refuse_another_run(request)  # one may have come and gone meanwhile


def _latency(request: SearchRequest) -> MeasuredLatency | None:
    """What knows milliseconds, where a budget needs it."""
    if "ms" not in request.targets:
        return None
    path = request.latency_table or request.out / "latency.json"
    if get_world_size() > 1 and not path.exists():
        raise VidnasError(
            f"{path}: one process must measure this latency table: give the command once with --dry-run, no torchrun"
        )
    return MeasuredLatency(request.device, path)
