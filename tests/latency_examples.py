"""A very small space, and tables for any space whose milliseconds follow from a formula."""

from vidnas.arch.latency import Curve, LatencyTable, Point
from vidnas.arch.spec import ClassificationSpec, ClipSpec, Kernel, StemSpec
from vidnas.arch.sub_layers import SubLayer
from vidnas.search.latency_costs import reached_shapes
from vidnas.search.space.space import Space
from vidnas.search.space.stream_space import GroupSpace, StreamSpace


def small_space() -> Space:
    """Every kind of sub-layer, in tensors that cost next to nothing."""
    kernels = (Kernel(t=1, s=3), Kernel(t=3, s=3))
    groups = (
        GroupSpace(depth=1, stride=2, channels=(8, 12, 16), expansion=(1.5, 2.25), kernel=kernels),
        GroupSpace(
            depth=2,
            stride=1,
            channels=(8, 12, 16),
            expansion=(1.5,),
            kernel=kernels[:1],
            attention=("none", "glore", "non_local"),
        ),
    )
    stream = StreamSpace(stem=StemSpec(channels=8), groups=groups, conv5=16)
    head = ClassificationSpec(num_classes=3, hidden=8)
    return Space(name="small", clip=ClipSpec(frames=2, size=16), streams=(stream,), head=head)


def planted_ms(sub_layer: SubLayer) -> float:
    """What a made-up machine takes: linear in each free number of channels, other for every layer."""
    layer, channels = sub_layer
    area = layer.side**2 / layer.stride**2
    if layer.kind in ("depthwise", "attention"):
        taps = layer.kernel.t * layer.kernel.s**2 if layer.kernel else 9
        return 0.01 + (1.5 if layer.gates else 1.0) * channels[0] * (1e-4 + 1e-6 * area * taps)
    a, b = channels[0], channels[-1]
    return 0.02 + 1e-6 * area * (a + 2 * b) + (1e-8 if layer.norm else 2e-8) * area * a * b


def planted_table(space: Space, *, every: int = 1, overhead_ms: float = 0.05) -> LatencyTable:
    """A table of that machine with one in `every` shapes of a layer, the first and the last included."""
    curves = []
    for layer, shapes in reached_shapes(space).items():
        kept = sorted(
            {*shapes[::every], shapes[-1], *(max(shapes, key=lambda c, i=i: c[i]) for i in range(len(shapes[0])))}
        )
        points = tuple(Point(channels, planted_ms(SubLayer(layer, channels))) for channels in kept)
        curves.append(Curve(layer=layer, points=points))
    return LatencyTable(
        device="cpu",
        machine="planted",
        threads=1,
        versions={"torch": "0"},
        clip=space.clip,
        space=space.name,
        overhead_ms=overhead_ms,
        took_sec=0.0,
        held_out_error=0.0,
        fit_error=0.0,
        curves=tuple(curves),
    )
