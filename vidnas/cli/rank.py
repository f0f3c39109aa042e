"""`vidnas rank RUN`: does the supernet's order agree with stand-alone training?"""

from vidnas.arch.cost import parse_amount
from vidnas.base.errors import VidnasError
from vidnas.cli.executor_options import add_executor_options, chosen_executor
from vidnas.cli.finished import finished_parser, finished_search
from vidnas.cli.parsing import natural, positive


def run(argv: list[str]) -> int:
    """Train random networks, print the rank correlations, and write them with their picture."""
    parser = finished_parser("rank", "Rank correlation of supernet scores with stand-alone training.")
    parser.add_argument("-n", type=positive, default=20, help="random networks to train")
    parser.add_argument("--epochs", type=positive, help="of each training; default a quarter of the run's")
    parser.add_argument(
        "--range", metavar="LOW,HIGH", help="what they may cost, as 0.5G,2G; default anything up to the search's target"
    )
    parser.add_argument("--seed", type=natural, default=0, help="of the draw")
    add_executor_options(parser, by_default="one")
    options = parser.parse_args(argv)

    from vidnas.engine.tasks.registry import task_of
    from vidnas.engine.trials.executors import QUIETLY
    from vidnas.pipeline.rank import RankSettings, rank_networks
    from vidnas.pipeline.rank_report import agreement, describe, write_ranking

    if options.n < 3:
        raise VidnasError(f"-n {options.n}: give 3 or more")
    ends = [parse_amount(end, name="--range") for end in options.range.split(",")] if options.range else None
    if ends is not None and (len(ends) != 2 or ends[0] >= ends[1]):
        raise VidnasError(f"--range {options.range}: give the least and the largest cost, as 0.5G,2G")
    settings = RankSettings(options.n, options.epochs, (ends[0], ends[1]) if ends else None, options.seed)
    chosen = chosen_executor(options, parallel=1, threads=options.threads, device=options.device, alone=QUIETLY)
    with finished_search(options) as finished, chosen as executor:
        results = rank_networks(finished, settings, executor)
        write_ranking(finished, results, settings)
    print(describe(agreement(results), task_of(finished.space.head).headline))
    print(f"picture: {options.run / 'rank.svg'}")
    return 0
