"""Fill a latency table: a few shapes of each layer that a space reaches, and more where the look-up is off."""

import math
import random
import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vidnas.arch.latency import Curve, LatencyTable, Point, relative_errors
from vidnas.arch.sub_layers import Kind, Layer, SubLayer, network_sub_layers, number_of_blocks
from vidnas.base.log import log
from vidnas.deploy.timing.stopwatch import Stopwatch
from vidnas.search.latency_costs import reached_shapes, spread_choices
from vidnas.search.space.space import Space

Channels = tuple[int, ...]
Floats = NDArray[np.float64]
# Shapes of a layer that are measured at first; depthwise time follows from one number of channels.
_FIRST: Mapping[Kind, int] = {"depthwise": 5, "attention": 12}
_FIRST_OF_OTHERS = 8
# Shapes of a layer that are looked up before they are measured.
_HELD_OUT: Mapping[Kind, int] = {"depthwise": 2}
_HELD_OUT_OF_OTHERS = 3
# Then the layers whose look-up was off by most get further shapes, near and far from that one, unless it
# was off by less than noise.
_ROUNDS = 3
_REFINED_SHARE = 0.25
_NEAR, _FAR = 2, 2
_NOISE = 0.03
# Whole networks that scale and overhead are fitted on.
_NETWORKS = 16


def measure_table(
    space: Space,
    stopwatch: Stopwatch,
    *,
    machine: str,
    threads: int,
    versions: Mapping[str, str],
    refine_sec: float = 120.0,
) -> LatencyTable:
    """Measure what the look-up of any network of a space needs.

    Args:
        space: whose sub-layers, at its clip.
        stopwatch: what measures.
        machine: name of the processor or GPU, for the table.
        threads: of CPU operators, for the table; they are those that the stopwatch uses.
        versions: for the table.
        refine_sec: once so much time has passed, nothing is refined any more.
    """
    start = time.perf_counter()
    fill = _Fill(space, stopwatch)
    fill.measure(fill.spread(_FIRST, _FIRST_OF_OTHERS))
    held_out = fill.measure(fill.spread(_HELD_OUT, _HELD_OUT_OF_OTHERS))
    for _ in range(_ROUNDS):
        if time.perf_counter() - start < refine_sec:
            fill.measure(fill.around_errors())
    table = LatencyTable(
        device=stopwatch.device,
        machine=machine,
        threads=threads,
        versions=versions,
        clip=space.clip,
        space=space.name,
        overhead_ms=0.0,
        took_sec=0.0,
        held_out_error=float(np.mean(held_out)) if held_out else 0.0,
        fit_error=0.0,
        curves=fill.curves(),
    )
    specs = [space.decode(choice) for choice in spread_choices(space, _NETWORKS, seed=0)]
    networks_ms = np.array(stopwatch.networks(specs))
    sums_ms = np.array([table.network_ms(spec) for spec in specs])
    blocks = np.array([number_of_blocks(spec) for spec in specs])
    scale, overhead_ms = _fit(sums_ms, blocks, networks_ms)
    fit_error = float(relative_errors(scale * sums_ms + overhead_ms * blocks, networks_ms).mean())
    took_sec = time.perf_counter() - start
    log.info(
        f"latency on {stopwatch.device}: {fill.number} of {fill.reachable} sub-layers measured in {took_sec:.0f} s; "
        f"where it was checked the look-up was off by {table.held_out_error:.1%}, on {len(specs)} networks by "
        f"{fit_error:.1%}"
    )
    fitted = {"scale": scale, "overhead_ms": overhead_ms, "fit_error": fit_error, "took_sec": took_sec}
    return table.model_copy(update=fitted)


def _fit(sums_ms: Floats, blocks: NDArray[np.int64], networks_ms: Floats) -> tuple[float, float]:
    """Scale and overhead of least squared relative error; no scale but 1 where the sums are nearly all alike.

    Where the best scale is not above zero, the networks say nothing of it.
    """
    columns = np.stack([sums_ms, blocks], axis=1) / networks_ms[:, None]
    solved, _, rank, _ = np.linalg.lstsq(columns, np.ones(len(networks_ms)), rcond=None)
    if rank == 2 and solved[0] > 0:
        return float(solved[0]), float(solved[1])
    return 1.0, float(np.median((networks_ms - sums_ms) / blocks))


