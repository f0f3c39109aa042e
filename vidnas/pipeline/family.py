"""A family of networks from one search: per target the best that the trained supernet has, trained if asked for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidnas.arch.cost import format_macs, network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.data.augment import Views
from vidnas.engine.candidates import found_otherwise, probable_candidates
from vidnas.engine.config import TrainConfig
from vidnas.engine.files import read_json, replace_file, write_json
from vidnas.engine.fixed_batches import FixedBatches
from vidnas.engine.recalibrate import recalibrate_norms
from vidnas.engine.run_folder import RunFolder
from vidnas.engine.supernet_search import check_fingerprint
from vidnas.engine.test import test
from vidnas.nn.build import VideoNetwork, build
from vidnas.nn.weights import load_model, save_model
from vidnas.pipeline.baselines import best_choices, evolution_settings
from vidnas.pipeline.finished_search import FinishedSearch, Notify
from vidnas.pipeline.plan import reachable
from vidnas.pipeline.search import candidate_record, judge_on_holdout
from vidnas.pipeline.stand_alone import train_and_test
from vidnas.search.baselines import evolution
from vidnas.search.budget import Budget
from vidnas.search.costs import CostTable
from vidnas.search.space import Choice
from vidnas.search.supernet import extract

# Where a network's weights may come from, and the folders of their tests.
KINDS = ("inherited", "fine_tuned", "scratch")
# Fine-tuning takes this part of the epochs, of the warm-up and of the learning rate of a training from scratch.
FINE_TUNING = 1 / 3


@dataclass(frozen=True)
class FamilySettings:
    """What is done for every target.

    Attributes:
        evaluations: architectures that evolution scores.
        inherit: take the supernet's weights along and fine-tune them.
        scratch: train from random weights.
        epochs: of a training from scratch; None is as in the run.
        fine_tune_epochs: None is a third of those.
        fine_tune_lr: peak learning rate; None is a third of the run's.
    """

    evaluations: int = 200
    inherit: bool = False
    scratch: bool = False
    epochs: int | None = None
    fine_tune_epochs: int | None = None
    fine_tune_lr: float | None = None

    def scratch_config(self, training: TrainConfig) -> TrainConfig:
        """Settings of a training from random weights."""
        return training if self.epochs is None else replace(training, epochs=self.epochs, steps=None)

    def fine_tune_config(self, training: TrainConfig) -> TrainConfig:
        """Settings of a training that starts from the supernet's weights."""
        whole = self.scratch_config(training)
        steps = math.ceil(whole.steps * FINE_TUNING) if whole.steps and self.fine_tune_epochs is None else None
        return replace(
            whole,
            epochs=self.fine_tune_epochs or math.ceil(whole.epochs * FINE_TUNING),
            steps=steps,
            lr=self.fine_tune_lr or whole.peak_lr * FINE_TUNING,
            warmup_epochs=whole.warmup_epochs * FINE_TUNING,
        )


@dataclass(frozen=True)
class Member:
    """A network of the family.

    Attributes:
        label: the target as a name, 500M.
        spec: the network.
        choice: its place in the space.
        folder: where it lies.
        record: its result.json.
        tests: summaries by kind of weights: inherited, fine_tuned, scratch.
    """

    label: str
    spec: ArchSpec
    choice: Choice
    folder: Path
    record: Mapping[str, Any]
    tests: Mapping[str, Mapping[str, Any]]


