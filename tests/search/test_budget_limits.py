"""Networks of every source keep every budget, whatever it counts, and use one up."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
from stated_clock import StatedClock

from vidnas.arch.cost import network_cost
from vidnas.arch.scale import TOLERANCE
from vidnas.arch.spec import ArchSpec, ClassificationSpec, ClipSpec, Kernel
from vidnas.arch.zoo.x3d import x3d
from vidnas.base.errors import VidnasError
from vidnas.search.limits import BoundedSpace, Limits
from vidnas.search.measured_width import LEAST_MS
from vidnas.search.proposals import (
    Proposal,
    along_axes,
    by_entropy,
    drawn,
    hand_made,
    kept,
    mutants,
    x3d_at,
    x3d_at_each,
)
from vidnas.search.space.published.scaled import scaled_space

HEAD = ClassificationSpec(num_classes=27)
CLIP = ClipSpec(frames=8, size=48, sampling="uniform")
# By kind of budget; those of several pull apart, so that another one is the tightest from case to case.
KINDS = [("macs",), ("params",), ("macs", "params"), ("macs", "activations", "params"), ("ms",), ("ms", "params")]
CASES = [(metrics, 0) for metrics in KINDS] + [pytest.param(metrics, 1, marks=pytest.mark.long) for metrics in KINDS]


def sources(limits: Limits, clip: ClipSpec) -> Iterator[tuple[str, list[Proposal]]]:
    """Some networks of each source, at a clip."""
    parent = x3d_at(clip, limits, HEAD, 1.0)
    near = limits.near(network_cost(parent).macs)
    width = parent.streams[0].groups[0].channels / 24
    few = (Kernel(t=1, s=3), Kernel(t=3, s=3))
    space = scaled_space(
        clip, width_factor=1.2 * width, depth_factor=0.4, max_expansion=4.5, kernels=few, num_classes=27
    )
    bounded = BoundedSpace(space, near)
    yield "x3d", [Proposal(parent, "x3d")]
    yield "zoo", list(hand_made(clip, near, HEAD))
    yield "axes", list(along_axes(clip, near, HEAD, 1.0))
    yield "near x3d", list(islice(mutants(parent, near, 0, "near x3d"), 3))
    yield "random", list(islice(drawn(bounded, 0), 3))
    yield "entropy", list(by_entropy(bounded, 2))


def limits_of(metrics: tuple[str, ...], seed: int) -> tuple[Limits, ClipSpec]:
    """Budgets round what a network of some width takes at some clip, each of them more or less."""
    rng = np.random.default_rng(seed)
    frames, size = int(rng.choice([4, 8, 16])), int(rng.choice([32, 48, 56]))
    clip = ClipSpec(frames=frames, size=size, sampling="uniform")
    middle = x3d("middle", clip, width_factor=float(rng.uniform(1, 2))).model_copy(update={"head": HEAD})
    clock = StatedClock()
    cost = network_cost(middle)
    taken = {metric: clock.networks([middle])[0] if metric == "ms" else getattr(cost, metric) for metric in metrics}
    return Limits({metric: amount * rng.uniform(0.8, 1.25) for metric, amount in taken.items()}, clock), clip


@pytest.mark.parametrize(("metrics", "seed"), CASES, ids=str)
def test_every_source_keeps_every_budget(metrics: tuple[str, ...], seed: int) -> None:
    limits, clip = limits_of(metrics, seed)
    for source, proposals in sources(limits, clip):
        assert proposals, source
        for spec, name in proposals:
            assert name == source
            assert spec.clip == clip
            used = uses(limits, spec)
            assert max(used.values()) <= 1, (source, used)
            # An optimum of the entropy need not use anything up, where channels come in steps of four.
            if source != "entropy":
                least = {metric: LEAST_MS if metric == "ms" else 1 - TOLERANCE for metric in used}
                assert any(used[metric] >= least[metric] for metric in used), (source, used)


def uses(limits: Limits, spec: ArchSpec) -> dict[str, float]:
    """Shares of the budgets, counted here."""
    cost = network_cost(spec)
    clock = limits.clock
    assert isinstance(clock, StatedClock)
    return {
        metric: (clock.timed[spec.content_hash] if metric == "ms" else getattr(cost, metric)) / target
        for metric, target in limits.targets.items()
    }


def test_x3d_at_several_clips_is_within_the_tightest_budget() -> None:
    """At large clips multiply-adds are what is tight, at small ones parameters."""
    limits = Limits({"macs": 12e6, "params": 0.35e6})
    clips = [ClipSpec(frames=frames, size=size, sampling="uniform") for frames, size in ((4, 32), (16, 48), (16, 72))]
    tight = [
        max(limits.targets, key=lambda metric: getattr(network_cost(spec), metric) / limits.targets[metric])
        for spec in x3d_at_each(clips, limits, HEAD, 1.0)
    ]
    assert tight == ["params", "params", "macs"] or tight == ["params", "macs", "macs"]


def test_heads_are_narrowed_where_parameters_are_counted() -> None:
    """2,048 hidden channels would leave nothing else of so few parameters."""
    spec = x3d_at(CLIP, Limits({"params": 0.1e6}), HEAD, 1.0)
    assert 256 <= spec.head.hidden < 1024
    assert spec.streams[0].groups[-1].channels > 30
    assert x3d_at(CLIP, Limits({"macs": 20e6}), HEAD, 1.0).head == HEAD


def test_few_networks_are_timed_on_the_way() -> None:
    limits, clip = limits_of(("ms",), 0)
    found = [spec for spec in limits.brought([x3d("x", clip, depth_factor=d) for d in (1.0, 2.2, 3.2, 5.0)]) if spec]
    assert len(found) == 4
    assert isinstance(limits.clock, StatedClock)
    assert len(limits.clock.timed) <= 4 * 6


def test_what_takes_too_long_is_narrowed_and_the_rest_stays() -> None:
    limits, clip = limits_of(("ms",), 1)
    within = limits.bring(x3d("within", clip))
    beyond = x3d("beyond", clip, width_factor=6.0)
    first, second = kept([Proposal(within, "supernet"), Proposal(beyond, "supernet")], limits)
    assert first.spec is within
    assert limits.met_by(second.spec)
    assert [group.depth for group in second.spec.streams[0].groups] == [g.depth for g in beyond.streams[0].groups]


def test_milliseconds_that_no_width_has() -> None:
    limits = Limits({"ms": 0.01}, StatedClock())
    with pytest.raises(VidnasError, match=r"x: no width of it was found for 0\.01 ms on cpu @ 8x48x48; the nearest of"):
        limits.bring(x3d("x", CLIP))
    assert limits.brought([x3d("x", CLIP)]) == [None]
    assert list(kept([Proposal(x3d("x", CLIP), "supernet")], limits)) == []


def test_widths_are_found_on_a_noisy_machine() -> None:
    """Timings that are off by 5% either way, more than those of an idle machine."""
    for seed in range(6):
        frames = int(np.random.default_rng(seed).choice([4, 8, 16]))
        clock = StatedClock(noise=0.05)
        limits = Limits({"ms": 40.0}, clock, start_macs=2e6 * 10**seed)
        spec = limits.bring(x3d("x", ClipSpec(frames=frames, size=40 + 8 * seed)))
        assert LEAST_MS * 40 <= clock.timed[spec.content_hash] <= 40


def test_budgets_in_words() -> None:
    assert Limits({"macs": 2e7, "ms": 30.0}, StatedClock()).text == "20.00 MMACs and 30 ms on cpu"
    assert Limits({"macs": 2e7}).identity == {"macs": 2e7}
    assert Limits({"ms": 30.0}, StatedClock()).identity == {"ms": 30.0, "device of ms": "cpu"}
