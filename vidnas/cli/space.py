"""`vidnas space`: `info`, `sample` and `validate` look into a search space, `template` starts one from a network."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidnas.arch.cost import format_macs, network_cost, parse_amount
from vidnas.arch.registry import list_models, resolve
from vidnas.base.errors import VidnasError
from vidnas.base.files import ANOTHER_PLACE, replace_file
from vidnas.cli.parsing import Parser, UsageError, make_parser, natural, positive, suggestion
from vidnas.search.space.progressive import STEPS, step_sizes
from vidnas.search.space.published.registry import list_spaces, resolve_space
from vidnas.search.space.space import Space
from vidnas.search.space.windows import WINDOW_MODES, channel_coverage, unit

# A longer row of numbers says less than its ends.
_MOST_PARTS = 16
_TEMPLATE = """\
# {origin} as a search space: so far of one architecture.
# A group's channels, expansion, kernel and attention may be lists, for instance
#   channels: {{from: 16, to: 32, step: 8}}      # or [16, 24, 32]
#   kernel: [{{t: 1, s: 3}}, {{t: 3, s: 3}}, {{t: 5, s: 3}}]
#   attention: [none, glore, {{nodes: 36, states: 72}}]
# So may the kind of a fusion between streams, as [none, time_to_channel, time_strided_sampling].
# Look at it with `vidnas space info FILE`, use it with `vidnas search --space FILE`.
"""


def run(argv: list[str]) -> int:
    """Dispatch on the second word."""
    actions = {"info": _info, "sample": _sample, "validate": _validate, "template": _template}
    if not argv or argv[0] in ("-h", "--help", "--help-all"):
        print(
            "usage: vidnas space info FILE|NAME ...\n       vidnas space sample FILE|NAME ...\n"
            "       vidnas space validate FILE\n       vidnas space template NETWORK\n\n"
            "`vidnas space info --help` tells more."
        )
        return 0
    if argv[0] not in actions:
        near = suggestion(argv[0], actions)
        hint = f"did you mean {near}?" if near else f"it has {', '.join(actions)}"
        raise UsageError(f"vidnas space has no command {argv[0]!r}; {hint}")
    return actions[argv[0]](argv[1:])


def _info(argv: list[str]) -> int:
    parser = _space_parser("info", "Decisions, number and costs of a space's architectures, and use of its channels.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    report = _report(_space(options))
    print(json.dumps(report, indent=2) if options.json else _as_text(report))
    return 0


def _sample(argv: list[str]) -> int:
    parser = _space_parser("sample", "Random architectures of a space, all different, with their costs.")
    parser.add_argument("-n", type=positive, default=5, help="how many (default: 5)")
    parser.add_argument("--seed", type=natural, default=0, help="equal seeds give equal architectures (default: 0)")
    parser.add_argument("--target-macs", metavar="AMOUNT", help="only those of at most these multiply-adds, as 50M")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="write each as a spec file")
    options = parser.parse_args(argv)
    from vidnas.search.costs import CostTable
    from vidnas.search.sampling import sample_choices

    space = _space(options)
    target = parse_amount(options.target_macs, name="--target-macs") if options.target_macs else None
    specs = [space.decode(c) for c in sample_choices(CostTable.of(space), options.n, options.seed, target)]
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    for i, spec in enumerate(specs):
        written = ""
        if options.out:
            path = options.out / f"{i}_{spec.content_hash}.json"
            replace_file(path, spec.to_json(), mend=ANOTHER_PLACE)
            written = f"  {path}"
        print(f"{spec.name}  {network_cost(spec)}{written}")
    return 0


def _validate(argv: list[str]) -> int:
    parser = make_parser("space validate", "Check a space file; exits with 1 and one line if it breaks a rule.")
    parser.add_argument("file", metavar="FILE", type=Path, help="a space file (YAML, JSON)")
    options = parser.parse_args(argv)
    space = Space.load(options.file)
    print(f"{options.file}: OK, {_counted(space.size, 'architecture')}, {_counted(len(space.variables), 'decision')}")
    return 0


def _template(argv: list[str]) -> int:
    parser = make_parser("space template", "Print a network as YAML, to put lists in place of its values.")
    parser.add_argument("network", metavar="NETWORK", help="a name of `vidnas list`, a spec file, or a space's name")
    options = parser.parse_args(argv)
    if options.network in list_spaces():
        print(resolve_space(options.network).to_yaml(), end="")
        return 0
    spec = resolve(options.network)
    print(_TEMPLATE.format(origin=f"{spec.name} ({network_cost(spec)})") + spec.to_yaml(), end="")
    return 0


def _space_parser(action: str, description: str) -> Parser:
    parser = make_parser(f"space {action}", description)
    parser.add_argument("space", metavar="FILE|NAME", help=f"a space file (YAML, JSON), or {', '.join(list_spaces())}")
    parser.add_argument("--clip", metavar="FRAMESxSIZE", help="at another clip, as in 8x64; default the space's own")
    return parser


def _space(options: argparse.Namespace) -> Space:
    if options.space == "auto":
        raise VidnasError("auto is made for videos and a target; `vidnas search --dry-run` tells what it comes to")
    if options.space in list_models():
        raise VidnasError(
            f"{options.space} is a network; `vidnas space template {options.space}` starts a space from it"
        )
    space = resolve_space(options.space)
    return space.with_clip(space.clip.resized(options.clip)) if options.clip else space


def _report(space: Space) -> dict[str, Any]:
    from vidnas.search.costs import CostTable, Metric

    metrics: tuple[Metric, ...] = ("macs", "params")
    tables = {metric: CostTable.of(space, metric) for metric in metrics}
    lists = dict.fromkeys(group.channels for stream in space.streams for group in stream.groups)
    return {
        "name": space.name,
        "clip": str(space.clip),
        "content_hash": space.content_hash,
        "size": space.size,
        "variables": [{"name": str(v), "options": list(space.option_names(v))} for v in space.variables],
        "cheapest": {metric: table.cheapest()[1] for metric, table in tables.items()},
        "dearest": {metric: table.dearest()[1] for metric, table in tables.items()},
        "steps": dict(zip(STEPS, step_sizes(space), strict=True)) if len(space.streams) > 1 else {},
        "coverage": [
            {"channels": list(channels)}
            | {mode: list(channel_coverage(channels, mode)[:: int(unit(channels))]) for mode in WINDOW_MODES}
            for channels in lists
            if len(channels) > 1
        ],
    }


def _as_text(report: dict[str, Any]) -> str:
    cheapest, dearest = report["cheapest"], report["dearest"]
    decisions = [[v["name"], ", ".join(v["options"])] for v in report["variables"]]
    coverage = [
        [", ".join(map(str, row["channels"])), *(_parts(row[mode]) for mode in WINDOW_MODES)]
        for row in report["coverage"]
    ]
    lines = [
        f"{report['name']} ({report['content_hash']}): {_counted(report['size'], 'architecture')}, "
        f"{_counted(len(decisions), 'decision')}",
        f"{format_macs(cheapest['macs'])} to {format_macs(dearest['macs'])} @ {report['clip']}, "
        f"{cheapest['params'] / 1e6:.3f} to {dearest['params'] / 1e6:.3f} M params",
    ]
    if report["steps"]:
        steps = (f"{step} {_shown(size)}" for step, size in report["steps"].items())
        lines.append(f"a progressive search chooses step by step: {', '.join(steps)}")
    if decisions:
        lines += ["", *_aligned([["decision", "options"], *decisions])]
    if coverage:
        lines += ["", *_aligned([["channels", *WINDOW_MODES], *coverage])]
        lines += ["", "naive, fair, cyclic: how many of the widths use each equal part of the widest."]
    return "\n".join(lines)


def _parts(counts: Sequence[int]) -> str:
    if len(counts) > _MOST_PARTS:
        return f"{min(counts)} to {max(counts)}"
    return " ".join(map(str, counts))


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _counted(number: int, thing: str) -> str:
    return f"{_shown(number)} {thing}{'s' if number != 1 else ''}"


def _shown(number: int) -> str:
    return f"{number:,}" if number < 1e6 else f"{number:.2e}"