def target_label(macs: float) -> str:
    """`500M`, `2G`: the same for every way to write a target."""
    unit, name = next(pair for pair in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")) if macs >= pair[0])
    return f"{macs / unit:.6g}{name}"


def derive_family(
    finished: FinishedSearch, targets_macs: Sequence[float], settings: FamilySettings, notify: Notify
) -> list[Member]:
    """One network per target, in RUN/derived/<target>; what an earlier call did is not done again.

    Args:
        finished: the search.
        targets_macs: multiply-adds of one clip.
        settings: what is done for each.
        notify: takes a line for the user.

    Raises:
        VidnasError: a target that the space cannot meet; nothing is done then.
        Interrupted: stopped by a signal; the same command goes on.
    """
    table = CostTable.of(finished.space)
    for target in targets_macs:
        reachable(table, target)
    root = finished.root / "derived"
    members = []
    with RunFolder(root).lock():
        scorer: FixedBatches | None = None
        for label, target in {target_label(target): target for target in targets_macs}.items():
            folder = root / label
            folder.mkdir(exist_ok=True)
            if not (folder / "result.json").exists():
                scorer = scorer or finished.scorer()
                _find(finished, Budget(table, target), scorer, settings.evaluations, label, folder)
            member = _member(finished, label, folder)
            notify(f"{member.spec.name}: {network_cost(member.spec)}, from {' and '.join(_chosen(member)['from'])}")
            members.append(_trained(finished, member, settings, notify))
        write_json(root / "family.json", [_row(member) for member in members])
    return members


def table(members: Sequence[Member]) -> str:
    """Cost, and accuracy by kind of weights: on the holdout with the supernet's, on the test list after training."""
    kinds = [kind for kind in KINDS if any(kind in m.tests for m in members)]
    rows = [["target", "cost", "holdout, shared weights", *(kind.replace("_", "-") for kind in kinds)]]
    for member in members:
        cost = f"{format_macs(network_cost(member.spec).macs)} @ {member.spec.clip}"
        shown = [f"{_chosen(member)['holdout_top1']:.1%}"]
        shown += [f"{member.tests[kind]['top1']:.1%}" if kind in member.tests else "-" for kind in kinds]
        rows.append([member.label, cost, *shown])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    tested = next((test for member in members for test in member.tests.values()), None)
    if tested is not None:
        lines.append(f"top-1 of {', '.join(kinds)}: {tested['videos']} test videos, {tested['views']} views, one seed")
    return "\n".join(lines)


def _find(
    finished: FinishedSearch, budget: Budget, scorer: FixedBatches, evaluations: int, label: str, folder: Path
) -> None:
    """Candidates from the distribution and from evolution that starts with them; the holdout decides."""
    search, budgets, number = finished.search, [budget], finished.config.candidates
    probable = probable_candidates(search.alpha.distribution, budgets, number)
    start = [candidate.choice for candidate in probable]
    scorer(start)
    evaluated = evolution(scorer, budgets, evaluations, search.config.seed, evolution_settings(evaluations), start)
    evolved = best_choices(evaluated, number)
    others = [choice for choice in evolved if choice not in start]
    candidates = probable + found_otherwise(others, search.alpha.distribution, budgets)
    judged = judge_on_holdout(search, candidates, finished.data)
    sources = {"k-best": start, "evolution": evolved}
    record = {
        "target_macs": budget.target,
        "choice": list(judged[0].derived.choice),
        "macs": judged[0].derived.cost,
        "clip": str(finished.space.clip),
        "evaluations": evaluations,
        "candidates": [
            {
                **candidate_record(candidate),
                "from": [name for name, choices in sources.items() if candidate.derived.choice in choices],
                "alpha_log_likelihood": scorer.known[candidate.derived.choice] / scorer.clips,
            }
            for candidate in judged
        ],
        "fingerprint": finished.record["fingerprint"],
    }
    spec = finished.spec(judged[0].derived.choice, f"derived_{label}")
    replace_file(folder / "searched.json", spec.to_json().encode())
    write_json(folder / "result.json", record)


def _member(finished: FinishedSearch, label: str, folder: Path) -> Member:
    record = read_json(folder / "result.json")
    check_fingerprint(record["fingerprint"], finished.record["fingerprint"], folder / "result.json")
    spec = ArchSpec.load(folder / "searched.json")
    summaries = {kind: RunFolder(folder / kind).test / "result.json" for kind in KINDS}
    tests = {kind: read_json(path) for kind, path in summaries.items() if path.exists()}
    return Member(label, spec, tuple(record["choice"]), folder, record, tests)


def _trained(finished: FinishedSearch, member: Member, settings: FamilySettings, notify: Notify) -> Member:
    training = finished.job.training
    tests = dict(member.tests)
    views = Views.parse(finished.job.views)

    def trained(network: ArchSpec | VideoNetwork, config: TrainConfig, kind: str) -> None:
        lists, folder = finished.lists, member.folder / kind
        length = f"{config.steps} steps" if config.steps else f"{config.epochs} epochs"
        notify(f"{member.spec.name}, {kind}: {length}, peak lr {config.peak_lr:.3g}")
        tests[kind] = train_and_test(network, lists.train, lists.test, config, finished.job.data, views, folder, notify)

    if settings.inherit:
        network = _inherited(finished, member)
        tests["inherited"] = _tested(finished, network, member.folder / "inherited", views)
        trained(network, settings.fine_tune_config(training), "fine_tuned")
    if settings.scratch:
        trained(member.spec, settings.scratch_config(training), "scratch")
    return replace(member, tests=tests)


def _inherited(finished: FinishedSearch, member: Member) -> VideoNetwork:
    """The network with the supernet's weights and norm statistics of its own, kept as a model file."""
    folder = RunFolder(member.folder / "inherited")
    if folder.is_finished:
        return load_model(folder.root)[0]
    data = finished.job.data
    device = finished.search.fabric.device
    extracted = extract(finished.search.supernet, member.choice)
    recalibrate_norms(extracted, (clips.to(device) for clips in finished.data.norm_clips()))
    network = build(member.spec)
    network.load_state_dict(extracted.state_dict())
    folder.root.mkdir(exist_ok=True)
    made_from = {
        "list": finished.lists.train.content_hash,
        "group_regex": data.group_regex,
        "jitter": list(data.jitter),
        "kept": f"the supernet's weights, norm statistics from {finished.config.norm_batches} batches",
    }
    save_model(folder.root, network, classes=finished.lists.train.classes, config=made_from)
    return network


def _tested(finished: FinishedSearch, network: VideoNetwork, folder: Path, views: Views) -> Mapping[str, Any]:
    summary = RunFolder(folder).test / "result.json"
    if not summary.exists():
        config = finished.job.training
        result = test(
            network, finished.lists.test, finished.job.data, views, batch_size=config.batch_size, device=config.device
        )
        result.save(summary.parent)
    return dict(read_json(summary))


def _chosen(member: Member) -> Mapping[str, Any]:
    chosen: Mapping[str, Any] = member.record["candidates"][0]
    return chosen


def _row(member: Member) -> dict[str, Any]:
    cost = network_cost(member.spec)
    return {
        "target": member.label,
        "spec": f"{member.folder.name}/searched.json",
        "macs": cost.macs,
        "params": cost.params,
        "clip": cost.clip,
        "from": _chosen(member)["from"],
        "holdout_top1": _chosen(member)["holdout_top1"],
        "test_top1": {kind: test["top1"] for kind, test in member.tests.items()},
    }
