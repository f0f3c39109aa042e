"""A latency table: milliseconds of a network by look-up, from sub-layers that were measured on one machine."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import combinations
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from vidnas.arch.spec import ArchSpec, ClipSpec, Positive
from vidnas.arch.sub_layers import Kind, Layer, SubLayer, network_sub_layers, number_of_blocks, unit_sub_layers
from vidnas.arch.units import BlockPlan, Unit
from vidnas.base.document import Document, Frozen
from vidnas.base.errors import VidnasError

Device = Literal["cpu", "cuda", "openvino"]
# Measured neighbours that correct the fit of a curve.
_NEIGHBOURS = 3
# Layers whose later numbers of channels (squeezed ones; nodes and states; what a fusion gives) follow from the first.
_ONE_FREE: tuple[Kind, ...] = ("depthwise", "attention", "fusion")

Milliseconds = Annotated[float, Field(gt=0)]
Channels = tuple[int, ...]
Floats = NDArray[np.float64]


class Point(NamedTuple):
    """What one sub-layer took."""

    channels: tuple[Positive, ...]
    ms: Milliseconds


class Curve(Frozen):
    """What a layer took at several numbers of channels.

    In between, a fit that is linear in each number of channels, as multiply-adds and memory traffic are, is corrected
    by the ratios measured / fit of the nearest measured shapes; at a measured one that gives what was measured.
    """

    layer: Layer
    points: Annotated[tuple[Point, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _alike(self) -> Self:
        if len({len(point.channels) for point in self.points}) > 1:
            raise ValueError(f"{self.layer}: points have different numbers of channels")
        if len({point.channels for point in self.points}) < len(self.points):
            raise ValueError(f"{self.layer}: a point is there twice")
        return self

    def covers(self, channels: Channels) -> bool:
        """Whether each number of channels lies between measured ones."""
        low, high = self._box
        return len(channels) == len(low) and bool(((low <= channels) & (channels <= high)).all())

    def ms(self, channels: Channels) -> float:
        """Milliseconds at these channels."""
        measured = self._measured.get(channels)
        if measured is not None:
            return measured
        wanted = self._free(np.array([channels]))
        distances = np.square(np.log2(self._shapes) - np.log2(wanted)).sum(1)
        near = np.argsort(distances, kind="stable")[:_NEIGHBOURS]
        # Two measured shapes may share their free channels with each other and with this one.
        weights = 1 / np.maximum(distances[near], 1e-9)
        ratio = (weights * self._ratios[near]).sum() / weights.sum()
        return float(ratio * self._fit(wanted)[0])

    @cached_property
    def _measured(self) -> Mapping[Channels, float]:
        return dict(self.points)

    def _free(self, shapes: NDArray[np.int64]) -> Floats:
        free = 1 if self.layer.kind in _ONE_FREE else shapes.shape[1]
        return shapes[:, :free].astype(np.float64)

    @cached_property
    def _box(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        shapes = np.array([point.channels for point in self.points])
        return shapes.min(0), shapes.max(0)

    @cached_property
    def _shapes(self) -> Floats:
        return self._free(np.array([point.channels for point in self.points]))

    def _features(self, shapes: Floats) -> Floats:
        columns = (shapes / self._shapes.max(0)).T
        products = [a * b for a, b in combinations(columns, 2)]
        return np.stack([np.ones(len(shapes)), *columns, *products], axis=1)

    @cached_property
    def _coefficients(self) -> Floats:
        """Least squares of the relative error; the smallest ones where the points do not settle all."""
        ms = np.array([point.ms for point in self.points])
        solved: Floats = np.linalg.lstsq(self._features(self._shapes) / ms[:, None], np.ones(len(ms)), rcond=None)[0]
        return solved

    def _fit(self, shapes: Floats) -> Floats:
        fitted: Floats = self._features(shapes) @ self._coefficients
        return fitted

    @cached_property
    def _ratios(self) -> Floats:
        return np.array([point.ms for point in self.points]) / self._fit(self._shapes)


class LatencyTable(Document):
    """Milliseconds of sub-layers, and of a network as their sum.

    Attributes:
        format: version of this file's layout.
        device: device of the measurement: our modules on `cpu` or `cuda`, or converted ones in `openvino` on the CPU.
        machine: name of the processor or GPU.
        threads: number of threads of CPU operators.
        versions: versions of the packages that it was measured with.
        clip: frames and size that one call saw, one clip at a time.
        space: the space that it was made for, by name; it serves others that reach no further.
        scale: factor on the sub-layers' milliseconds in a network; fitted on whole networks with `overhead_ms`. Timed
            one by one they find other caches, and counting them takes time of its own.
        overhead_ms: milliseconds that are added per MBConv block.
        took_sec: seconds that measuring took.
        held_out_error: mean relative error of the look-up where it was checked and then refined.
        fit_error: mean relative error on the networks that scale and overhead were fitted on.
        curves: one per layer.
    """

    what: ClassVar[str] = "latency table"

    format: Literal[1] = 1
    device: Device
    machine: str
    threads: Positive
    versions: Mapping[str, str]
    clip: ClipSpec
    space: str
    scale: Annotated[float, Field(gt=0)] = 1.0
    overhead_ms: float
    took_sec: Annotated[float, Field(ge=0)]
    held_out_error: Annotated[float, Field(ge=0)]
    fit_error: Annotated[float, Field(ge=0)]
    curves: Annotated[tuple[Curve, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_curve_per_layer(self) -> Self:
        if len(self._by_layer) < len(self.curves):
            raise ValueError("curves: a layer is there twice")
        return self

    @cached_property
    def _by_layer(self) -> dict[Layer, Curve]:
        return {curve.layer: curve for curve in self.curves}

    @cached_property
    def _known(self) -> dict[SubLayer, float]:
        return {}

    def ms(self, sub_layer: SubLayer) -> float:
        """Milliseconds of a sub-layer as part of a network.

        Raises:
            VidnasError: the table does not cover it.
        """
        known = self._known.get(sub_layer)
        if known is None:
            self.check_covers([sub_layer], "what is asked for")
            known = self._known[sub_layer] = self._by_layer[sub_layer.layer].ms(sub_layer.channels)
        return self.scale * known

    def unit_ms(self, unit: Unit) -> float:
        """Milliseconds of a unit, of a block with its overhead."""
        total = sum(map(self.ms, unit_sub_layers(unit)))
        return total + self.overhead_ms if isinstance(unit, BlockPlan) else total

    def network_ms(self, spec: ArchSpec) -> float:
        """Predicted milliseconds of a network for one clip of its own frames and size.

        Raises:
            VidnasError: the table is of another clip, or does not cover the network.
        """
        self.check_clip(spec.clip, spec.name)
        return sum(map(self.ms, network_sub_layers(spec))) + self.overhead_ms * number_of_blocks(spec)

    def check_clip(self, clip: ClipSpec, whose: str) -> None:
        """Refuse a clip of other frames or size.

        Raises:
            VidnasError: it is one.
        """
        if str(clip) != str(self.clip):
            raise VidnasError(f"the latency table was measured at {self.clip}, {whose} sees {clip}")

    def check_covers(self, sub_layers: Iterable[SubLayer], whose: str) -> None:
        """Refuse sub-layers that were not measured and do not lie between measured ones.

        Raises:
            VidnasError: the first of them.
        """
        for layer, channels in sub_layers:
            curve = self._by_layer.get(layer)
            if curve is None or not curve.covers(channels):
                shown = ", ".join(map(str, channels))
                raise VidnasError(
                    f"the latency table, measured for {self.space}, does not cover {whose}: no {layer} "
                    f"with {shown} channels"
                )


def relative_errors(predicted: Iterable[float], measured: Iterable[float]) -> NDArray[Any]:
    """|predicted / measured - 1| of each."""
    truth = np.array(list(measured), dtype=np.float64)
    return np.abs(np.array(list(predicted), dtype=np.float64) / truth - 1)
