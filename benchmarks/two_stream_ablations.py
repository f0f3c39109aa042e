"""Auto-TSNet's ablations at a size for CPUs: what is searched alone, and progressive against one-step search.

    make two-stream-ablations DATA=DIR        DIR holds train.csv, test.csv and classes.txt, as of UTD-MHAD

Networks are those of the paper's tables with widths brought to a budget at a small clip. Searches see the training list
alone; every network is then trained on it from the same seeds, and tested once. Hours; given again it goes on where it
was, also from the result file alone.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from ablation_tables import TABLES, described, summary
from going_on import hold_to, settings

from vidnas.arch.cost import network_cost
from vidnas.arch.registry import get_spec
from vidnas.arch.scale import scaled_to_cost
from vidnas.arch.spec import ArchSpec, ClassificationSpec, ClipSpec
from vidnas.arch.zoo.tsnet import DENSE, SPARSE
from vidnas.base.files import replace_file, write_json
from vidnas.data.datamodule import DataConfig
from vidnas.data.processes import cores
from vidnas.engine.run.runtime import versions
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.data import SearchData
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.trials.executors import WorkerProcesses, run_jobs
from vidnas.engine.trials.job import TrialJob, TrialResult
from vidnas.pipeline.lists import Lists, load_lists
from vidnas.pipeline.plan import SpaceChoice, plan_search
from vidnas.pipeline.progressive import divided, search_progressively
from vidnas.pipeline.search import prepare_process, search_videos
from vidnas.search.costs import CostTable
from vidnas.search.limits import Limits
from vidnas.search.proposals import x3d_at
from vidnas.search.space.around import attention_around, fusions_around
from vidnas.search.space.progressive import step_space
from vidnas.search.space.published.auto import NODES_PER_CHANNEL, auto_space
from vidnas.search.space.published.auto_tsnet import ATTENTION
from vidnas.search.space.published.scaled_streams import two_streams_at
from vidnas.search.space.space import Space

X3D_DEPTH = 2.2
# Few architectures per step on alpha, the same in every search: 88 decisions would take some 30 by default.
SEARCH = SearchConfig(lr=0.003, alpha_batch_size=8, samples=4, alpha_every=2)


class Row(NamedTuple):
    """A network of a table."""

    table: int
    name: str
    spec: ArchSpec
    # What the search left beside the network; empty where it is made by hand.
    search: Mapping[str, Any]


@dataclass(frozen=True)
class Bench:
    """What all tables share."""

    lists: Lists
    data: DataConfig
    clip: ClipSpec
    macs: float
    search: SearchConfig
    work: Path
    searched: dict[str, Any]
    save: Callable[[], None]

    @property
    def head(self) -> ClassificationSpec:
        return ClassificationSpec(num_classes=len(self.lists.train.classes))

    def manual(self, name: str) -> ArchSpec:
        """A network of the zoo at this clip, as wide as the budget lets Manual-TSNet of its share be.

        Variants with other fusions or attention keep the widths of the one with five fusions, as in the paper.
        """
        structure = self._at_clip(name.removesuffix("_fusions_0").removesuffix("_fusions_10"))
        base = scaled_to_cost(structure, {"macs": self.macs})
        own = self._at_clip(name)
        return own.model_copy(update={"streams": base.streams})

    def manual_with_attention(self, name: str) -> ArchSpec:
        """Attention as wide as the groups that it stands in, which are those without."""
        base, groups = self.manual("manual_tsnet_70"), {}
        for s, stream in enumerate(get_spec(name).streams):
            groups[s] = [g for g, group in enumerate(stream.groups) if group.attention]
        space = attention_around(base, ATTENTION, nodes_per_channel=NODES_PER_CHANNEL)
        picked = {f"streams.{s}.groups.{g}.attention" for s, own in groups.items() for g in own}
        return space.decode(tuple(int(variable.path in picked) for variable in space.variables))

    def _at_clip(self, name: str) -> ArchSpec:
        return two_streams_at(get_spec(name), self.clip).model_copy(update={"head": self.head})

    def search_once(self, key: str, run: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """What a search has found, from the result file where it stands there."""
        if key not in self.searched:
            self.searched[key] = run(self.work / "searches" / key)
            self.save()
        found: dict[str, Any] = self.searched[key]
        return {**found}

    def two_streams(self) -> Space:
        """The published space, scaled to the budget."""
        return auto_space(self.macs, num_classes=self.head.num_classes, streams=2, clip=self.clip)[0]

    def one_step(
        self, space: Space, macs: float, *, budget_use: float | None = None
    ) -> Callable[[Path], dict[str, Any]]:
        """A search of a whole space on one supernet; of a budget it may leave what it likes with `budget_use` 0."""
        search = self.search if budget_use is None else replace(self.search, budget_use=budget_use)

        def run(folder: Path) -> dict[str, Any]:
            file = folder.parent / f"{folder.name}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(file, space.to_json())
            plan = plan_search(self.lists.train, {"macs": macs}, SpaceChoice(str(file)), self.search.seed)
            data = SearchData(plan.train, plan.parts, plan.space.clip, self.data, search)
            result = search_videos(plan, self.data, data, search, folder, resume=True)
            return {"spec": result.spec.model_dump(mode="json"), **_entropy(result.record), "sec": result.sec}

        return run

    def progressive(self, space: Space, macs: float) -> Callable[[Path], dict[str, Any]]:
        """A search in steps at the compute of one of the whole space, as far as their targets tell it.

        Most of them are on one stream alone, so there are more.
        """

        def run(folder: Path) -> dict[str, Any]:
            number = self.search.steps
            assert number is not None
            compute = sum(
                step.targets["macs"] * (step.search.steps or 0) for step in divided(space, {"macs": macs}, self.search)
            )
            longer = replace(self.search, steps=round(number * number * macs / compute))
            steps = divided(space, {"macs": macs}, longer)
            result = search_progressively(space, self.lists.train, steps, self.data, folder, resume=True)
            sec = sum(step.result.sec for step in result.steps)
            return {"spec": result.spec.model_dump(mode="json"), **_entropy(result.record), "sec": sec}

        return run


def _entropy(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in ("entropy", "entropy_share")}


def rows(bench: Bench, table: int, seed: int) -> Iterator[Row]:
    """The networks of a table of the paper; searches are run on the way."""

    def by_hand(name: str, spec: ArchSpec) -> Row:
        return Row(table, name, spec, {})

    def searched(name: str, key: str, run: Callable[[Path], dict[str, Any]]) -> Row:
        found = bench.search_once(f"{key}_{seed}", run)
        return Row(table, name, ArchSpec.from_data(found.pop("spec"), key), found)

    base = bench.manual("manual_tsnet_70")
    if table == 4:
        yield by_hand("X3D", x3d_at(bench.clip, Limits({"macs": bench.macs}), bench.head, X3D_DEPTH))
        for share in (85, 70, 55):
            yield by_hand(f"Manual-TSNet-{share}%", bench.manual(f"manual_tsnet_{share}"))
    elif table == 6:
        alone = base.alone(SPARSE)
        yield by_hand("sparse stream of Manual-TSNet-70%", alone)
        cost = network_cost(alone).macs
        space = bench.two_streams()
        yield searched("searched sparse stream", "backbone", bench.one_step(step_space(space, 0), cost))
    elif table == 7:
        for name in ("manual_tsnet_70_fusions_0", "manual_tsnet_70", "manual_tsnet_70_fusions_10"):
            spec = bench.manual(name)
            yield by_hand(f"{len(spec.fusions)} fusions", spec)
        space = fusions_around(base, ("none", "time_strided_convolution"), source=DENSE, target=SPARSE)
        yield searched("searched fusions", "fusions", bench.one_step(space, network_cost(base).macs, budget_use=0))
    elif table == 8:
        yield by_hand("without attention", base)
        for number in (2, 4, 6):
            yield by_hand(f"{number} GloRe", bench.manual_with_attention(f"manual_tsnet_70_glore_{number}"))
        space = attention_around(base, ATTENTION, nodes_per_channel=NODES_PER_CHANNEL)
        # Room for half of it, as the paper's 2.5 GMACs have: at this size attention costs little.
        with_attention = (network_cost(base).macs + CostTable.of(space).dearest()[1]) / 2
        run = bench.one_step(space, with_attention, budget_use=0)
        yield searched("searched attention", "attention", run)
    elif table == 9:
        space = bench.two_streams()
        yield searched("one step", "one_step", bench.one_step(space, bench.macs))
        yield searched("progressive", "progressive", bench.progressive(space, bench.macs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--group-regex", default=r"_s(\d+)_", help="'': every video is a group")
    parser.add_argument("--jitter", type=float, nargs=2, default=(1.0, 1.25))
    parser.add_argument("--clip", default="16x40")
    parser.add_argument("--macs", type=float, default=10e6)
    parser.add_argument("--tables", type=int, nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, help="of every training; default by rule")
    parser.add_argument(
        "--search-steps", type=int, default=3000, help="of a search, on the weights; a progressive one has more"
    )
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    data = DataConfig(
        options.data, group_regex=options.group_regex or None, jitter=tuple(options.jitter), augment="off", workers=0
    )
    lists = load_lists(data)
    training = TrainConfig(steps=options.steps).with_length(len(lists.train), len(lists.train.classes))
    clip = ClipSpec(frames=1, size=1, sampling="uniform").resized(options.clip)
    identity = {
        "training list": lists.train.content_hash[:12],
        "test list": lists.test.content_hash[:12],
        "clip": str(clip),
        "macs": options.macs,
        "steps": training.steps,
        "search_steps": options.search_steps,
        "X3D's depth": X3D_DEPTH,
        **settings(train=training, clips=data, search=SEARCH),
    }
    record: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    hold_to(record, identity, options.out, named=("clip", "macs", "steps", "search_steps"))
    record = {"entries": [], "searched": {}, **record}
    record.update(command="make two-stream-ablations DATA=DIR", clip=str(clip), macs=options.macs)
    record.update(steps=training.steps, search_steps=options.search_steps)

    def save() -> None:
        record.update(date=date.today().isoformat(), versions=versions(), summary=summary(record["entries"]))
        write_json(options.out, record)

    for seed in range(options.seeds):
        search = prepare_process(replace(SEARCH, steps=options.search_steps, seed=seed))
        bench = Bench(lists, data, clip, options.macs, search, options.work, record["searched"], save)
        for table in options.tables:
            train_rows([*rows(bench, table, seed)], bench, replace(training, seed=seed), options.workers, record)
    for table, lines in record["summary"].items():
        print(table)
        for line in lines:
            ahead = "" if line["ahead_of_first"] is None else f"{line['ahead_of_first']:+5.1f} to the first"
            error = "" if line["standard_error"] is None else f" (s.e. {line['standard_error']:.1f})"
            print(f"  {line['name']:<36} {line['top1']:6.1%}  {line['seeds']} seeds  {ahead}{error}")


def train_rows(found: list[Row], bench: Bench, training: TrainConfig, workers: int, record: dict[str, Any]) -> None:
    """Train and test what has not been; the same network in two tables is trained once."""
    entries = record["entries"]
    known = {(entry["network"], entry["seed"]): entry["top1"] for entry in entries}
    listed = {(entry["table"], entry["name"], entry["seed"]) for entry in entries}

    def note(row: Row, top1: float) -> None:
        if (row.table, row.name, training.seed) not in listed:
            of_row = {"table": row.table, "place": found.index(row), "name": row.name}
            of_row |= {"seed": training.seed, "top1": top1}
            entries.append({**of_row, **described(row.spec), **row.search})
            bench.save()
            print(f"table {row.table}, {row.name}, seed {training.seed}: {top1:.1%}", flush=True)

    missing = [row for row in found if (row.spec.content_hash, training.seed) not in known]
    for row in found:
        if row not in missing:
            note(row, known[row.spec.content_hash, training.seed])
    jobs = [
        TrialJob(
            row.spec,
            bench.work / "trainings" / f"{row.spec.content_hash}_{training.seed}",
            bench.lists.train,
            bench.lists.test,
            training,
            bench.data,
        )
        for row in missing
    ]

    def finish(place: int, trial: TrialResult) -> None:
        note(missing[place], trial.tested().headline)

    run_jobs(WorkerProcesses(workers, 1), jobs, finish)


if __name__ == "__main__":
    main()