class _Fill:
    """What was measured so far, and what to measure next."""

    def __init__(self, space: Space, stopwatch: Stopwatch) -> None:
        self._reached = reached_shapes(space)
        self._measured: dict[Layer, dict[Channels, float]] = {layer: {} for layer in self._reached}
        # Of each layer the worst look-up of the last measurement: milliseconds that it was off, and where.
        self._worst: dict[Layer, tuple[float, Channels]] = {}
        self._stopwatch = stopwatch
        self._frames = space.clip.frames
        # As many at once as the largest network has, so that caches are about as full as in a network.
        self._together = len(network_sub_layers(space.decode(space.largest())))

    @property
    def number(self) -> int:
        """Of sub-layers measured."""
        return sum(map(len, self._measured.values()))

    @property
    def reachable(self) -> int:
        """Number of sub-layers that the space reaches."""
        return sum(map(len, self._reached.values()))

    def curves(self) -> tuple[Curve, ...]:
        """All that was measured."""
        return tuple(self._curve(layer) for layer in self._measured)

    def spread(self, numbers: Mapping[Kind, int], otherwise: int) -> list[SubLayer]:
        """Per layer further shapes, as far as can be from each other and from those measured."""
        chosen = []
        for layer, shapes in self._reached.items():
            number = numbers.get(layer.kind, otherwise)
            chosen += [SubLayer(layer, shapes[i]) for i in _farthest(shapes, self._taken(layer), number)]
        return chosen

    def around_errors(self) -> list[SubLayer]:
        """Of the layers whose last look-ups were off by most, shapes next to the worst one and far from all."""
        off = [layer for layer, (ms, worst) in self._worst.items() if ms > _NOISE * self._measured[layer][worst]]
        off.sort(key=lambda layer: self._worst[layer][0], reverse=True)
        chosen = []
        for layer in off[: math.ceil(_REFINED_SHARE * len(self._reached))]:
            shapes = self._reached[layer]
            distances = np.square(np.log2(shapes) - np.log2(self._worst[layer][1])).sum(1)
            nearest = [int(i) for i in distances.argsort(kind="stable") if shapes[i] not in self._measured[layer]]
            near = nearest[:_NEAR]
            far = _farthest(shapes, [*self._taken(layer), *near], _FAR)
            chosen += [SubLayer(layer, shapes[i]) for i in (*near, *far)]
        return chosen

    def measure(self, shapes: Sequence[SubLayer]) -> list[float]:
        """Measure; returns the relative errors of the look-ups that could be made before."""
        looked_up = [self._curve(s.layer).ms(s.channels) if self._measured[s.layer] else None for s in shapes]
        errors = []
        self._worst = {}
        for (layer, channels), predicted, ms in zip(shapes, looked_up, self._ms(shapes), strict=True):
            self._measured[layer][channels] = ms
            if predicted is not None:
                errors.append(abs(predicted / ms - 1))
                self._worst[layer] = max(self._worst.get(layer, (0.0, channels)), (abs(predicted - ms), channels))
        return errors

    def _ms(self, shapes: Sequence[SubLayer]) -> list[float]:
        """In random order; where they are too few, together with others that were measured before."""
        if not shapes:
            return []
        rng = random.Random(len(shapes))
        order = rng.sample(range(len(shapes)), len(shapes))
        known = [SubLayer(layer, channels) for layer, points in self._measured.items() for channels in points]
        company = rng.sample(known, min(len(known), max(0, self._together - len(shapes))))
        timed = [*(shapes[i] for i in order), *company]
        ms = self._stopwatch.sub_layers(timed, self._frames, self._together)
        return [value for _, value in sorted(zip(order, ms, strict=False))]

    def _taken(self, layer: Layer) -> list[int]:
        """Positions of the measured shapes among those reached."""
        return [i for i, channels in enumerate(self._reached[layer]) if channels in self._measured[layer]]

    def _curve(self, layer: Layer) -> Curve:
        points = self._measured[layer]
        return Curve(layer=layer, points=tuple(Point(channels, points[channels]) for channels in sorted(points)))


def _farthest(shapes: Sequence[Channels], taken: Sequence[int], number: int) -> list[int]:
    """Positions of `number` shapes that are not taken, each the farthest from all before it.

    Where nothing is taken, those with the fewest and the most channels of each kind come first, since no look-up goes
    beyond them.
    """
    places = np.log2(np.array(shapes, dtype=np.float64))
    places = (places - places.min(0)) / np.maximum(np.ptp(places, axis=0), 1e-9)
    chosen: list[int] = []
    if not taken:
        for axis in places.T:
            chosen += [int(position) for position in (axis.argmin(), axis.argmax()) if position not in chosen]
    while len(taken) + len(chosen) < len(shapes) and len(chosen) < number:
        near = places[[*taken, *chosen]]
        chosen.append(int(np.square(places[:, None] - near).sum(2).min(1).argmax()))
    return chosen
