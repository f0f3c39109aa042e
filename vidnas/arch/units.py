"""The units that a network is made of, each with its place and sizes; `vidnas.arch.plan` lists those of a spec."""

from dataclasses import dataclass
from math import gcd
from typing import Literal, NamedTuple

from vidnas.arch.fusion import FusionKind
from vidnas.arch.spec import HeadSpec, Kernel

# `identity_and_projection`: channels of the block's own stream as they are, and a normed projection of all that enter.
Shortcut = Literal["identity", "projection", "projection_norm", "identity_and_projection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A part of a network that is built, counted, timed, sliced and drawn as one.

    Attributes:
        path: where its module stands in the network: `streams.0.groups.3.block2`.
        in_channels: number of channels that it reads.
        out_channels: number of channels that it gives.
    """

    path: str
    in_channels: int
    out_channels: int

    @property
    def key(self) -> str:
        """Its name in its group: `block2`."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamUnit(Unit):
    """A unit from map to map.

    Attributes:
        stream: index of the stream that it belongs to.
        group: index of its group of blocks; None for what stands before or behind the groups.
        frames: number of frames T of the map that enters.
        side: height and width of the map that enters.
        stride: by how much it divides height and width.
        every: of how many frames of the clip the map that enters has one.
    """

    stream: int
    group: int | None
    frames: int
    side: int
    stride: int = 1
    every: int = 1

    @property
    def out_frames(self) -> int:
        """Number of frames of the map that leaves; only fusions change it."""
        return self.frames

    @property
    def out_side(self) -> int:
        """Side of the map that leaves."""
        return side_after(self.side, self.stride)

    @property
    def positions(self) -> int:
        """T * H * W of the map that enters."""
        return self.frames * self.side**2

    @property
    def out_positions(self) -> int:
        """T * H * W of the map that leaves."""
        return self.out_frames * self.out_side**2


@dataclass(frozen=True, slots=True, kw_only=True)
class StemPlan(StreamUnit):
    """The convolutions that read a clip: 1 x s x s with the stride, then t x 1 x 1."""

    kernel: Kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan(StreamUnit):
    """One MBConv block; `se_channels` 0 means no squeeze-excitation.

    `fused_channels` of its input channels, the last ones, come from other streams; it then always has a projection.
    """

    fused_channels: int = 0
    hidden: int
    kernel: Kernel
    se_channels: int
    shortcut: Shortcut
    activation: str
    depthwise: bool

    @property
    def norms_shortcut(self) -> bool:
        """Whether its projection shortcut has a norm."""
        return self.shortcut in ("projection_norm", "identity_and_projection")


@dataclass(frozen=True, slots=True, kw_only=True)
class GloRePlan(StreamUnit):
    """One global reasoning unit."""

    nodes: int
    states: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NonLocalPlan(StreamUnit):
    """One non-local unit."""

    inner: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv5Plan(StreamUnit):
    """The last 1 x 1 x 1 convolution of a stream; `fused_channels` as in a block."""

    fused_channels: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionPlan(StreamUnit):
    """What brings the map of its stream after its group to the frames of another stream.

    Attributes:
        target: index of the stream that reads it.
        kind: how.
        ratio: number of frames that become one.
    """

    target: int
    kind: FusionKind
    ratio: int

    @property
    def out_frames(self) -> int:
        """Number of frames of the target."""
        return self.frames // self.ratio


class LastMap(NamedTuple):
    """Frames and side of the last map of a stream."""

    frames: int
    side: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPlan(Unit):
    """Pool and classifier behind all streams.

    Attributes:
        spec: the part of the network's spec that describes it.
        maps: last map of each stream at the clip that is seen.
        windows: last map of each stream at the clip of training: the window of a fixed pool.
    """

    spec: HeadSpec
    maps: tuple[LastMap, ...]
    windows: tuple[LastMap, ...]

    @property
    def steps(self) -> tuple[int, ...]:
        """By how many frames the window of each stream moves at a time, so that all see the same time."""
        common = gcd(*(window.frames for window in self.windows))
        return tuple(window.frames // common for window in self.windows)

    @property
    def positions(self) -> int:
        """How many the pool leaves for fc1 and fc2."""
        if self.spec.pool == "global":
            return 1
        return max(
            max((seen.frames - window.frames) // step + 1, 1) * max(seen.side - window.side + 1, 1) ** 2
            for seen, window, step in zip(self.maps, self.windows, self.steps, strict=True)
        )


def side_after(side: int, stride: int) -> int:
    """Side of a map behind a layer of this stride: halves are rounded up."""
    return -(-side // stride)
