"""`vidnas list`: names and costs of the built-in networks."""

import json
from fnmatch import fnmatchcase

from vidnas.arch.cost import format_macs, network_cost
from vidnas.arch.registry import get_spec, list_models, note_on
from vidnas.base.errors import VidnasError
from vidnas.cli.parsing import make_parser


def run(argv: list[str]) -> int:
    """Print one network per line."""
    parser = make_parser("list", "Names and costs of the built-in networks.")
    parser.add_argument(
        "filter", nargs="?", metavar="FILTER", default="", help="part of a name, or a pattern such as 'x3d_?'"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    names = [name for name in list_models() if _matches(name, options.filter)]
    if not names:
        raise VidnasError(f"no network matches {options.filter!r}; `vidnas list` names them all")
    specs = {name: get_spec(name) for name in names}
    costs = {name: network_cost(spec) for name, spec in specs.items()}
    notes = {name: note_on(spec) for name, spec in specs.items()}
    if options.json:
        rows = [
            {
                "name": name,
                "clip": cost.clip,
                "macs": cost.macs,
                "weights": cost.weights,
                "params": cost.params,
                "activations": cost.activations,
                "note": notes[name],
            }
            for name, cost in costs.items()
        ]
        print(json.dumps(rows, indent=2))
        return 0
    width = max(map(len, names))
    for name, cost in costs.items():
        line = f"{name:<{width}}  {format_macs(cost.macs):>13} @ {cost.clip:<10}  {cost.params / 1e6:6.3f} M params"
        print("  ".join([line, *filter(None, [notes[name]])]))
    print("\nMACs: multiply-adds of conv, linear and matmul for one clip (frames x height x width).")
    if any(notes.values()):
        print("Inferred, fitted, reconstruction: what the papers do not say; docs/discrepancies.md has what and why.")
    return 0


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) if any(c in pattern for c in "*?[") else pattern in name
