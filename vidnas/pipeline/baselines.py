"""The search beside random search and evolution: the same supernet, the same number of evaluations."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vidnas.arch.cost import format_amount
from vidnas.base.files import write_json
from vidnas.base.log import log
from vidnas.data.datamodule import DataConfig
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.supernet.candidates import candidates_from
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.data import SearchData
from vidnas.engine.supernet.fixed_batches import FixedBatches
from vidnas.engine.supernet.search import SupernetSearch
from vidnas.engine.tasks.registry import task_of
from vidnas.engine.tasks.task import Task
from vidnas.pipeline.plan import SearchPlan
from vidnas.pipeline.search import (
    SearchResult,
    candidate_record,
    judge_on_holdout,
    load_trained,
    new_search,
    search_videos,
)
from vidnas.search.archive import read
from vidnas.search.baselines import Evaluation, EvolutionSettings, evolution, random_search
from vidnas.search.space.space import Choice

# A baseline that sees few architectures is none: as many are scored before each gets a second batch.
_LEAST_ARCHITECTURES = 100


def search_with_baselines(
    plan: SearchPlan,
    data_config: DataConfig,
    data: SearchData,
    config: SearchConfig,
    root: Path,
    *,
    resume: bool = False,
) -> SearchResult:
    """`search_videos`, and then what else the settings ask for to compare with; result.json gains `baselines`.

    Asked for after the search has ended, with `resume`, they are added to its result.
    """
    result = search_videos(plan, data_config, data, config, root, resume=resume)
    if not config.baseline_names:
        return result
    record = dict(result.record)
    done = dict(record.get("baselines", {}))
    missing = [name for name in config.baseline_names if name not in done]
    if missing:
        with RunFolder(root).lock():
            search = new_search(plan, config.schedule(data.steps_per_epoch), config)
            load_trained(search, result.folder, record["identity"])
            evaluations = sum(1 for _ in read(result.folder.archive))
            for name in missing:
                log.info(f"{name}: {evaluations} evaluations on the trained supernet")
                done[name] = run_baseline(name, search, data, evaluations)
                record["baselines"] = done
                write_json(result.folder.result, record)
    log.info(comparison(record, config.score_batch_size, len(data.holdout), task_of(plan.space.head)))
    return replace(result, record=record)


def run_baseline(name: str, search: SupernetSearch, data: SearchData, evaluations: int) -> dict[str, Any]:
    """What a baseline finds with a number of evaluations, as builtins.

    An evaluation is one architecture on one batch of alpha's part. The search sees many batches, so a baseline gets
    more than one too (256 clips where there are enough of them and of evaluations), the same for every architecture.
    As many of its best as the search has candidates are judged on the holdout.

    Args:
        name: random or evolution.
        search: at its end.
        data: its data.
        evaluations: how many the search on alpha made.
    """
    config, budgets, task = search.config, search.alpha.budgets, task_of(search.supernet.space.head)
    batches = max(1, min(data.comparison_batches, evaluations // _LEAST_ARCHITECTURES))
    scorer = FixedBatches(search, data.scoring_batches(batches))
    queries = max(1, evaluations // batches)
    if name == "random":
        evaluated = random_search(scorer, budgets, queries, config.seed)
    else:
        evaluated = evolution(scorer, budgets, queries, config.seed, evolution_settings(queries))
    best = best_choices(evaluated, config.candidates)
    judged = judge_on_holdout(search, candidates_from(best, search.alpha.distribution, budgets), data)
    return {
        "evaluations": queries * batches,
        "architectures": queries,
        "batches": batches,
        "candidates": [candidate_record(candidate, budgets, task) for candidate in judged],
    }


def evolution_settings(queries: int) -> EvolutionSettings:
    """A population that leaves three quarters of the queries to selection, of 50 at most."""
    population = min(50, max(2, queries // 4))
    return EvolutionSettings(population, max(2, population // 5))


def best_choices(evaluated: Sequence[Evaluation], number: int) -> list[Choice]:
    """The different choices with the highest scores, best first."""
    scores = {one.choice: one.score for one in evaluated}
    return sorted(scores, key=lambda choice: -scores[choice])[:number]


def comparison(record: Mapping[str, Any], clips: int, videos: int, task: Task) -> str:
    """One line per method: the best of its candidates on the holdout, and a line that says what was equal."""
    methods = {"search": record["candidates"], **{n: b["candidates"] for n, b in record["baselines"].items()}}
    best = max(methods, key=lambda name: methods[name][0]["holdout_log_likelihood"])
    counts = {name: f"{b['architectures']} x {b['batches']} batches" for name, b in record["baselines"].items()}
    lines = [
        f"equal evaluations on one supernet (an architecture on {clips} clips), candidates judged on {videos} holdout "
        "videos:"
    ]
    for name, candidates in methods.items():
        first = candidates[0]
        lines.append(
            f"  {name:<9}  log-likelihood {first['holdout_log_likelihood']:.4f}  "
            f"{task.headline.text} {first[f'holdout_{task.headline.name}']:6.1%}  "
            f"{' and '.join(format_amount(*cost) for cost in first['cost'].items())} @ {record['clip']}"
            + (f"  ({counts[name]})" if name in counts else "")
            + ("  <- best" if name == best else "")
        )
    return "\n".join(lines)
