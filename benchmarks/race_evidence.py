"""What a race finds, against X3D at three clips, random networks, a supernet alone and the entropy alone.

    make utd-race UTD=DIR            UTD-MHAD, subjects are groups
    make jhmdb-race JHMDB=DIR        J-HMDB, sources are groups
    make generated-race              a generated set

DIR holds train.csv, test.csv and classes.txt. Several races with seeds of their own, each on the training list alone;
then every network is trained on the whole training list with the same recipe, from a pair of seeds per race, and tested
once. Hours; given again it goes on where it was, also from the result file alone.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, get_args

from going_on import hold_to, settings
from machine import command_of
from race_rows import PAIR, Entry, round_deviation, same_order, seed_rows, table

from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.base.files import write_json
from vidnas.data.augment import Policy
from vidnas.data.datamodule import DataConfig
from vidnas.data.processes import cores
from vidnas.engine.run.runtime import versions
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.data import SearchData
from vidnas.engine.train.config import TrainConfig
from vidnas.engine.trials.executors import WorkerProcesses, run_jobs
from vidnas.engine.trials.job import TrialJob, TrialResult
from vidnas.pipeline.lists import Lists, holding, load_lists
from vidnas.pipeline.plan import SpaceChoice, plan_search
from vidnas.pipeline.progressive import divided, search_progressively
from vidnas.pipeline.race.config import RaceConfig
from vidnas.pipeline.race.course import Course
from vidnas.pipeline.race.race import Race
from vidnas.pipeline.race.result import RaceResult, summary
from vidnas.pipeline.search import prepare_process, search_videos
from vidnas.search.limits import BoundedSpace, Limits
from vidnas.search.proposals import Proposal, by_entropy, drawn
from vidnas.search.space.published.auto import auto_clip, auto_space, nearest_rung
from vidnas.search.space.published.scaled_streams import sees_twice


class Setting(NamedTuple):
    """A data set and what is done with it."""

    group_regex: str | None
    macs: float
    # X3D's clip in earlier results.
    clip: ClipSpec
    jitter: tuple[float, float]


SETTINGS = {
    "utd": Setting(r"_s(\d+)_", 20e6, ClipSpec(frames=16, size=56, sampling="uniform"), (1.0, 1.25)),
    # A source is all videos of one class from one film: 33 films have some of other classes in the other list.
    "jhmdb": Setting(
        r"/([^/]+)_[fhlu]_(?:cm|nm)_np", 20e6, ClipSpec(frames=16, size=56, sampling="uniform"), (1.0, 1.25)
    ),
    "generated": Setting(None, 4e6, ClipSpec(frames=8, size=40, sampling="uniform"), (1.0, 1.15)),
}
RANDOM = 3
# How races are run, where their settings do not say it: results of others are not gone on with.
RULE = "networks and X3D are judged on rounds of their own"
SUPERNET = SearchConfig(lr=0.003, alpha_batch_size=8)
# 88 decisions would take some 30 architectures per step on alpha by default.
PROGRESSIVE = replace(SUPERNET, samples=4)


def identity_of(setting: Setting, lists: Lists, data: DataConfig, training: TrainConfig, trials: int) -> dict[str, Any]:
    """All that decides races and last trainings, but for their number."""
    race = {f"race.{name}": value for name, value in asdict(RaceConfig(trials)).items() if name != "seed"}
    return {
        "training list": lists.train.content_hash[:12],
        "test list": lists.test.content_hash[:12],
        "macs": setting.macs,
        "X3D's clip": f"{setting.clip} {setting.clip.sampling}",
        "trainings per race": PAIR,
        "random networks": RANDOM,
        "rule": RULE,
        **race,
        **settings(train=training, clips=data),
    }


def run_race(
    course: Course,
    data: DataConfig,
    options: argparse.Namespace,
    seed: int,
    trials: int,
    known: list[dict[str, Any]],
) -> Race:
    """The race of a seed, its clip chosen; trials that the result file knows are not run again."""
    folder = options.work / options.name / f"race_{seed}{'_two_streams' if course.streams == 2 else ''}"
    # The race's own first file; without it nothing has been trained here yet.
    if not (folder / "race.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "trials.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in known))
    executor = WorkerProcesses(options.workers, 1)
    config = RaceConfig(trials=trials, seed=100 * seed)
    race = Race(course, data, TrainConfig(steps=options.steps), config, folder, executor, resume=True)
    race.choose_clip()
    return race


def ended(race: Race, result: RaceResult, before: Mapping[str, Any]) -> dict[str, Any]:
    """A race in the result file, where it may stand already."""
    told = summary(result)
    if "result" in before:
        # The file has no curves, so what they foretold stands nowhere else.
        told["early_ranks"] = before["result"]["early_ranks"]
    return {**before, "result": told, "trials": trials_of(race)}


def trials_of(race: Race) -> list[dict[str, Any]]:
    """All that have ended, for the result file."""
    return [{**asdict(entry), "curve": []} for entry in race.entries]


def entries(
    course: Course, setting: Setting, race: RaceResult, supernet: ArchSpec | None, seed: int
) -> Iterator[Entry]:
    """All that is trained for a race, pair by pair."""
    (winner, source), first = race.winner.proposal, race.first.proposal
    held = course.held
    auto = auto_clip(nearest_rung(setting.macs), held.frames, held.short_side, held.duration_sec)
    space, _ = auto_space(setting.macs, num_classes=len(course.train.classes), clip=winner.clip)
    bounded = BoundedSpace(space, course.limits)
    draws = drawn(bounded, seed)
    for pair in range(PAIR):
        final = PAIR * seed + pair
        yield Entry("winner", final, winner, source)
        yield Entry("first_on_folds", final, first.spec, first.source)
        yield Entry("x3d", final, course.x3d(setting.clip).spec, "x3d")
        yield Entry("x3d_same_clip", final, course.x3d(winner.clip).spec, "x3d")
        yield Entry("x3d_auto_clip", final, course.x3d(auto).spec, "x3d")
        yield from (Entry("random", final, one.spec, "random") for one in islice(draws, RANDOM))
        if pair == 0:
            yield Entry("entropy", final, next(by_entropy(bounded, 1)).spec, "entropy")
            if supernet is not None:
                yield Entry("supernet", final, supernet, "supernet")


def race_two_streams(
    course: Course,
    clip: ClipSpec,
    lists: Lists,
    data: DataConfig,
    options: argparse.Namespace,
    seed: int,
    begun: dict[str, Any],
    save: Callable[[], None],
) -> dict[str, Any]:
    """What a progressive search finds, the best network of two streams in a race over its candidates, and that race.

    At the clip of one stream, so that half of the trainings do; where two cannot divide it, at one of their own.
    `begun` is what the result file knows of it, and is kept up to date.
    """
    given = clip if sees_twice(clip) else None
    known = begun.get("trials", [])
    race = run_race(replace(course, streams=2, clip=given), data, options, seed, options.trials // 2, known)
    if "candidates" not in begun:
        begun["candidates"] = candidates_in_steps(course, race.clip, lists, data, options, seed)
    begun["trials"] = trials_of(race)
    save()
    found = (ArchSpec.from_data(candidate) for candidate in begun["candidates"])
    result = race.choose_network([Proposal(spec, "progressive") for spec in found])
    best = next(one.proposal for one in result.networks if len(one.proposal.spec.streams) == 2)
    return {
        "progressive": begun["candidates"][0],
        "spec": best.spec.model_dump(mode="json"),
        "source": best.source,
        "result": summary(result),
        "trials": trials_of(race),
    }


def candidates_in_steps(
    course: Course, clip: ClipSpec, lists: Lists, data: DataConfig, options: argparse.Namespace, seed: int
) -> list[dict[str, Any]]:
    """What a progressive search finds."""
    space, _ = auto_space(course.macs, num_classes=len(lists.train.classes), streams=2, clip=clip)
    config = prepare_process(replace(PROGRESSIVE, steps=options.progressive_steps, seed=seed))
    steps = divided(space, {"macs": course.macs}, config)
    folder = options.work / options.name / f"progressive_{seed}"
    last = search_progressively(space, lists.train, steps, data, folder, resume=True).steps[-1]
    choices = [tuple(candidate["choice"]) for candidate in last.result.record["candidates"]]
    return [last.plan.space.decode(choice).model_dump(mode="json") for choice in choices]


def search_supernet(
    lists: Lists, data: DataConfig, setting: Setting, winner: ArchSpec, options: argparse.Namespace, seed: int
) -> ArchSpec:
    """What a search on a supernet alone finds, at the clip that the race found."""
    config = prepare_process(replace(SUPERNET, steps=options.supernet_steps, seed=seed))
    plan = plan_search(lists.train, {"macs": setting.macs}, SpaceChoice(clip=winner.clip), seed)
    parts = SearchData(plan.train, plan.parts, plan.space.clip, data, config)
    folder = options.work / options.name / f"supernet_{seed}"
    return search_videos(plan, data, parts, config, folder, resume=True).spec


def train_all(
    found: list[Entry],
    lists: Lists,
    data: DataConfig,
    training: TrainConfig,
    options: argparse.Namespace,
    trained: dict[str, Any],
    save: Callable[[], None],
) -> None:
    """Train and test what has not been, `trained` grows by each."""
    missing = list({entry.key: entry for entry in found if entry.key not in trained}.values())
    jobs = [
        TrialJob(
            entry.spec,
            options.work / options.name / "finals" / entry.key,
            lists.train,
            lists.test,
            replace(training, seed=entry.seed),
            data,
        )
        for entry in missing
    ]

    def note(place: int, trial: TrialResult) -> None:
        test = trial.tested()
        trained[missing[place].key] = {"top1": test.headline, "log_likelihood": test.log_likelihood}
        save()
        print(f"{missing[place].role}, seed {missing[place].seed}: {test.headline:.1%}", flush=True)

    run_jobs(WorkerProcesses(options.workers, 1), jobs, note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", choices=SETTINGS, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--races", type=int, default=4)
    parser.add_argument("--trials", type=int, default=28, help="of each race")
    parser.add_argument("--steps", type=int, help="of every training; default by rule")
    parser.add_argument("--augment", choices=get_args(Policy), help="of the clips of every training")
    parser.add_argument("--supernet-steps", type=int, default=9000, help="0 leaves the supernet for later")
    parser.add_argument("--progressive-steps", type=int, default=0, help="of a search of two streams; 0 is for later")
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    command = command_of(f"{options.name}-race", parser, options, apart=("name", "data", "work", "workers"))
    setting = SETTINGS[options.name]
    data = DataConfig(
        options.data, group_regex=setting.group_regex, jitter=setting.jitter, augment=options.augment, workers=0
    )
    lists = load_lists(data)
    course = Course(lists.train, holding(lists.train), Limits({"macs": setting.macs}))
    training = TrainConfig(steps=options.steps).with_length(len(lists.train), len(lists.train.classes))
    record: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    hold_to(record, identity_of(setting, lists, data, training, options.trials), options.out)
    # Searches that may be left for later are held apart.
    for name, config, steps in (
        ("supernet", SUPERNET, options.supernet_steps),
        ("two_streams", PROGRESSIVE, options.progressive_steps),
    ):
        if steps:
            identity = settings(search=replace(config, steps=steps))
            hold_to(record.setdefault("searches", {}).setdefault(name, {}), identity, options.out)
    record = {"races": [], "trained": {}, **record}
    found: list[Entry] = []

    def save() -> None:
        record["seeds"] = seed_rows(found, record["trained"])
        record["table"] = table(record)
        record["same_order"] = same_order(record["races"])
        record["round_deviation"] = round_deviation(record["races"])
        record.update(command=command, date=date.today().isoformat(), versions=versions())
        record["steps"] = training.steps
        write_json(options.out, record)

    for seed in range(options.races):
        known = record["races"][seed]["trials"] if seed < len(record["races"]) else []
        race = run_race(course, data, options, seed, options.trials, known)
        before = {**(record["races"][seed] if known else {}), "trials": trials_of(race)}
        record["races"][seed : seed + 1] = [before]
        save()
        result = race.choose_network()
        own = ended(race, result, before)
        record["races"][seed : seed + 1] = [own]
        winner = result.winner.proposal.spec
        if "supernet" not in own and options.supernet_steps:
            own["supernet"] = search_supernet(lists, data, setting, winner, options, seed).model_dump(mode="json")
        supernet = ArchSpec.from_data(own["supernet"]) if "supernet" in own else None
        save()
        found += entries(course, setting, result, supernet, seed)
        train_all(found, lists, data, training, options, record["trained"], save)
        if "two_streams" not in own and options.progressive_steps:
            begun = own.setdefault("two_streams_begun", {})
            own["two_streams"] = race_two_streams(course, winner.clip, lists, data, options, seed, begun, save)
            del own["two_streams_begun"]
            save()
        if two := own.get("two_streams"):
            best, first = ArchSpec.from_data(two["spec"]), ArchSpec.from_data(two["progressive"])
            for final in range(PAIR * seed, PAIR * seed + PAIR):
                found.append(Entry("two_streams", final, best, two["source"]))
                found.append(Entry("progressive", final, first, "progressive"))
        train_all(found, lists, data, training, options, record["trained"], save)
    for role, row in record["table"].items():
        print(f"{role:<16} {row['top1']:6.1%}  {row['trainings']} trainings  {row['winner_ahead'] or ''}")


if __name__ == "__main__":
    main()
