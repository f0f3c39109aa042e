"""Two streams and the fusions between them: what is refused, with its field and line, and what changes a hash."""

import json
from pathlib import Path
from typing import Any

import pytest

from vidnas.arch.fusion import FusionSpec
from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError


def tree_of(name: str) -> Any:
    return json.loads(get_spec(name).to_json())


def fusion(**changes: Any) -> dict[str, Any]:
    return {"source": 1, "target": 0, "group": 3, "kind": "time_to_channel"} | changes


def refused(tree: Any, tmp_path: Path) -> tuple[int, str]:
    """The line that is named, and what is said of it."""
    file = tmp_path / "two.json"
    file.write_text(json.dumps(tree, indent=2))
    with pytest.raises(VidnasError) as raised:
        ArchSpec.load(file)
    text = str(raised.value)
    assert "\n" not in text
    where, _, said = text.removeprefix(f"{file}, line ").partition(": ")
    return int(where), said


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (fusion(source=2), "fusions.1.source: there is no stream 2, the last one is 1"),
        (fusion(target=5), "fusions.1.target: there is no stream 5, the last one is 1"),
        (fusion(source=-1), "fusions.1.source: Input should be greater than or equal to 0 (got -1)"),
        (fusion(source=0), "fusions.1.target: stream 0 would read itself, which is a cycle; name the other stream"),
        (fusion(group=11), "fusions.1.group: stream 1 has no group 11, its last one is 10"),
        (
            fusion(source=0, target=1),
            "fusions.1.target: stream 0 takes one frame in 8, stream 1 one in 1: the target has more frames than the "
            "source, and no kind of fusion adds frames; swap the two",
        ),
        (
            fusion(group=1),
            "fusions.1.group: fusions.0 goes from stream 1 to stream 0 after group 1 too; keep one of them",
        ),
        (
            fusion(combination="sum"),
            "fusions.1.combination: sum needs equal channels, time_to_channel gives 96 and group 3 of stream 0 has 72; "
            "use concat",
        ),
        (
            fusion(combination="mean"),
            "fusions.1.combination: Input should be 'concat' or 'sum' (got 'mean')",
        ),
        (
            fusion(kind="none"),
            "fusions.1.kind: Input should be 'time_strided_convolution', 'time_to_channel' or "
            "'time_strided_sampling' (got 'none')",
        ),
        (fusion(grup=3), "fusions.1.grup: no such field; did you mean group?"),
        (fusion(into=2), "fusions.1.into: no such field"),
        (fusion(group=[3, 5]), "fusions.1.group: must be one value; lists make a search space of it, see"),
    ],
)
def test_a_wrong_fusion_is_named(wrong: Any, said: str, tmp_path: Path) -> None:
    tree = tree_of("manual_tsnet_70")
    tree["fusions"][1] = wrong
    line, text = refused(tree, tmp_path)
    assert text.startswith(said)
    lines = json.dumps(tree, indent=2).splitlines()
    field = said.split(":")[0].rpartition(".")[2]
    before = sum('"source"' in one for one in lines[: line - 1])
    if field == "combination" and "combination" not in wrong:
        return
    # In the second fusion, at the field.
    assert f'"{field}"' in lines[line - 1]
    assert before == (1 if field == "source" else 2)


def test_frames_that_are_no_multiple(tmp_path: Path) -> None:
    tree = tree_of("manual_tsnet_70")
    tree["clip"]["frames"] = 28
    line, text = refused(tree, tmp_path)
    assert text.startswith(
        "streams.0.every: one frame in 8 is taken of a clip of 28 frames; make frames a multiple of 8"
    )
    assert '"every": 8' in json.dumps(tree, indent=2).splitlines()[line - 1]


def test_frames_of_which_neither_is_a_multiple_of_the_other(tmp_path: Path) -> None:
    tree = tree_of("manual_tsnet_70")
    tree["clip"]["frames"] = 48
    tree["streams"][1]["every"] = 3
    _, text = refused(tree, tmp_path)
    assert text.startswith("fusions.0.target: stream 1 takes one frame in 3, stream 0 one in 8: one must be a multiple")


