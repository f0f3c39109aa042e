"""What networks of two streams cost on one thread of a CPU, beside one stream of as many multiply-adds.

    make bench-two-streams

Compared with a network of two streams are X3D of its cost, and its own streams alone, each with a head of its own: a
training step (forward, cross entropy, backward, AdamW) and inference, in float32. All networks of a row take turns in
one process, and CPU seconds are counted, which neighbours on the machine distort less than time.

All ratios are per multiply-add; of times they are taken turn by turn, and the median is kept. `times_one_stream` is
that to X3D, `times_streams` to the streams alone together (fusions add multiply-adds), and `dense_times_one_stream`
that of the dense stream alone to X3D. `of_least_seconds` has them of each network's quickest turn, which neighbours
disturb least. The same ratios of activations, the numbers that layers write, stand beside them.
`parts` says where a training step spends its time: forward and backward of each part by itself, on the maps that it
sees in the network.

Memory of a search: the peak of live tensors of a step with K architectures, as in supernet_cost.py.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from machine import command_of, save
from small_step import CLIP, MACS, NUM_CLASSES, cpu_seconds, cpu_turns, make_step, random_clips
from supernet_cost import Workload, memory_of_steps
from torch import Tensor, nn

from vidnas.arch.cost import layer_costs, network_cost
from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.arch.zoo.tsnet import DENSE, SPARSE
from vidnas.arch.zoo.x3d import x3d_at_cost
from vidnas.engine.run.runtime import tune_allocator
from vidnas.nn.build import VideoNetwork, build
from vidnas.nn.native import instruction_set
from vidnas.search.costs import CostTable
from vidnas.search.sampling import sample_choices
from vidnas.search.space.published.auto import auto_space

SMALL_BATCH, PUBLISHED_BATCH = 16, 2
PUBLISHED = ("manual_tsnet_55", "auto_tsnet_s")
# X3D's own clip at that cost.
ONE_STREAM_CLIP = ClipSpec(frames=13, size=160, stride=6)
SEARCHES = (Workload("auto_tsnet", batch=1),)
PARTS_REPEATS = 5
# Small networks are quick, and neighbours disturb quick turns more.
SMALL_TURNS = 3


class Row(NamedTuple):
    """Networks that are compared.

    Attributes:
        two: the network of two streams.
        one: X3D of its cost.
        batch: clips of a step.
    """

    two: ArchSpec
    one: ArchSpec
    batch: int


def small_rows(seed: int) -> list[Row]:
    """Random architectures of the space for 20 MMACs."""
    space, _ = auto_space(MACS, num_classes=NUM_CLASSES, streams=2, clip=CLIP)
    drawn = sample_choices(CostTable.of(space), 2, seed, MACS)
    specs = [space.decode(choice).model_copy(update={"name": f"random {i}"}) for i, choice in enumerate(drawn)]
    return [_row(spec, CLIP, SMALL_BATCH) for spec in specs]


def _row(two: ArchSpec, clip: ClipSpec, batch: int) -> Row:
    return Row(two, x3d_at_cost("x3d", clip, network_cost(two).macs, head=two.head), batch)


def networks_of(row: Row) -> dict[str, VideoNetwork]:
    torch.manual_seed(0)
    specs = {"two streams": row.two, "one stream": row.one}
    specs |= {"sparse alone": row.two.alone(SPARSE), "dense alone": row.two.alone(DENSE)}
    return {name: build(spec) for name, spec in specs.items()}


def measure(row: Row, repeats: int) -> dict[str, Any]:
    networks = networks_of(row)
    macs = {name: network_cost(network.spec).macs for name, network in networks.items()}
    clips = {name: random_clips(network.spec.clip, row.batch) for name, network in networks.items()}
    steps = {name: make_step(network, clips[name]) for name, network in networks.items()}
    found: dict[str, Any] = {"network": row.two.name, "clip": str(row.two.clip), "batch": row.batch}
    found |= {"one_stream_clip": str(row.one.clip), "macs": macs}
    activations = {name: network_cost(network.spec).activations for name, network in networks.items()}
    found["activations"] = {"per_clip": activations} | _ratios(activations, macs)
    found["training"] = _compared(cpu_turns(steps, repeats), macs, row.batch)
    for network in networks.values():
        network.eval()
    with torch.inference_mode():
        runs = {name: partial(network, clips[name]) for name, network in networks.items()}
        found["inference"] = _compared(cpu_turns(runs, repeats), macs, row.batch)
    found["parts"] = {name: parts(networks[name].train(), clips[name]) for name in ("two streams", "one stream")}
    return found


def _compared(seconds: Mapping[str, Sequence[float]], macs: Mapping[str, int], batch: int) -> dict[str, Any]:
    turns = [dict(zip(seconds, turn, strict=True)) for turn in zip(*seconds.values(), strict=True)]
    ratios = [_ratios(turn, macs) for turn in turns]
    speeds = {name: batch / statistics.median(values) for name, values in seconds.items()}
    medians = {name: statistics.median(row[name] for row in ratios) for name in ratios[0]}
    least = _ratios({name: min(values) for name, values in seconds.items()}, macs)
    return {"clips_per_sec": speeds} | medians | {"of_least_seconds": least}


def _ratios(amounts: Mapping[str, float], macs: Mapping[str, int]) -> dict[str, float]:
    """Of amounts per multiply-add."""
    per_mac = {name: amount / macs[name] for name, amount in amounts.items()}
    alone = ("sparse alone", "dense alone")
    of_streams = sum(amounts[name] for name in alone) / sum(macs[name] for name in alone)
    return {
        "times_one_stream": per_mac["two streams"] / per_mac["one stream"],
        "times_streams": per_mac["two streams"] / of_streams,
        "dense_times_one_stream": per_mac["dense alone"] / per_mac["one stream"],
    }


def parts(network: VideoNetwork, clips: Tensor) -> list[dict[str, Any]]:
    """Multiply-adds, activations and CPU milliseconds per clip of stems, groups, fusions, conv5 and head."""
    modules = {name: module for name, module in network.named_modules() if _is_part(name)}
    inputs: dict[str, Sequence[Tensor]] = {}

    def keep(name: str, module: nn.Module, given: Sequence[Tensor]) -> None:
        inputs[name] = given

    hooks = [module.register_forward_pre_hook(partial(keep, name)) for name, module in modules.items()]
    with torch.no_grad():
        network(clips)
    for hook in hooks:
        hook.remove()
    runs = {name: _alone(module, inputs[name], reads_clip=name.endswith(".stem")) for name, module in modules.items()}
    seconds = cpu_seconds(runs, PARTS_REPEATS)
    layers = layer_costs(network.spec)
    rows = []
    for name, spent in seconds.items():
        own = [layer for layer in layers if f"{layer.name}.".startswith(f"{name}.")]
        costs = {"macs": sum(layer.macs for layer in own), "activations": sum(layer.activations for layer in own)}
        rows.append({"part": name} | costs | {"ms": spent * 1e3 / len(clips)})
    return rows


def _is_part(name: str) -> bool:
    """`streams.1.stem`, `streams.1.groups.3`, `fusions.KEY`, `streams.1.conv5`, `head`."""
    first, *rest = name.split(".")
    depth = {"fusions": 1, "head": 0, "streams": 3 if "groups" in rest else 2}.get(first)
    return len(rest) == depth and rest[1:] != ["groups"]


def _alone(module: nn.Module, inputs: Sequence[Tensor], *, reads_clip: bool) -> Callable[[], None]:
    """Forward and backward; of a clip nobody wants the gradient."""
    given = [x.detach().requires_grad_(not reads_clip) for x in inputs]
    back = torch.randn_like(module(*given))

    def run() -> None:
        module.zero_grad()
        for x in given:
            x.grad = None
        module(*given).backward(back)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0, help="of the random architectures")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    searches = [{"space": work.space, "batch": work.batch, "memory": memory_of_steps(work)} for work in SEARCHES]
    tune_allocator()
    torch.set_num_threads(1)
    rows = [(row, SMALL_TURNS * options.repeats) for row in small_rows(options.seed)]
    rows += [(_row(get_spec(name), ONE_STREAM_CLIP, PUBLISHED_BATCH), options.repeats) for name in PUBLISHED]
    found = []
    for row, repeats in rows:
        found.append(measure(row, repeats))
        _tell(found[-1])
    result = {"instruction_set": instruction_set(), "networks": found, "searches": searches}
    save(options.out, command_of("bench-two-streams", parser, options), result)


def _tell(row: dict[str, Any]) -> None:
    print(f"{row['network']}, {row['macs']['two streams'] / 1e6:.1f} MMACs @ {row['clip']}, batch {row['batch']}")
    for kind in ("activations", "training", "inference"):
        amounts, *ratios = row[kind].values()
        told = ", ".join(f"{name} {amount:.4g}" for name, amount in amounts.items())
        print(f"  {kind}: {told}; {ratios}")


if __name__ == "__main__":
    main()
