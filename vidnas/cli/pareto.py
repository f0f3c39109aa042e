"""`vidnas pareto RUN`: the front of accuracy against cost that a trained supernet holds."""

from vidnas.cli.finished import METRICS, finished_parser, finished_search
from vidnas.cli.parsing import positive


def run(argv: list[str]) -> int:
    """Print the front, and write it with its picture."""
    parser = finished_parser("pareto", "The front of accuracy against cost that the trained supernet holds.")
    parser.add_argument("--metric", choices=METRICS, default="macs", help="the cost")
    parser.add_argument("-n", type=positive, default=30, help="architectures judged on the holdout")
    parser.add_argument("--evaluations", type=positive, default=300, help="architectures that evolution scores")
    options = parser.parse_args(argv)

    from vidnas.pipeline.pareto import front_table, pareto_front, write_front

    with finished_search(options) as finished:
        points = pareto_front(finished, options.metric, options.n, options.evaluations)
        print(front_table(finished, points, options.metric))
        print(f"picture: {write_front(finished, points, options.metric)}")
    return 0
