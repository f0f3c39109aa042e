"""The networks that the planted video tasks choose from, in a few words each; `planted.networks` has their spaces."""

from itertools import product
from typing import Any, NamedTuple

from vidnas.arch.spec import Kernel
from vidnas.search.space.fusion_space import FusionOption


class Option(NamedTuple):
    """A network of one stream: the kernel of its one block, and whether GloRe follows."""

    t: int
    s: int
    glore: bool = False

    def __str__(self) -> str:
        return f"{self.t}x{self.s}x{self.s}" + (" GloRe" if self.glore else "")

    def values(self) -> dict[str, Any]:
        """What it takes of each list of its space, by the path of the list."""
        group = "streams.0.groups.0"
        return {f"{group}.kernel": Kernel(t=self.t, s=self.s), f"{group}.attention": "glore" if self.glore else "none"}


class TwoStreamOption(NamedTuple):
    """A network of two streams: s of the kernels of their one block, and what the dense one gives to the sparse one."""

    sparse_s: int
    dense_s: int
    fusion: FusionOption = "none"

    def __str__(self) -> str:
        kernels = f"1x{self.sparse_s}x{self.sparse_s} and 3x{self.dense_s}x{self.dense_s}"
        return f"{kernels}, {self.fusion}" if self.fuses else kernels

    @property
    def fuses(self) -> bool:
        """Whether the streams meet before the head."""
        return self.fusion != "none"

    def without_fusion(self) -> "TwoStreamOption":
        """The same streams, which meet in the head alone."""
        return self._replace(fusion="none")

    def values(self) -> dict[str, Any]:
        """What it takes of each list of its space, by the path of the list."""
        return {
            "streams.0.groups.0.kernel": Kernel(t=1, s=self.sparse_s),
            "streams.1.groups.0.kernel": Kernel(t=3, s=self.dense_s),
            "fusions.0.kind": self.fusion,
        }


AnyOption = Option | TwoStreamOption
OPTIONS = tuple(Option(t, s, glore) for glore, s, t in product((False, True), (1, 3, 5), (1, 3, 5)))

KINDS: tuple[FusionOption, ...] = (
    "none",
    "time_strided_sampling",
    "time_to_channel",
    "time_strided_convolution",
)
TWO_STREAM_OPTIONS = tuple(
    TwoStreamOption(sparse_s, dense_s, fusion) for sparse_s, dense_s, fusion in product((1, 3), (1, 3), KINDS)
)
