"""A family of networks from one search: for every target the best that the trained supernet has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidnas.arch.cost import format_amount, network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.base.files import read_json, replace_file, write_json
from vidnas.base.log import log
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.run.state import check_identity
from vidnas.engine.supernet.candidates import candidates_from, probable_candidates
from vidnas.engine.supernet.fixed_batches import FixedBatches
from vidnas.engine.tasks.registry import task_of
from vidnas.engine.tasks.task import Task
from vidnas.engine.trials.executors import IN_THIS_PROCESS, Executor
from vidnas.engine.trials.job import TrialJob, TrialResult
from vidnas.pipeline.baselines import best_choices, evolution_settings
from vidnas.pipeline.family_training import WEIGHTS, FamilyTraining, member_jobs, read_trials, train_members
from vidnas.pipeline.finished_search import FinishedSearch
from vidnas.pipeline.plan import reachable
from vidnas.pipeline.search import candidate_record, costs_of, judge_on_holdout
from vidnas.search.baselines import evolution
from vidnas.search.budget import Budget, between
from vidnas.search.costs import CostTable

# What a network uses of its target. Shared weights of a short search favour small networks; without this a family's
# largest could be smaller than its smallest.
_USED = 0.8


@dataclass(frozen=True)
class Member:
    """A network of the family.

    Attributes:
        label: the target as a name: 500M, 1.5M_params, 30ms.
        spec: the network.
        folder: where it lies.
        record: its result.json; the first of the candidates is the one chosen.
        trials: by the origin of the weights, where there were any.
    """

    label: str
    spec: ArchSpec
    folder: Path
    record: Mapping[str, Any]
    trials: Mapping[str, TrialResult]

    @property
    def task(self) -> Task:
        """What its networks learn."""
        return task_of(self.spec.head)

    @property
    def holdout_key(self) -> str:
        """The name of the headline figure on the holdout, in the candidates."""
        return f"holdout_{self.task.headline.name}"

    @property
    def chosen(self) -> Mapping[str, Any]:
        """The candidate that it was."""
        candidate: Mapping[str, Any] = self.record["candidates"][0]
        return candidate


def target_label(metric: str, target: float) -> str:
    """`500M`, `2G`, `1.5M_params`, `30ms`: the same for every way to write a target."""
    if metric == "ms":
        return f"{target:.6g}ms"
    unit, name = next(pair for pair in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (0.0, "")) if target >= pair[0])
    amount = f"{target / (unit or 1):.6g}{name}"
    return amount if metric == "macs" else f"{amount}_{metric}"


def derive_family(
    finished: FinishedSearch,
    metric: str,
    targets: Sequence[float],
    evaluations: int,
    training: FamilyTraining,
    executor: Executor = IN_THIS_PROCESS,
) -> list[Member]:
    """One network per target, in RUN/derived/<target>; what an earlier call did is not done again.

    Args:
        finished: the search.
        metric: what the targets count: macs, params, activations, or ms where the search had a latency table.
        targets: costs of one clip.
        evaluations: architectures that evolution scores per target.
        training: how they are trained, if at all.
        executor: runs the trainings, of all networks together.

    Raises:
        VidnasError: no such metric here, or a target that the space cannot meet; nothing is done then. Or a training
            failed; the others are done then.
        Interrupted: stopped by a signal; the same command goes on.
    """
    costs = finished.costs(metric)
    for target in targets:
        reachable(Budget(costs, target))
    root = finished.root / "derived"
    folders: list[Path] = []
    jobs: list[TrialJob] = []
    with RunFolder(finished.root).lock():
        scorer: FixedBatches | None = None
        for label, target in {target_label(metric, target): target for target in targets}.items():
            folder = root / label
            if not (folder / "result.json").exists():
                folder.mkdir(parents=True, exist_ok=True)
                scorer = scorer or finished.scorer()
                _find(finished, costs, target, scorer, evaluations, folder)
            member = _member(finished, folder)
            log.info(f"{member.spec.name}: {network_cost(member.spec)}, from {' and '.join(member.chosen['from'])}")
            folders.append(folder)
            jobs += member_jobs(finished, member.spec, tuple(member.record["choice"]), folder, training)
        trials = train_members(jobs, executor)
        members = [_member(finished, folder) for folder in folders]
        write_json(root / "family.json", [_row(member) for member in members])
    for trial in trials:
        trial.check()
    return members


def table(members: Sequence[Member]) -> str:
    """Cost, accuracy on the holdout with the shared weights, and on the test list by the origin of the weights."""
    kinds = [kind for kind in WEIGHTS if any(kind in member.trials for member in members)]
    rows = [
        [
            "target",
            "cost",
            f"holdout {members[0].task.headline.text}, shared weights",
            *(kind.replace("_", "-") for kind in kinds),
        ]
    ]
    for member in members:
        costs = {"macs": network_cost(member.spec).macs, **member.record["cost"]}
        cost = f"{', '.join(format_amount(*pair) for pair in costs.items())} @ {member.spec.clip}"
        cells = [_cell(member.trials.get(kind)) for kind in kinds]
        rows.append([member.label, cost, f"{member.chosen[member.holdout_key]:.1%}", *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if any_trial := next((trial for member in members for trial in member.trials.values()), None):
        test = any_trial.tested()
        lines.append(
            f"{', '.join(rows[0][3:])}: {test.headline_figure.text} on {len(test.paths)} test videos, "
            f"{test.views} views, one seed; in brackets the steps of each network's own training"
        )
    return "\n".join(lines)


def _find(
    finished: FinishedSearch, costs: CostTable, target: float, scorer: FixedBatches, evaluations: int, folder: Path
) -> None:
    """Candidates from the distribution, and from evolution that starts with them; the holdout decides."""
    distribution, number = finished.search.alpha.distribution, finished.config.candidates
    budgets = between(costs, _USED * target, target)
    probable = probable_candidates(distribution, budgets, number)
    start = [candidate.choice for candidate in probable]
    scorer(start)
    settings = evolution_settings(evaluations)
    evaluated = evolution(scorer, budgets, evaluations, finished.config.seed, settings, start)
    evolved = best_choices(evaluated, number)
    others = candidates_from([choice for choice in evolved if choice not in start], distribution, budgets)
    judged = judge_on_holdout(finished.search, probable + others, finished.data)
    sources = {"k-best": start, "evolution": evolved}
    chosen = judged[0].derived
    record = {
        "metric": costs.metric,
        "target": target,
        "choice": list(chosen.choice),
        "cost": costs_of(chosen.choice, budgets[:1]),
        "clip": str(finished.space.clip),
        "evaluations": evaluations,
        "candidates": [
            {
                **candidate_record(candidate, budgets[:1], task_of(finished.space.head)),
                "from": [name for name, choices in sources.items() if candidate.derived.choice in choices],
                "alpha_log_likelihood": scorer.known[candidate.derived.choice] / scorer.clips,
            }
            for candidate in judged
        ],
        "identity": finished.record["identity"],
    }
    spec = finished.spec(chosen.choice, f"derived_{folder.name}")
    replace_file(folder / "searched.json", spec.to_json())
    write_json(folder / "result.json", record)


def _member(finished: FinishedSearch, folder: Path) -> Member:
    record = read_json(folder / "result.json")
    check_identity(record["identity"], finished.record["identity"], folder / "result.json")
    spec = ArchSpec.load(folder / "searched.json")
    return Member(folder.name, spec, folder, record, read_trials(spec, folder))


def _cell(trial: TrialResult | None) -> str:
    return "-" if trial is None else f"{trial.tested().headline:.1%} ({trial.steps})"


def _row(member: Member) -> dict[str, Any]:
    cost = network_cost(member.spec)
    return {
        "target": member.label,
        "spec": f"{member.label}/searched.json",
        "macs": cost.macs,
        "params": cost.params,
        **member.record["cost"],
        "clip": cost.clip,
        "from": member.chosen["from"],
        member.holdout_key: member.chosen[member.holdout_key],
        "tests": {kind: _figures(trial) for kind, trial in member.trials.items()},
    }


def _figures(trial: TrialResult) -> dict[str, Any]:
    test = trial.tested()
    return {
        test.headline_figure.name: test.headline,
        "videos": len(test.paths),
        "views": test.views,
        "steps": trial.steps,
    }