@pytest.mark.parametrize("kind", ["time_to_channel", "time_strided_sampling"])
def test_kinds_that_need_more_frames_in_the_source(kind: str, tmp_path: Path) -> None:
    tree = tree_of("manual_tsnet_70")
    tree["streams"][1]["every"] = 8
    assert ArchSpec.from_data(tree).fusions  # a convolution does without
    tree["fusions"][2]["kind"] = kind
    _, text = refused(tree, tmp_path)
    assert text.startswith(f"fusions.2.kind: {kind} needs a source with more frames than the target")


def test_sides_that_differ(tmp_path: Path) -> None:
    tree = tree_of("manual_tsnet_70")
    tree["streams"][1]["groups"][4]["stride"] = 1
    tree["streams"][1]["groups"][6]["stride"] = 2
    _, text = refused(tree, tmp_path)
    assert text == (
        "fusions.2.group: sides differ after group 5: strides up to there divide those of stream 1 by 4, those of "
        "stream 0 by 8"
    )
    # Where both have halved as often they meet again.
    del tree["fusions"][2]
    assert len(ArchSpec.from_data(tree).fusions) == 4


def test_a_fixed_pool_needs_maps_of_one_side(tmp_path: Path) -> None:
    """At a larger test crop they would leave it different numbers of positions."""
    tree = tree_of("manual_tsnet_70_fusions_0")
    tree["streams"][1]["groups"][8]["stride"] = 1
    _, text = refused(tree, tmp_path)
    assert text == (
        "head.pool: fixed needs last maps of one side, stream 0 halves them 4 times and stream 1 3 times; use global"
    )
    tree["head"]["pool"] = "global"
    assert ArchSpec.from_data(tree).head.pool == "global"


def test_streams_see_one_clip(tmp_path: Path) -> None:
    tree = tree_of("manual_tsnet_70")
    tree["streams"][1]["stem"]["in_channels"] = 1
    _, text = refused(tree, tmp_path)
    assert text.startswith("streams.1.stem.in_channels: all streams see one clip, which has 3 channels for stream 0")


def test_a_network_has_one_or_two_streams(tmp_path: Path) -> None:
    tree = tree_of("manual_tsnet_70")
    tree["streams"].append(tree["streams"][1])
    _, text = refused(tree, tmp_path)
    assert text.startswith("streams: Tuple should have at most 2 items")


def test_fusions_of_one_stream_have_nowhere_to_go(tmp_path: Path) -> None:
    tree = tree_of("x3d_s") | {"fusions": [fusion()]}
    _, text = refused(tree, tmp_path)
    assert text.startswith("fusions.0.source: there is no stream 1, the last one is 0")


def test_what_is_left_out_changes_no_hash() -> None:
    tree = tree_of("x3d_s")
    assert "fusions" in tree
    assert "every" in tree["streams"][0]
    del tree["fusions"], tree["streams"][0]["every"]
    assert ArchSpec.from_data(tree) == get_spec("x3d_s")
    assert ArchSpec.from_data(tree).content_hash == get_spec("x3d_s").content_hash


def test_every_field_of_a_fusion_is_in_the_hash() -> None:
    spec = get_spec("manual_tsnet_70")
    last = spec.fusions[-1]
    changed = [{"group": 9}, {"kind": "time_to_channel"}, {"combination": "sum"}, {"source": 0}, {"target": 1}]
    specs = [
        spec,
        spec.model_copy(update={"fusions": spec.fusions[:-1]}),
        *(spec.model_copy(update={"fusions": (*spec.fusions[:-1], last.model_copy(update=one))}) for one in changed),
        spec.model_copy(update={"streams": (spec.streams[0].model_copy(update={"every": 4}), spec.streams[1])}),
    ]
    assert len({one.content_hash for one in specs}) == len(specs)


def test_names_of_fusions_are_distinct() -> None:
    fusions = [
        FusionSpec(source=source, target=1 - source, group=group, kind=kind)  # type: ignore[arg-type]
        for source in (0, 1)
        for group in (1, 11)
        for kind in ("time_strided_convolution", "time_to_channel", "time_strided_sampling")
    ]
    assert len({one.key for one in fusions}) == 12
    assert fusions[0].key == "group1_0to1_time_strided_convolution"
    assert not any("." in one.key for one in fusions)  # they name modules
