"""Specs: what is refused and how it is said, JSON round trip, content hash."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from random_specs import random_spec, random_two_streams

from vidnas.arch.registry import get_spec, list_models
from vidnas.arch.spec import ArchSpec, ClassificationSpec, ClipSpec, MultiLabelSpec, head_for
from vidnas.base.errors import VidnasError

Place = tuple[str | int, ...]


def leaves(tree: Any, path: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every plain value of a JSON tree and where it stands."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if not children:
        yield path, tree
        return
    for key, child in children:
        yield from leaves(child, (*path, key))


def changed(tree: Any, path: Place, value: Any) -> Any:
    """A copy of a JSON tree with another value at one place."""
    copy = json.loads(json.dumps(tree))
    node = copy
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return copy


def tree_of(name: str) -> Any:
    return json.loads(get_spec(name).to_json())


def line_of_field(text: str, path: list[str]) -> int:
    """By indentation: the line of a field in indented JSON, or of what it should stand in."""
    line, depth = 1, 0
    lines = text.splitlines()
    for part in path:
        depth += 2
        items = -1
        for number in range(line, len(lines)):
            indent = len(lines[number]) - len(lines[number].lstrip())
            if indent < depth:
                return line
            if indent > depth or lines[number].strip()[0] in "}]":
                continue
            items += 1
            if lines[number].strip().startswith(f'"{part}":') or part == str(items):
                line = number + 1
                break
    return line


GROUP = ("streams", 0, "groups", 3)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((*GROUP, "depth"), 0, r"streams.0.groups.3.depth: .*greater than or equal to 1 \(got 0\)"),
        ((*GROUP, "stride"), 3, r"streams.0.groups.3.stride: .*less than or equal to 2 \(got 3\)"),
        ((*GROUP, "channels"), "wide", r"streams.0.groups.3.channels: .*valid integer.* \(got 'wide'\)"),
        ((*GROUP, "channels"), 8.5, r"streams.0.groups.3.channels: .*valid integer.* \(got 8.5\)"),
        ((*GROUP, "kernel", "t"), 2, r"streams.0.groups.3.kernel: sides must be odd, got 2 x 3 x 3"),
        ((*GROUP, "kernel", "s"), 0, r"streams.0.groups.3.kernel.s: .*greater than or equal to 1"),
        ((*GROUP, "expansion"), 0, r"streams.0.groups.3.expansion: .*greater than 0"),
        ((*GROUP, "expansion"), 0.01, r"streams.0.groups.3.expansion: 0.01 x 48 channels leaves no hidden channel"),
        ((*GROUP, "expansion"), float("inf"), r"streams.0.groups.3.expansion: .*finite"),
        ((*GROUP, "expansion"), 1e308, r"streams.0.groups.3.expansion: .*less than or equal to 1000"),
        ((*GROUP, "attention", "after"), [4], r"streams.0.groups.3.attention.after: names block 4 of 3"),
        ((*GROUP, "attention", "after"), [2, 2], r"streams.0.groups.3.attention.after: must name each block once"),
        ((*GROUP, "attention", "nodes"), 0, r"streams.0.groups.3.attention.nodes: .*greater than or equal to 1"),
        ((*GROUP, "dilation"), 2, r"streams.0.groups.3.dilation: no such field$"),
        ((*GROUP, "chanels"), 16, r"streams.0.groups.3.chanels: no such field; did you mean channels\?$"),
        ((*GROUP, "channels"), [16, 24], r"streams.0.groups.3.channels: must be one value; lists make a search space"),
        ((*GROUP, "kernel"), "3x3", r"streams.0.groups.3.kernel: is not a mapping; its fields are t, s$"),
        (("streams", 0, "stem"), None, r"streams.0.stem: is empty; its fields are channels, kernel, in_channels$"),
        (("streams", 0, "groups"), [], r"streams.0.groups: .*at least 1 item"),
        (("streams", 0, "stem", "kernel"), {"t": 5}, r"streams.0.stem.kernel.s: Field required"),
        (("streams", 0, "se", "ratio"), 1.5, r"streams.0.se.ratio: .*less than or equal to 1"),
        (("streams", 0, "activation"), "gelu", r"streams.0.activation: .*'swish' or 'relu' \(got 'gelu'\)"),
        (("streams",), [], r"streams: .*at least 1 item"),
        (("clip", "frames"), 0, r"clip.frames: .*greater than or equal to 1"),
        (("clip", "stride"), 0, r"clip.stride: .*greater than 0"),
        (("clip", "fps"), float("nan"), r"clip.fps: .*finite"),
        (("head", "dropout"), 1.0, r"head.dropout: .*less than 1"),
        (("head", "num_classes"), -1, r"head.num_classes: .*greater than or equal to 0"),
        (("name",), "", r"name: .*at least 1 character"),
        (("flops",), 1, r"flops: no such field$"),
    ],
)
def test_a_message_names_file_field_and_rule(path: Place, value: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    text = json.dumps(changed(tree_of("autox3d_s"), path, value), indent=2)
    file.write_text(text)
    with pytest.raises(VidnasError, match=rf"^{file}, line \d+: {message}") as raised:
        ArchSpec.load(file)
    assert "\n" not in str(raised.value)
    line = int(str(raised.value).removeprefix(f"{file}, line ").split(":")[0])
    assert line == line_of_field(text, str(raised.value).split(": ")[1].split("."))


def test_a_message_counts_further_mistakes() -> None:
    tree = changed(changed(tree_of("x3d_s"), ("clip", "frames"), 0), ("head", "hidden"), 0)
    with pytest.raises(VidnasError, match=r"clip.frames: .*\(and 1 more\)"):
        ArchSpec.from_data(tree)


@pytest.mark.parametrize("name", ["autox3d_s", "manual_tsnet_70"])
def test_true_is_no_number(name: str) -> None:
    tree = tree_of(name)
    # Of a list of alike entries one is enough.
    places = {re.sub(r"\d+", "", str(place)): place for place in places_of_numbers(tree)}
    assert len(places) > 20
    for place in places.values():
        with pytest.raises(VidnasError, match=r"should be a valid (integer|number) \(got True\)"):
            ArchSpec.from_data(changed(tree, place, True))


def places_of_numbers(tree: Any, place: Place = ()) -> Iterator[Place]:
    if isinstance(tree, int | float) and not isinstance(tree, bool):
        yield place
    elif isinstance(tree, dict | list):
        for part, own in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from places_of_numbers(own, (*place, part))


def test_what_is_not_json_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(VidnasError, match="architecture, line 2: not JSON"):
        ArchSpec.from_json('{"name": "x",\n oops}')
    binary = tmp_path / "spec.json"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VidnasError, match=r"spec.json: cannot read the architecture \(not a text file\)"):
        ArchSpec.load(binary)
    with pytest.raises(
        VidnasError, match=r"line 1: architecture: is not a mapping; its fields are name, clip, streams, fusions, head$"
    ):
        ArchSpec.from_json("[]")
    with pytest.raises(VidnasError, match=r"spec.json, line 3: name is given twice, first in line 2; keep one"):
        ArchSpec.from_json('{\n\t"name": "a",\n\t"name": "b"\n}', "spec.json")


@pytest.mark.parametrize("name", list_models())
def test_zoo_round_trip(name: str) -> None:
    spec = get_spec(name)
    assert ArchSpec.from_json(spec.to_json()) == spec


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_random_round_trip(seed: int) -> None:
    for spec in (random_spec(seed), random_two_streams(seed)):
        again = ArchSpec.from_json(spec.to_json())
        assert again == spec
        assert hash(again) == hash(spec)
        assert again.content_hash == spec.content_hash


# Another valid value for every kind of leaf; numbers that are not here grow by one.
OTHER = {
    "sampling": "uniform",
    "expansion_of": "output",
    "activation": "relu",
    "depthwise": False,
    "projection_norm": "on_channel_change",
    "pool": "global",
    "ensemble": "logit_mean",
    "dropout": 0.25,
    "ratio": 0.125,
}
ONE_VALUE_ONLY = "kind"


def test_content_hash_depends_on_every_field_but_the_name() -> None:
    tree = tree_of("autox3d_l")
    seen = {ArchSpec.from_data(tree).content_hash}
    places = [(path, value) for path, value in leaves(tree) if path not in (("name",),) and path[-1] != ONE_VALUE_ONLY]
    for path, value in places:
        field = path[-1]
        if value is None:
            other = tree["streams"][0]["groups"][3]["attention"] | {"after": []}
        elif field == "stride" and path[0] == "streams":
            other = 3 - value
        elif field in ("t", "s"):
            other = value + 2
        elif path[-2] == "after":
            other = value - 1
        else:
            other = OTHER.get(str(field), value if isinstance(value, str) else value + 1)
        assert other != value, path
        seen.add(ArchSpec.from_data(changed(tree, path, other)).content_hash)
    for path in (("streams", 0, "se"), (*GROUP, "attention")):
        seen.add(ArchSpec.from_data(changed(tree, path, None)).content_hash)
    assert len(seen) == 1 + len(places) + 2


def test_content_hash_ignores_the_name_and_the_order_of_fields() -> None:
    tree = tree_of("autox3d_s")
    spec = ArchSpec.from_data(tree)
    assert ArchSpec.from_data(tree | {"name": "other"}).content_hash == spec.content_hash
    assert ArchSpec.from_data(dict(reversed(tree.items()))).content_hash == spec.content_hash
    # 6 and 6.0 are one stride.
    assert ArchSpec.from_data(changed(tree, ("clip", "stride"), 6)).content_hash == spec.content_hash


def test_specs_are_frozen() -> None:
    spec = get_spec("x3d_s")
    for node, field in ((spec, "name"), (spec.clip, "frames"), (spec.streams[0].groups[0].kernel, "t")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(node, field, 1)


def test_with_classes_and_with_clip_leave_the_original() -> None:
    spec = get_spec("x3d_s")
    clip = ClipSpec(frames=8, size=112)
    assert spec.with_classes(7).head.num_classes == 7
    assert spec.with_clip(clip).clip == clip
    assert spec == get_spec("x3d_s")


@pytest.mark.parametrize(("text", "frames", "size"), [("13x160", 13, 160), ("16x224x224", 16, 224), (" 1x7 ", 1, 7)])
def test_clip_from_text(text: str, frames: int, size: int) -> None:
    clip = get_spec("x3d_m").clip.resized(text)
    assert (clip.frames, clip.size, clip.stride) == (frames, size, 5)


@pytest.mark.parametrize("text", ["", "13", "13x160x161", "13x", "x160", "0x160", "13x0", "13x160x160x1", "-1x160"])
def test_clip_from_bad_text(text: str) -> None:
    with pytest.raises(VidnasError, match=f"clip '{text}': "):
        get_spec("x3d_m").clip.resized(text)


def test_span_in_seconds() -> None:
    # X3D-S: 13 frames, 6 apart, at 30 frames per second.
    assert get_spec("x3d_s").clip.span_sec == pytest.approx(2.6)


def test_heads_differ_by_kind() -> None:
    spec = get_spec("x3d_xs")
    several = spec.with_classes(7, multi_label=True)
    assert (several.head.kind, several.head.num_classes, several.head.hidden) == ("multi_label", 7, 2048)
    assert ArchSpec.from_json(several.to_json()) == several
    assert several.content_hash != spec.with_classes(7).content_hash
    # A head that was meant for several labels stays so; one of a classifier follows the list.
    assert several.with_classes(3).head.kind == "multi_label"
    averaged = head_for(ClassificationSpec(ensemble="logit_mean", dropout=0.1), 5, multi_label=True)
    assert averaged == MultiLabelSpec(num_classes=5, ensemble="logit_mean", dropout=0.1)
    tree = spec.model_dump()
    # A file of before there were kinds means classification.
    tree["head"] = {"num_classes": 5}
    assert ArchSpec.from_data(tree).head == ClassificationSpec(num_classes=5)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"kind": "detection"}, r"head.kind: must be one of classification, multi_label \(got 'detection'\)"),
        ({"kind": "multi_label", "ensemble": "softmax_mean"}, r"head.ensemble: .*'sigmoid_mean' or 'logit_mean'"),
        ({"numclasses": 3}, r"head.numclasses: no such field; did you mean num_classes\?"),
        (5, r"head: must be a mapping, as \{num_classes: 10\}"),
    ],
)
def test_a_wrong_head_is_named(head: object, message: str) -> None:
    tree = get_spec("x3d_xs").model_dump()
    tree["head"] = head
    with pytest.raises(VidnasError, match=message):
        ArchSpec.from_data(tree)
