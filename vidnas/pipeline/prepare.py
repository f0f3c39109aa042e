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
from vidnas.pipeline.clip_probe import keep_probe, kept_probe
from vidnas.pipeline.job import Job, keep_job, list_hashes
from vidnas.pipeline.latency import MeasuredLatency, measured_latency
from vidnas.pipeline.lists import SEARCH_PARTS, Lists, load_lists
from vidnas.pipeline.method import supernet_warning
from vidnas.pipeline.out import check_out
from vidnas.pipeline.plan import SearchPlan, SpaceChoice, plan_search
from vidnas.pipeline.progressive import check_steps, divided, step_folder
from vidnas.pipeline.search import prepare_process
from vidnas.pipeline.settle import JobSettings, keep, kept, settle
from vidnas.search.space.progressive import STEPS
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
            check_steps(space, divided(space, self.targets, self.search, self.step_macs))

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


def job_settings(
    request: SearchRequest, inputs: SearchInputs, training: TrainConfig | None = None, trainings: int = 0
) -> JobSettings | None:
    """The settings after any time limit, those of the start for a resumed run; None for a dry run.

    Says what the job will take, and what to expect of a supernet that is trained shortly.

    Args:
        request: what is asked for.
        inputs: what it was prepared to.
        training: settings of the trainings that are to keep the limit too; None where none follow.
        trainings: how many follow.
    """
    settings = together(kept, inputs.config, training, request.settings_file) if request.resume else None
    fresh = settings is None
    if settings is None:
        settings = settle(inputs.plan, inputs.data, inputs.config, training, trainings, request.max_hours)
    log.info(settings.line)
    if told := supernet_warning(settings.search.schedule(inputs.data.steps_per_epoch).total):
        log.info(f"note: {told}")
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


def read_lists(request: SearchRequest, parts: Collection[str]) -> Lists:
    """The lists of a request, with what the user should know said.

    Raises:
        VidnasError: as `load_lists` and `check_out`.
    """
    lists = load_lists(request.data, parts=parts)
    for notice in lists.notices:
        log.info(f"note: {notice}")
    check_out(request.out, request.data.path, (lists.train, lists.test))
    return lists


def _prepare(request: SearchRequest, config: SearchConfig, held: ExitStack) -> SearchInputs:
    refuse_another_run(request)
    lists = read_lists(request, SEARCH_PARTS)
    # What is measured is kept in the run folder; a dry run keeps what a later command with several processes needs.
    keep = not request.dry_run or request.latency_table is None
    if "ms" in request.targets and keep:
        _hold(request, held)
    probe = kept_probe(lists.train, request.probe_file) if request.resume else None
    plan = plan_search(lists.train, request.targets, request.space, config.seed, latency_of(request, keep=keep), probe)
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


def refuse_another_run(request: SearchRequest) -> None:
    """Refuse the folder of a search that was begun, unless it is to go on.

    Raises:
        VidnasError: it is one.
    """
    if request.settings_file.exists() and not (request.resume or request.dry_run):
        raise VidnasError(f"{request.out}: holds a run already; add --resume to go on with it, or choose another --out")


def _hold(request: SearchRequest, held: ExitStack) -> None:
    """Keep the run folder, before anything is written there."""
    held.enter_context(RunFolder(request.out).lock())
    refuse_another_run(request)  # one may have come and gone meanwhile


def latency_of(request: SearchRequest, *, keep: bool) -> MeasuredLatency | None:
    """What knows milliseconds, where a budget needs it.

    Args:
        request: what is asked for.
        keep: write what is measured of whole networks into the run folder, so that a resumed run need not.

    Raises:
        VidnasError: several processes and no table, or measurements in the folder that do not hold here.
    """
    latency = measured_latency(request.targets, request.device, request.out, request.latency_table, keep=keep)
    if latency is not None and get_world_size() > 1 and not latency.path.exists():
        raise VidnasError(
            f"{latency.path}: one process must measure this latency table: give the command once with --dry-run, no "
            "torchrun"
        )
    return latency
