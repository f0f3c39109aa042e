"""A finished search, opened again: the trained supernet, its distribution, and the data they were made with."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidnas.arch.latency import LatencyTable
from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.base.files import read_json
from vidnas.data.datamodule import DataConfig
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.run.state import check_identity
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.data import SearchData
from vidnas.engine.supernet.fixed_batches import FixedBatches
from vidnas.engine.supernet.folder import SearchFolder
from vidnas.engine.supernet.search import SupernetSearch
from vidnas.engine.train.config import TrainConfig
from vidnas.pipeline.job import Job, check_lists, list_hashes, load_job
from vidnas.pipeline.lists import Lists, load_lists, search_parts
from vidnas.pipeline.plan import SearchPlan
from vidnas.pipeline.search import load_trained, new_search, parts_identity, prepare_process
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable, analytic
from vidnas.search.latency_costs import latency_costs
from vidnas.search.space.space import Choice, Space


@dataclass(frozen=True)
class FinishedSearch:
    """All that derivation, fronts and rankings start from.

    Attributes:
        root: the run folder, where results go.
        folder: files of the search.
        record: its result.json.
        job: data, training and test settings of the run.
        lists: training and test list.
        plan: space, target and parts.
        data: the parts as clips.
        search: supernet and distribution as they were at the end.
    """

    root: Path
    folder: SearchFolder
    record: Mapping[str, Any]
    job: Job
    lists: Lists
    plan: SearchPlan
    data: SearchData
    search: SupernetSearch

    @property
    def config(self) -> SearchConfig:
        """Settings of the search."""
        return self.search.config

    @property
    def training(self) -> TrainConfig:
        """How its networks are trained on the whole list."""
        train = self.lists.train
        return self.job.training.with_length(len(train), len(train.classes))

    @property
    def space(self) -> Space:
        """What was searched."""
        return self.plan.space

    @property
    def chosen(self) -> Choice:
        """What the search derived."""
        return tuple(self.record["choice"])

    def costs(self, metric: str) -> CostTable:
        """Costs of choices in a metric; milliseconds are those that the search was given.

        Raises:
            VidnasError: milliseconds, and it had none.
        """
        for budget in self.plan.budgets:
            if budget.costs.metric == metric and isinstance(budget.costs, CostTable):
                return budget.costs
        if metric == "ms":
            raise VidnasError(
                f"{self.root}: the search had no budget in milliseconds, so nothing was timed; count macs, params or "
                "activations, or search with --target-ms"
            )
        return CostTable.of(self.space, analytic(metric))

    def scorer(self) -> FixedBatches:
        """Scores on clips of alpha's part, the same for all architectures."""
        return FixedBatches(self.search, self.data.scoring_batches(self.data.comparison_batches))

    def spec(self, choice: Choice, name: str) -> ArchSpec:
        """The network of a choice under a name."""
        return self.space.decode(choice).model_copy(update={"name": name})


def open_search(
    root: Path,
    *,
    data_path: Path | None = None,
    test_path: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> FinishedSearch:
    """Open what `vidnas search` or `vidnas run` left.

    Args:
        root: its `--out`.
        data_path: where the data set is now, if it was moved.
        test_path: where the test list is now, if it lies elsewhere and was moved.
        device: auto, cpu or cuda.
        threads: CPU threads; None is as in the search.

    Raises:
        VidnasError: no finished search there, or other data than it was made with.
    """
    job = load_job(root)
    folder = SearchFolder(root / job.search)
    if not folder.result.exists():
        raise VidnasError(f"{root}: the search is not finished; its command with --resume goes on")
    record = read_json(folder.result)
    config = SearchConfig(**record["settings"])
    config = replace(config, device=device, threads=threads or config.threads)
    # Several processes would each start the whole command again.
    training = replace(job.training, device=device, devices=1, threads=threads or job.training.threads)
    job = replace(job, data=_moved(job.data, data_path, test_path), training=training)
    prepare_process(config, config.threads or RunFolder(folder.root).threads_begun("search"))
    space = Space.load(folder.space)
    lists = _lists(job, root)
    plan = _plan(space, lists, config, record, folder)
    own = {"space": space.content_hash, **parts_identity(plan)}
    check_identity({name: record["identity"][name] for name in own}, own, folder.result)
    data = SearchData(plan.train, plan.parts, plan.space.clip, job.data, config)
    search = new_search(plan, config.schedule(data.steps_per_epoch), config)
    load_trained(search, folder, record["identity"])
    return FinishedSearch(root, folder, record, job, lists, plan, data, search)


def _moved(data: DataConfig, path: Path | None, test_path: Path | None) -> DataConfig:
    return replace(data, path=path or data.path, test_path=test_path or data.test_path)


def _lists(job: Job, root: Path) -> Lists:
    if not job.data.path.exists():
        raise VidnasError(f"{job.data.path}: not there any more; --data says where the data of {root} are now")
    lists = load_lists(job.data)
    check_lists(job, list_hashes(lists), job.data.path, root)
    return lists


def _plan(
    space: Space, lists: Lists, config: SearchConfig, record: Mapping[str, Any], folder: SearchFolder
) -> SearchPlan:
    tables = {
        metric: latency_costs(space, LatencyTable.load(folder.latency))
        if metric == "ms"
        else CostTable.of(space, metric)
        for metric in record["targets"]
    }
    budgets = [Budget(tables[metric], target) for metric, target in record["targets"].items()]
    return SearchPlan(
        train=lists.train,
        space=space,
        budgets=tuple(budgets),
        ranges=tuple((table.cheapest()[1], table.dearest()[1]) for table in tables.values()),
        explanation=f"space {space.name}, as searched",
        parts=search_parts(lists.train, config.seed),
    )
