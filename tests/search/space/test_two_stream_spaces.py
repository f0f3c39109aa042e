"""Spaces of two streams: counts, codes, and what is refused."""

import random
from math import prod

import pytest

from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ClipSpec
from vidnas.base.errors import VidnasError
from vidnas.search.space.published.auto_tsnet import auto_tsnet_space
from vidnas.search.space.published.registry import resolve_space
from vidnas.search.space.space import Choice, Space

TEXT = """\
name: two
clip: {frames: 8, size: 32}
streams:
  - every: 4
    stem: {channels: 8}
    groups:
      - depth: 1
        stride: 2
        channels: [8, 16]
        expansion: 1.5
        kernel: {t: 1, s: 3}
      - depth: 1
        stride: 2
        channels: 16
        expansion: 1.5
        kernel: {t: 1, s: 3}
    conv5: 24
  - stem: {channels: 4}
    groups:
      - depth: 1
        stride: 2
        channels: [4, 8]
        expansion: 1.5
        kernel: {t: 3, s: 3}
      - depth: 1
        stride: 2
        channels: 8
        expansion: 1.5
        kernel: {t: 3, s: 3}
    conv5: 12
fusions:
  - source: 1
    target: 0
    group: 0
    kind: [none, time_to_channel, time_strided_sampling]
  - source: 1
    target: 0
    group: 1
    kind: time_strided_convolution
head: {num_classes: 3}
"""


def random_choice(space: Space, rng: random.Random) -> Choice:
    return tuple(rng.randrange(size) for size in space.sizes)


def test_sizes_of_the_published_space() -> None:
    """As the tables have it: sparse stream, dense one with fusions, attention."""
    space = auto_tsnet_space()
    sparse, dense, fusions, attention = (
        prod(v.size for v in space.variables if v.path.startswith(start) and (v.kind == "attention") == last)
        for start, last in (("streams.0", False), ("streams.1", False), ("fusions", False), ("streams", True))
    )
    assert sparse == 6**11 * 7**11 * (3**2 * 4**2 * 4**4 * 5**3)
    assert dense * fusions == 6**11 * 7**11 * (1 * 2 * 3**2 * 3**4 * 4**3) * 4**11
    assert (f"{sparse:.2e}", f"{dense * fusions:.2e}") == ("3.31e+24", "2.81e+29")
    assert attention == 4096
    assert space.size == sparse * dense * fusions * attention
    assert {v.kind for v in space.variables} == {"kernel", "expansion", "channels", "attention", "fusion"}
    attended = [v.path for v in space.variables if v.kind == "attention"]
    assert attended == [f"streams.{s}.groups.{g}.attention" for s in (0, 1) for g in (2, 3, 5, 6, 9, 10)]


@pytest.mark.parametrize("name", ["auto_tsnet_s", "auto_tsnet_s_no_attention"])
def test_the_reconstructed_network_is_in_the_published_space(name: str) -> None:
    space, spec = auto_tsnet_space(), get_spec(name)
    found = space.decode(space.encode(spec))
    assert found.model_copy(update={"name": spec.name}) == spec


def test_encode_is_the_inverse_of_decode_and_none_leaves_no_trace() -> None:
    space = auto_tsnet_space()
    rng = random.Random(0)
    for choice in [space.smallest(), space.largest(), *(random_choice(space, rng) for _ in range(20))]:
        spec = space.decode(choice)
        assert space.encode(spec) == choice
        assert space.choice_of(space.group_choices(choice), space.fusion_choices(choice)) == choice
        picked = zip(space.fusion_choices(choice), space.fusions, strict=True)
        expected = [(fusion.group, fusion.kind[k]) for k, fusion in picked if fusion.kind[k] != "none"]
        assert [(fusion.group, fusion.kind) for fusion in spec.fusions] == expected
    assert space.decode(space.smallest()).fusions == ()
    assert {fusion.kind for fusion in space.decode(space.largest()).fusions} == {"time_to_channel"}


def test_a_file_of_two_streams() -> None:
    space = Space.from_yaml(TEXT)
    assert [str(variable) for variable in space.variables] == [
        "streams.0.groups.0.channels",
        "streams.1.groups.0.channels",
        "fusions.0.kind",
    ]
    assert space.option_names(space.variables[-1]) == ("none", "time_to_channel", "time_strided_sampling")
    assert Space.from_yaml(space.to_yaml()) == Space.from_json(space.to_json()) == space
    assert space.content_hash != space.model_copy(update={"fusions": space.fusions[1:]}).content_hash


