"""ArchSpec: everything that a network is, as frozen, validated, plain data.

From an ArchSpec alone follow the module (`vidnas.nn`), its cost, its picture, its path through a supernet
and its export. Tensors are (N, C, T, H, W), kernels (t, s) meaning t x s x s.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from vidnas.arch.fusion import FusionSpec, check_fusions
from vidnas.base.document import Document, Frozen
from vidnas.base.errors import VidnasError
from vidnas.base.mistakes import FieldError, first_mistake

# Strict, as true counts as 1 otherwise.
Positive = Annotated[int, Field(ge=1, strict=True)]
Stride = Annotated[int, Field(ge=1, le=2, strict=True)]
_ON_LISTS = "must be one value; lists make a search space of it, see `vidnas space --help`"


class ClipSpec(Frozen):
    """What a network sees of a video.

    Attributes:
        frames: number of frames T.
        size: side of the square crop, pixels.
        sampling: `stride` takes frames `stride` apart at `fps` from a window of the video; `uniform` takes one
            frame from each of T equal segments of the whole video.
        stride: distance of neighbouring frames at the reference rate; need not be whole.
        fps: reference rate in frames per second.
    """

    frames: Positive
    size: Positive
    sampling: Literal["stride", "uniform"] = "stride"
    stride: Annotated[float, Field(gt=0, strict=True)] = 1.0
    fps: Annotated[float, Field(gt=0, strict=True)] = 30.0

    def __str__(self) -> str:
        return f"{self.frames}x{self.size}x{self.size}"

    @property
    def span_sec(self) -> float:
        """Seconds from the first frame to the end of the last one; meaningless for `uniform`."""
        return self.frames * self.stride / self.fps

    def resized(self, text: str) -> "ClipSpec":
        """This clip with the frames and size of `text`: `13x160` or `13x160x160`."""
        match = re.fullmatch(r"(\d+)x(\d+)(?:x(\d+))?", text.strip())
        if match is None or (match[3] is not None and match[3] != match[2]):
            raise VidnasError(f"clip {text!r}: write frames x size, as in 13x160 (crops are square)")
        frames, size = int(match[1]), int(match[2])
        if frames < 1 or size < 1:
            raise VidnasError(f"clip {text!r}: frames and size must be at least 1")
        return self.model_copy(update={"frames": frames, "size": size})


class Kernel(Frozen):
    """A t x s x s kernel; both sides odd, so that padding k // 2 keeps the size."""

    t: Positive
    s: Positive

    def __str__(self) -> str:
        return f"t{self.t}_s{self.s}"

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if self.t % 2 == 0 or self.s % 2 == 0:
            raise ValueError(f"sides must be odd, got {self.t} x {self.s} x {self.s}")
        return self


class StemSpec(Frozen):
    """1 x s x s convolution with stride (1, 2, 2), then a depthwise t x 1 x 1, one norm and a ReLU."""

    channels: Positive
    kernel: Kernel = Kernel(t=5, s=3)
    in_channels: Positive = 3


class SqueezeExciteSpec(Frozen):
    """Squeeze-excitation in blocks 0, `every`, 2 * `every`, ... of each stage."""

    ratio: Annotated[float, Field(gt=0, le=1, strict=True)] = 0.0625
    every: Positive = 2


def _in_order(after: tuple[int, ...]) -> tuple[int, ...]:
    if any(block >= following for block, following in pairwise(after)):
        raise ValueError(f"must name each block once, in order, got {list(after)}")
    return after


# The blocks of a group (1 = the first) that units of attention follow, in order; empty means the last one.
Places = Annotated[tuple[Positive, ...], AfterValidator(_in_order)]


class GloReSpec(Frozen):
    """Global reasoning units: `nodes` graph nodes with `states` features each."""

    kind: Literal["glore"] = "glore"
    nodes: Positive
    states: Positive
    after: Places = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.nodes}x{self.states}{_places_text(self)}"


class NonLocalSpec(Frozen):
    """Non-local units: every position looks at all others, and is seen by them, through `inner` features."""

    kind: Literal["non_local"] = "non_local"
    inner: Positive
    after: Places = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.inner}{_places_text(self)}"


# Every kind of attention has `kind`, `after` and whole numbers that are sizes: of the largest any smaller is a prefix.
AttentionSpec = GloReSpec | NonLocalSpec
ATTENTION_KINDS: Mapping[str, type[AttentionSpec]] = {"glore": GloReSpec, "non_local": NonLocalSpec}


def attention_sizes(attention: AttentionSpec) -> dict[str, int]:
    """What is not common to all kinds: how large the units are."""
    return attention.model_dump(exclude={"kind", "after"})


