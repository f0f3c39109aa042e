"""`vidnas derive RUN --targets 0.5G,1G,2G`: a family of networks from one search."""

from vidnas.arch.cost import parse_amount
from vidnas.base.errors import VidnasError
from vidnas.cli.executor_options import add_executor_options, chosen_executor
from vidnas.cli.finished import METRICS, finished_parser, finished_search
from vidnas.cli.parsing import positive


def run(argv: list[str]) -> int:
    """Derive, train what is asked for, and print the table."""
    parser = finished_parser(
        "derive", "Networks for several budgets from one search, with its weights or trained anew."
    )
    parser.add_argument(
        "--targets", metavar="A,B,...", required=True, help="costs of one clip, as 0.5G,1G,2G; as 10,30 in ms"
    )
    parser.add_argument("--metric", choices=METRICS, default="macs", help="what the targets count")
    parser.add_argument("--inherit", action="store_true", help="take the supernet's weights along and fine-tune them")
    parser.add_argument("--scratch", action="store_true", help="train from random weights")
    parser.add_argument("--epochs", type=positive, help="of a training from scratch; default as in the run")
    parser.add_argument("--fine-tune-epochs", type=positive, help="default a third of those from scratch")
    parser.add_argument("--fine-tune-lr", type=float, help="peak learning rate; default a third of that from scratch")
    parser.add_argument(
        "--evaluations", type=positive, default=200, help="architectures that evolution scores per target"
    )
    add_executor_options(parser, by_default="one")
    options = parser.parse_args(argv)

    from vidnas.engine.trials.executors import IN_THIS_PROCESS
    from vidnas.pipeline.family import derive_family, table
    from vidnas.pipeline.family_training import FamilyTraining

    if options.fine_tune_lr is not None and not 0 < options.fine_tune_lr < float("inf"):
        raise VidnasError(f"--fine-tune-lr {options.fine_tune_lr}: give a rate above 0")
    targets = [_target(options.metric, text) for text in options.targets.split(",")]
    training = FamilyTraining(
        inherit=options.inherit,
        scratch=options.scratch,
        epochs=options.epochs,
        fine_tune_epochs=options.fine_tune_epochs,
        fine_tune_lr=options.fine_tune_lr,
    )
    chosen = chosen_executor(options, parallel=1, threads=options.threads, device=options.device, alone=IN_THIS_PROCESS)
    with finished_search(options) as finished, chosen as executor:
        members = derive_family(finished, options.metric, targets, options.evaluations, training, executor)
    print(table(members))
    for member in members:
        print(f"{member.label}: {member.folder / 'searched.json'}")
    return 0


def _target(metric: str, text: str) -> float:
    if metric != "ms":
        return parse_amount(text, "multiply-adds of one clip" if metric == "macs" else metric, "--targets")
    try:
        target = float(text.removesuffix("ms"))
    except ValueError:
        target = 0.0
    if not 0 < target < float("inf"):
        raise VidnasError(f"--targets {text!r}: write milliseconds of one clip, as 30")
    return target
