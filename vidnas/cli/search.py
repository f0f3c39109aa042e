"""`vidnas search`: find a network for a data set and a budget."""

from pathlib import Path

from vidnas.cli.search_options import prepare, search_parser, settle_or_resume


def run(argv: list[str]) -> int:
    """Search; returns the exit code."""
    from vidnas.engine.processes import say
    from vidnas.pipeline.search import search_videos

    parser = search_parser("search", "Find the best network for your videos within a budget of multiply-adds.")
    parser.add_argument("--train", type=dict | None, default=None, help="Unused: recipes for `vidnas run` have it.")
    ready = prepare(parser, argv)
    out = Path(ready.options.out)
    settled = settle_or_resume(ready, None)
    if settled is None:
        return 0
    search_videos(ready.plan, ready.data_config, ready.data, settled.search, out, resume=ready.options.resume)
    say(f"next: vidnas train --arch {out / 'searched.json'} --data {ready.options.data} --out {out / 'trained'}")
    return 0
