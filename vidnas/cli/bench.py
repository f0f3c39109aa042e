"""`vidnas bench`: milliseconds, memory and multiply-adds of a network on this machine."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from vidnas.arch.registry import resolve
from vidnas.arch.spec import ArchSpec
from vidnas.cli.parsing import make_parser, positive

if TYPE_CHECKING:
    from vidnas.pipeline.bench import Bench


def run(argv: list[str]) -> int:
    """Print the figures as three lines or JSON."""
    options = _parse(argv)
    spec = _network(options.network)
    clip = spec.clip.resized(options.clip) if options.clip else spec.clip

    from vidnas.engine.run.runtime import set_threads
    from vidnas.pipeline.bench import bench

    set_threads(options.threads)
    found = bench(spec, options.device, clip=clip, batch_size=options.batch_size)
    print(_as_json(spec, found, options) if options.json else _as_text(spec, found, options))
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = make_parser("bench", "Milliseconds, memory and multiply-adds of a network on this machine.")
    parser.add_argument(
        "network",
        metavar="NAME|FILE|FOLDER",
        help="a name of `vidnas list`, a spec file (JSON), a run folder or its model",
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda", "openvino"),
        default="cpu",
        help="what runs it: vidnas on the CPU or a GPU, or the network exported to OpenVINO, on the CPU",
    )
    parser.add_argument("--batch-size", type=positive, default=1, help="clips per call (default 1)")
    parser.add_argument("--threads", type=positive, help="CPU threads; default torch's choice")
    parser.add_argument("--clip", metavar="FRAMESxSIZE", help="other than the network's own, as in 13x182")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(argv)


def _network(name: str) -> ArchSpec:
    path = Path(name)
    if path.is_dir() or path.suffix == ".safetensors":
        from vidnas.cli.checkpoint import load_checkpoint, trained_in

        return load_checkpoint(trained_in(path))[0].spec
    return resolve(name)


def _as_text(spec: ArchSpec, found: "Bench", options: argparse.Namespace) -> str:
    low, middle, high = found.ms
    threads = f"{found.threads} thread{'s' if found.threads > 1 else ''}"
    where = options.device if options.device == "cuda" else f"{options.device}, {threads}"
    kind = "of tensors" if options.device == "cuda" else "of the process"
    return "\n".join(
        [
            f"{spec.name}: {found.cost}",
            f"{middle:.2f} ms per clip, half of {found.calls} calls within {low:.2f} to {high:.2f} "
            f"({where}, batch {options.batch_size}, {found.machine})",
            f"peak memory {found.memory_mib:.0f} MiB {kind}, {found.memory_before_mib:.0f} MiB before the network",
        ]
    )


def _as_json(spec: ArchSpec, found: "Bench", options: argparse.Namespace) -> str:
    low, middle, high = found.ms
    report = {
        "name": spec.name,
        "content_hash": spec.content_hash,
        "device": options.device,
        "machine": found.machine,
        "threads": found.threads,
        "batch_size": options.batch_size,
        "clip": found.cost.clip,
        "ms_per_clip": {"median": middle, "first_quartile": low, "third_quartile": high, "calls": found.calls},
        "peak_memory_mib": found.memory_mib,
        "memory_before_mib": found.memory_before_mib,
        "macs": found.cost.macs,
        "params": found.cost.params,
    }
    return json.dumps(report, indent=2)