def test_encode_names_the_fusion_that_is_not_in_the_space() -> None:
    space = Space.from_yaml(TEXT)
    spec = space.decode(space.largest())
    first, last = spec.fusions
    other = first.model_copy(update={"kind": "time_strided_convolution"})
    with pytest.raises(
        VidnasError, match=r"fusions\.0\.kind is time_strided_convolution, the choices are none, time_to_"
    ):
        space.encode(spec.model_copy(update={"fusions": (other, last)}))
    with pytest.raises(VidnasError, match=r"fusions\.1\.kind is none, the choices are time_strided_convolution"):
        space.encode(spec.model_copy(update={"fusions": (first,)}))
    fewer = space.model_copy(update={"fusions": space.fusions[:1]})
    with pytest.raises(
        VidnasError, match=r"fusions\.1 goes from stream 1 to stream 0 after group 1, where the space has"
    ):
        fewer.encode(spec)


# The line that must be named ends in `# here`.
MISTAKES = [
    ("every: 4", "every: 3 # here", "streams.0.every: one frame in 3 is taken of a clip of 8 frames"),
    (
        "- stem: {channels: 4}",
        "- stem: {channels: 4, in_channels: 1} # here",
        "streams.1.stem.in_channels: all streams see one clip, which has 3 channels for stream 0",
    ),
    ("- source: 1", "- source: 2 # here", "fusions.0.source: there is no stream 2, the last one is 1"),
    ("    target: 0", "    target: 1 # here", "fusions.0.target: stream 1 would read itself, which is a cycle"),
    (
        "- source: 1\n    target: 0",
        "- source: 0\n    target: 1 # here",
        "fusions.0.target: stream 0 takes one frame in 4, stream 1 one in 1: the target has more frames",
    ),
    ("    group: 1", "    group: 2 # here", "fusions.1.group: stream 1 has no group 2, its last one is 1"),
    ("    group: 1", "    group: 0 # here", "fusions.1.group: fusions.0 goes from stream 1 to stream 0 after group 0"),
    ("every: 4", "every: 1", "fusions.0.kind.1: time_to_channel needs a source with more frames than the target"),
    ("[none, time", "[none, none, time", "fusions.0.kind.1: none is a choice already; name each once"),
    ("kind: time_strided_convolution", "kind: [] # here", "fusions.1.kind: is empty; give at least one choice"),
    ("kind: time_strided_convolution", "kind: convolution # here", "fusions.1.kind.0: Input should be 'none'"),
    ("    group: 0\n", "    group: [0, 1] # here\n", "fusions.0.group: must be one value; lists may stand for"),
    (
        "    group: 0\n",
        "    group: 0\n    combination: sum # here\n",
        "fusions.0.combination: sum needs equal channels, group 0 of stream 1 has several; use concat",
    ),
    (
        "    group: 1\n",
        "    group: 1\n    combination: sum\n",
        None,
    ),
    (
        "stride: 2\n        channels: [4, 8]",
        "stride: 1\n        channels: [8, 16]",
        "head.pool: fixed needs last maps of one side, stream 0 halves them 2 times and stream 1 1 times; use global",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
def test_what_is_refused(old: str, new: str, message: str | None) -> None:
    assert old in TEXT
    text = TEXT.replace(old, new, 1)
    if message is None:
        assert Space.from_yaml(text).decode((0, 0, 0)).fusions[-1].combination == "sum"
        return
    with pytest.raises(VidnasError) as caught:
        Space.from_yaml(text)
    assert message in str(caught.value)
    if "# here" in text:
        line = next(number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# here"))
        assert f"line {line}:" in str(caught.value)


def test_another_clip_must_have_the_frames() -> None:
    space = auto_tsnet_space()
    assert space.with_clip(ClipSpec(frames=16, size=32)).clip.frames == 16
    with pytest.raises(VidnasError, match=r"streams\.0\.every: one frame in 8 is taken of a clip of 12 frames"):
        resolve_space("auto_tsnet", clip=ClipSpec(frames=12, size=32))