def read_attention(value: Any, on_lists: str = _ON_LISTS) -> Any:
    """What a file says of attention, as a spec of the kind that it names; without a `kind` it is GloRe.

    Args:
        value: a mapping, a spec, or None, which stays such.
        on_lists: what is said of a list or mapping where one value is due.

    Raises:
        FieldError: none of these, or a rule of its kind is broken.
    """
    example = "{nodes: 72, states: 144}"
    return value if value is None else _read_kind(value, ATTENTION_KINDS, "glore", on_lists, example)


def _read_kind(
    value: Any, kinds: Mapping[str, type[Frozen]], default: str, on_lists: str = _ON_LISTS, example: str = ""
) -> Any:
    """A mapping as the spec of the kind that it names, or of the default one; a spec stays as it is.

    Raises:
        FieldError: none of these, or a rule of its kind is broken.
    """
    if isinstance(value, tuple(kinds.values())):
        return value
    if not isinstance(value, dict):
        raise FieldError((), on_lists if isinstance(value, list) else f"must be a mapping, as {example}")
    kind = value.get("kind", default)
    if kind not in tuple(kinds):
        raise FieldError(("kind",), f"must be one of {', '.join(kinds)} (got {kind!r})")
    try:
        return kinds[kind].model_validate(value)
    except ValidationError as error:
        raise FieldError(*first_mistake(error, kinds[kind], on_lists)) from error


def _places_text(attention: AttentionSpec) -> str:
    return f" after {', '.join(map(str, attention.after))}" if attention.after else ""


class GroupSpec(Frozen):
    """A row of the papers' tables: `depth` equal MBConv blocks; `stride` (spatial) in the first one.

    A stage runs from one stride-2 group to the next.
    """

    depth: Positive
    stride: Stride
    channels: Positive
    expansion: Annotated[float, Field(gt=0, le=1000, strict=True)]
    kernel: Kernel
    attention: Annotated[AttentionSpec | None, BeforeValidator(read_attention)] = None

    @model_validator(mode="after")
    def _attention_inside(self) -> Self:
        if self.attention and any(block > self.depth for block in self.attention.after):
            raise FieldError(("attention", "after"), f"names block {max(self.attention.after)} of {self.depth}")
        return self


class StreamSpec(Frozen):
    """One pathway from frames to its last feature map.

    Attributes:
        every: of how many frames of the clip it takes one, the first; 1 takes all.
        expansion_of: whose channels `expansion` multiplies, the block's input or its output.
        activation: around the middle convolution (elsewhere it is ReLU).
        depthwise: False makes the middle convolution dense (X3D's ablation).
        projection_norm: whether the projection shortcut has a norm always (SlowFast's files) or only where
            the number of channels changes (pytorchvideo's files).
        conv5: channels of the last 1 x 1 x 1 convolution.
    """

    every: Positive = 1
    stem: StemSpec
    groups: Annotated[tuple[GroupSpec, ...], Field(min_length=1)]
    expansion_of: Literal["input", "output"] = "output"
    se: SqueezeExciteSpec | None = SqueezeExciteSpec()
    activation: Literal["swish", "relu"] = "swish"
    depthwise: bool = True
    projection_norm: Literal["always", "on_channel_change"] = "always"
    conv5: Positive


class _Head(Frozen):
    """Pool, fc1 (no bias, ReLU), dropout, fc2: what all heads have in common.

    Attributes:
        kind: tells heads apart.
        num_classes: 0 leaves fc2 out.
        pool: `fixed` averages windows of the training crop's final map with stride 1, so a larger test crop gives
            several positions (the official head); `global` averages everything.
        ensemble: how positions are averaged in evaluation.
    """

    kind: str
    num_classes: Annotated[int, Field(ge=0, strict=True)] = 400
    hidden: Positive = 2048
    dropout: Annotated[float, Field(ge=0, lt=1, strict=True)] = 0.5
    pool: Literal["fixed", "global"] = "fixed"
    ensemble: str


class ClassificationSpec(_Head):
    """Each video is of one class: a softmax over the logits.

    Positions are averaged by `softmax_mean` (SlowFast) or `logit_mean` (pytorchvideo).
    """

    kind: Literal["classification"] = "classification"
    ensemble: Literal["softmax_mean", "logit_mean"] = "softmax_mean"


class MultiLabelSpec(_Head):
    """Each video shows any number of classes: a sigmoid of each logit."""

    kind: Literal["multi_label"] = "multi_label"
    ensemble: Literal["sigmoid_mean", "logit_mean"] = "sigmoid_mean"


HEAD_KINDS: Mapping[str, type[ClassificationSpec | MultiLabelSpec]] = {
    "classification": ClassificationSpec,
    "multi_label": MultiLabelSpec,
}


