"""`vidnas info`: what a network costs, layer by layer."""

import json
from collections.abc import Sequence

from vidnas.arch.cost import HeadPositions, LayerCost, format_macs, head_positions, layer_costs, network_cost
from vidnas.arch.registry import note_on, resolve
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.cli.parsing import make_parser

COLUMNS = ("macs", "weights", "params", "activations")


def run(argv: list[str]) -> int:
    """Print the table or JSON."""
    parser = make_parser("info", "Cost of a network for one clip, layer by layer.")
    parser.add_argument("network", metavar="NAME|FILE", help="a name of `vidnas list`, or a spec file (YAML, JSON)")
    parser.add_argument(
        "--clip", metavar="FRAMESxSIZE", help="count at another clip, as in 13x182; default the network's own"
    )
    parser.add_argument(
        "--head",
        choices=("one", "all"),
        default="one",
        help="count fc1 and fc2 at one position (as the papers print), or at all that a larger crop leaves",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    spec = resolve(options.network)
    clip = spec.clip.resized(options.clip) if options.clip else spec.clip
    print(as_json(spec, clip, options.head) if options.json else as_table(spec, clip, options.head))
    return 0


def as_json(spec: ArchSpec, clip: ClipSpec, head: HeadPositions) -> str:
    """Name, clip, head counting, content hash, what is not the paper's, layers and total."""
    total = network_cost(spec, clip, head)
    report = {
        "name": spec.name,
        "clip": str(clip),
        "head_positions": head,
        "content_hash": spec.content_hash,
        "note": note_on(spec),
        "layers": [layer._asdict() for layer in layer_costs(spec, clip, head)],
        "total": {column: getattr(total, column) for column in COLUMNS},
    }
    return json.dumps(report, indent=2)


def as_table(spec: ArchSpec, clip: ClipSpec, head: HeadPositions) -> str:
    """One line per layer, the total, and how it was counted."""
    layers = layer_costs(spec, clip, head)
    total = network_cost(spec, clip, head)
    note = note_on(spec)
    rows = [*layers, LayerCost("total", total.macs, total.weights, total.params, total.activations)]
    cells = [
        ["layer", *COLUMNS, "% macs"],
        *(
            [row.name, *(f"{getattr(row, column):,}" for column in COLUMNS), f"{100 * row.macs / total.macs:.1f}"]
            for row in rows
        ),
    ]
    lines = _aligned(cells)
    rule = "-" * len(lines[0])
    return "\n".join(
        [
            f"{spec.name} ({spec.content_hash}): {total}",
            *([f"Not all is its paper's: {note} (docs/discrepancies.md)."] if note else []),
            "",
            lines[0],
            rule,
            *lines[1:-1],
            rule,
            lines[-1],
            "",
            f"{format_macs(total.macs)} @ {clip}: multiply-adds of conv, linear and matmul for one clip; norms,",
            "activations and pooling count nothing. " + _head_note(spec, clip, head),
        ]
    )


def _head_note(spec: ArchSpec, clip: ClipSpec, head: HeadPositions) -> str:
    positions = head_positions(spec, clip)
    if positions == 1:
        return "The head has one position at this clip."
    if head == "all":
        return f"The head is counted at all {positions} positions (--head all)."
    return f"The head is counted at one position, as the papers print;\n--head all counts all {positions}."


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
