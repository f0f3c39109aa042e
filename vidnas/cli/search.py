"""`vidnas search`: find a network for a data set and a budget."""

from pathlib import Path

from vidnas.cli.search_options import describe, prepare, search_parser


def run(argv: list[str]) -> int:
    """Search; returns the exit code."""
    from vidnas.engine.search_estimate import fit_epochs
    from vidnas.pipeline.search import search_videos

    parser = search_parser("search", "Find the best network for your videos within a budget of multiply-adds.")
    ready = prepare(parser, argv)
    search, estimate, steps = ready.search, ready.estimate, ready.data.steps_per_epoch
    if ready.options.max_hours:
        search = fit_epochs(search, estimate, steps, 3600 * ready.options.max_hours)
    schedule = search.schedule(steps)
    print(describe(estimate.total_sec(schedule), estimate, schedule.alpha_steps))
    if ready.options.dry_run:
        return 0
    out = Path(ready.options.out)
    search_videos(ready.plan, ready.data_config, ready.data, search, out, resume=ready.options.resume)
    print(f"next: vidnas train --arch {out / 'searched.json'} --data {ready.options.data} --out {out / 'trained'}")
    return 0