def _read_head(value: Any) -> Any:
    return _read_kind(value, HEAD_KINDS, "classification", example="{num_classes: 10}")


# A head of one of the kinds; a file that names no kind means classification.
HeadSpec = Annotated[ClassificationSpec | MultiLabelSpec, BeforeValidator(_read_head)]


def head_for(head: HeadSpec, num_classes: int, *, multi_label: bool) -> HeadSpec:
    """The same head for the classes of a list; that of a classifier becomes one for several labels per video.

    A head that was meant for several labels stays one, whatever the list: who trains it will say that they differ.
    """
    if multi_label and isinstance(head, ClassificationSpec):
        ensemble: Literal["sigmoid_mean", "logit_mean"]
        ensemble = "sigmoid_mean" if head.ensemble == "softmax_mean" else "logit_mean"
        common = head.model_dump(exclude={"kind", "num_classes", "ensemble"})
        return MultiLabelSpec(**common, num_classes=num_classes, ensemble=ensemble)
    return head.model_copy(update={"num_classes": num_classes})


class ArchSpec(Document):
    """A whole network: clip, streams, fusions between them, head.

    All streams see the one clip, each the frames that it takes; `num_classes` 0 leaves fc2 out and the network gives
    features.
    """

    what: ClassVar[str] = "architecture"
    on_lists: ClassVar[str] = _ON_LISTS

    name: Annotated[str, Field(min_length=1)]
    clip: ClipSpec
    streams: Annotated[tuple[StreamSpec, ...], Field(min_length=1, max_length=2)]
    fusions: tuple[FusionSpec, ...] = ()
    head: HeadSpec = ClassificationSpec()

    @model_validator(mode="after")
    def _hidden_channels(self) -> Self:
        for s, stream in enumerate(self.streams):
            channels = stream.stem.channels
            for g, group in enumerate(stream.groups):
                # In input mode the first block expands the previous group's channels, the others their own.
                bases = {group.channels} | ({channels} if stream.expansion_of == "input" else set())
                for basis in bases:
                    if int(group.expansion * basis) < 1:
                        raise FieldError(
                            ("streams", s, "groups", g, "expansion"),
                            f"{group.expansion} x {basis} channels leaves no hidden channel",
                        )
                channels = group.channels
        return self

    @model_validator(mode="after")
    def _streams_fit(self) -> Self:
        check_streams(self.clip, self.streams, self.head)
        return self

    @model_validator(mode="after")
    def _fusions_fit(self) -> Self:
        check_fusions(self.streams, self.fusions)
        return self

    def with_classes(self, num_classes: int, *, multi_label: bool = False) -> "ArchSpec":
        """The same network for another number of classes, or for several labels per video (`head_for`)."""
        return self.model_copy(update={"head": head_for(self.head, num_classes, multi_label=multi_label)})

    def with_clip(self, clip: ClipSpec) -> "ArchSpec":
        """The same network trained on another clip.

        Raises:
            VidnasError: a stream cannot take its frames of it.
        """
        for s, stream in enumerate(self.streams):
            if rule := frames_mistake(clip, stream.every):
                raise VidnasError(f"{self.name}: streams.{s}.every: {rule}")
        return self.model_copy(update={"clip": clip})

    def alone(self, stream: int) -> "ArchSpec":
        """The network of one of its streams, with a head of its own, on the same clip."""
        name = f"{self.name}, stream {stream} alone"
        return self.model_copy(update={"name": name, "streams": (self.streams[stream],), "fusions": ()})


def check_streams(clip: ClipSpec, streams: Sequence[StreamSpec], head: HeadSpec) -> None:
    """Refuse streams that cannot see one clip together, or whose last maps the head cannot pool together.

    Raises:
        FieldError: the first broken rule, with its field.
    """
    first, *_ = streams
    for s, stream in enumerate(streams):
        if rule := frames_mistake(clip, stream.every):
            raise FieldError(("streams", s, "every"), rule)
        if stream.stem.in_channels != first.stem.in_channels:
            rule = f"all streams see one clip, which has {first.stem.in_channels} channels for stream 0"
            raise FieldError(("streams", s, "stem", "in_channels"), rule)
    halved = [sum(group.stride == 2 for group in stream.groups) for stream in streams]
    if head.pool == "fixed" and len(set(halved)) > 1:
        raise FieldError(
            ("head", "pool"),
            f"fixed needs last maps of one side, stream 0 halves them {halved[0]} times and stream 1 {halved[1]} "
            "times; use global",
        )


def frames_mistake(clip: ClipSpec, every: int) -> str | None:
    """What is wrong with taking one of `every` frames of a clip."""
    if clip.frames % every == 0:
        return None
    return f"one frame in {every} is taken of a clip of {clip.frames} frames; make frames a multiple of {every}"
