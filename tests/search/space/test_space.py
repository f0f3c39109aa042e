"""Spaces: counts, decode and encode, and what is refused."""

import json
import random
from math import prod
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from vidnas.arch.cost import network_cost
from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ClipSpec, GloReSpec, NonLocalSpec
from vidnas.base.errors import VidnasError
from vidnas.search.costs import CostTable
from vidnas.search.space.attention_options import glore_spec, non_local_spec
from vidnas.search.space.published.auto_tsnet import (
    auto_tsnet_backbone,
    auto_tsnet_space,
    manual_tsnet_attention,
    manual_tsnet_fusions,
)
from vidnas.search.space.published.autox3d import ROWS, autox3d_space
from vidnas.search.space.published.registry import list_spaces, resolve_space
from vidnas.search.space.published.scaled import scaled_space, tiny_space
from vidnas.search.space.space import Choice, Space, Variable

SPACES = [autox3d_space(), tiny_space(num_classes=12), scaled_space(ClipSpec(frames=8, size=64), width_factor=0.4)]


def random_choice(space: Space, rng: random.Random) -> Choice:
    return tuple(rng.randrange(size) for size in space.sizes)


def changed(**fields: Any) -> dict[str, Any]:
    """The tiny space as data with fields of its second group changed."""
    data = json.loads(tiny_space().to_json())
    data["streams"][0]["groups"][1] |= fields
    return data


def test_size_of_the_published_space() -> None:
    """6 kernels, 7 expansions, the channel lists as printed, and attention or none: 2.77e30."""
    space = autox3d_space()
    assert space.size == 6**11 * 7**11 * (5**2 * 6**2 * 8**4 * 8**3) * 2**11
    assert f"{space.size:.2e}" == "2.77e+30"
    assert len(space.variables) == 44


def test_rows_of_the_published_space() -> None:
    groups = autox3d_space().streams[0].groups
    assert [group.depth for group in groups] == [1, 2, 2, 3, 2, 3, 3, 3, 2, 2, 3]
    assert [group.stride for group in groups] == [2, 1, 2, 1, 2, 1, 1, 1, 2, 1, 1]
    assert [(group.channels[0], group.channels[-1]) for group in groups] == [(row[2], row[3]) for row in ROWS]
    assert all(group.expansion == (1.5, 2.25, 3.0, 3.75, 4.5, 5.25, 6.0) for group in groups)
    assert [str(kernel) for kernel in groups[0].kernel] == ["t1_s3", "t1_s5", "t3_s3", "t3_s5", "t5_s3", "t5_s5"]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_encode_is_the_inverse_of_decode(space: Space) -> None:
    rng = random.Random(0)
    for choice in [space.smallest(), space.largest(), *(random_choice(space, rng) for _ in range(50))]:
        spec = space.decode(choice)
        assert space.encode(spec) == choice
        assert space.decode(space.encode(spec)) == spec
        assert space.encode(spec.model_copy(update={"name": "another"})) == choice


def test_decode_puts_every_index_where_it_belongs() -> None:
    space = autox3d_space()
    rng = random.Random(1)
    for _ in range(20):
        choice = random_choice(space, rng)
        groups = space.decode(choice).streams[0].groups
        for variable, index in zip(space.variables, choice, strict=True):
            option = space.options(variable)[index]
            member = groups[int(variable.path.split(".")[3])]
            if variable.kind == "attention":
                assert (member.attention is None) == (option == "none")
            else:
                assert getattr(member, variable.kind) == option
        assert space.choice_of(space.group_choices(choice)) == choice


def test_names_follow_from_content() -> None:
    space = autox3d_space()
    assert space.decode(space.smallest()).name == space.decode(space.smallest()).name
    names = {space.decode(random_choice(space, random.Random(seed))).name for seed in range(100)}
    assert len(names) == 100


def test_attention_follows_the_last_block_in_the_fitted_size() -> None:
    assert glore_spec(48) == GloReSpec(nodes=72, states=144)
    assert glore_spec(264) == GloReSpec(nodes=216, states=432)
    assert non_local_spec(48) == NonLocalSpec(inner=24)
    assert non_local_spec(1) == NonLocalSpec(inner=1)
    space = autox3d_space()
    assert all(
        group.attention and group.attention.after == () for group in space.decode(space.largest()).streams[0].groups
    )


def test_the_published_network_is_not_in_the_published_space() -> None:
    """88 channels are not in 48~132 by 12: one of the paper's contradictions."""
    with pytest.raises(VidnasError, match=r"groups\.6\.channels is 88, the choices are 48, 60, 72, 84, 96"):
        autox3d_space().encode(get_spec("autox3d_s"))


def test_encode_names_any_other_difference() -> None:
    space = tiny_space()
    spec = space.decode(space.smallest())
    with pytest.raises(VidnasError, match=r"clip\.frames is 9, the space has 8"):
        space.encode(spec.with_clip(spec.clip.model_copy(update={"frames": 9})))
    with pytest.raises(VidnasError, match="it has 11 groups, the space 4"):
        space.encode(get_spec("autox3d_s"))
    with pytest.raises(
        VidnasError, match=r"manual_tsnet_70 is not in the space tiny_space: it has 2 streams, the space 1"
    ):
        space.encode(get_spec("manual_tsnet_70"))
    # Attention of another size than the space's is another network.
    full = autox3d_space()
    stream = full.decode(full.largest()).streams[0]
    group = stream.groups[0].model_copy(update={"attention": GloReSpec(nodes=1, states=2)})
    odd = stream.model_copy(update={"groups": (group, *stream.groups[1:])})
    with pytest.raises(
        VidnasError, match=r"streams\.0\.groups\.0\.attention is glore 1x2, the choices are none, glore 42x84"
    ):
        full.encode(full.decode(full.largest()).model_copy(update={"streams": (odd,)}))


def test_a_stream_takes_a_part_of_the_frames_in_a_space_as_in_a_network() -> None:
    data = json.loads(tiny_space().to_json())
    data["streams"][0]["every"] = 2
    space = Space.from_data(data)
    spec = space.decode(space.largest())
    assert spec.streams[0].every == 2
    assert space.encode(spec) == space.largest()
    assert CostTable.of(space).costs([space.largest()]).tolist() == [network_cost(spec).macs]
    for wrong, message in (
        (
            {"fusions": [{"source": 1, "target": 0, "group": 0, "kind": "time_to_channel"}]},
            "fusions.0.source: there is",
        ),
        ({"clip": data["clip"] | {"frames": 9}}, "streams.0.every: one frame in 2 is taken of a clip of 9 frames"),
    ):
        with pytest.raises(VidnasError, match=message):
            Space.from_data(data | wrong)


def test_a_single_option_is_no_variable() -> None:
    space = Space.model_validate(changed(kernel=[{"t": 3, "s": 3}], channels=16))
    of_group = [v for v in space.variables if v.path.startswith("streams.0.groups.1.")]
    assert of_group == [Variable("streams.0.groups.1.expansion", 3)]
    assert space.size == prod(space.sizes) == tiny_space().size // (6 * 5)
    assert space.decode(space.largest()).streams[0].groups[1].channels == 16


def test_plain_values_stand_for_lists_of_one() -> None:
    """Any network of the zoo is a space of one architecture, or of more where a list replaces a value."""
    spec = get_spec("autox3d_s_no_attention")
    data = json.loads(spec.to_json())
    space = Space.from_json(json.dumps(data))
    assert space.size == 1
    assert space.decode(()).model_copy(update={"name": spec.name}) == spec
    data["streams"][0]["groups"][3]["expansion"] = [1.5, 2.25, 3.0]
    assert Space.from_json(json.dumps(data)).size == 3


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_json_round_trip(space: Space, tmp_path: Path) -> None:
    assert Space.from_json(space.to_json()) == space
    (tmp_path / "space.json").write_text(space.to_json())
    assert resolve_space(str(tmp_path / "space.json")) == space
    assert Space.from_json(space.to_json()).content_hash == space.content_hash
    assert space.with_classes(7).content_hash != space.content_hash


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"channels": []}, r"groups\.1\.channels: is empty"),
        ({"kernel": []}, r"groups\.1\.kernel: is empty"),
        ({"kernel": [{"t": 3, "s": 3}] * 2}, r"groups\.1\.kernel\.1: t3_s3 is a choice already; name each once"),
        (
            {"channels": [12, 16, 24]},
            r"groups\.1\.channels: must rise in equal steps, .*; 24 follows 16, where 20 would",
        ),
        ({"channels": [4, 12, 20]}, "below its step"),
        ({"expansion": [3.0, 1.5]}, "must rise"),
        ({"channels": [10, 20]}, r"groups\.2\.expansion: 1.5~3 times 10~20 channels does not give whole numbers"),
        ({"expansion": [1.1, 2.2]}, r"groups\.1\.expansion: 1.1~2.2 times 8~16 channels"),
        ({"attention": ["nonlocal"]}, r"groups\.1\.attention\.0"),
        ({"depths": 3}, r"groups\.1\.depths: no such field; did you mean depth\?"),
        ({"stride": 1}, r"groups\.1\.channels: 12 channels in and out have a shortcut"),
    ],
)
def test_refusals_name_field_and_rule(fields: dict[str, Any], rule: str) -> None:
    with pytest.raises(VidnasError, match=rule) as caught:
        Space.from_json(json.dumps(changed(**fields)), "my.json")
    assert str(caught.value).startswith("my.json, line 1: streams.0.groups.")
    assert "\n" not in str(caught.value)


def test_equal_lists_may_follow_each_other_without_a_stride() -> None:
    assert Space.model_validate(changed(stride=1, channels=[8, 12, 16])).size


def test_different_lists_that_share_no_width_may_too() -> None:
    """72 to 88 in AutoX3D-S: a projection whatever the windows."""
    assert Space.model_validate(changed(stride=1, channels=[20, 24, 28])).size


def test_choices_of_another_space_are_refused() -> None:
    space = tiny_space()
    with pytest.raises(VidnasError, match="12 indices, this one 11"):
        space.decode(space.smallest()[:-1])
    with pytest.raises(VidnasError, match=r"groups\.0\.kernel has no option 6 of 6"):
        space.decode((6, *space.smallest()[1:]))


def test_spaces_by_name() -> None:
    assert [resolve_space(name).size for name in list_spaces()] == [
        autox3d_space().size,
        auto_tsnet_space().size,
        auto_tsnet_backbone().size,
        manual_tsnet_fusions().size,
        manual_tsnet_attention().size,
        tiny_space().size,
    ]
    clip = ClipSpec(frames=4, size=32)
    space = resolve_space("tiny", clip=clip, num_classes=5)
    assert (space.clip, space.head.num_classes) == (clip, 5)
    with pytest.raises(VidnasError, match="did you mean autox3d"):
        resolve_space("autox3")
    with pytest.raises(VidnasError, match=r"nowhere\.json: cannot read the space"):
        resolve_space("nowhere.json")


def test_frozen() -> None:
    with pytest.raises(ValidationError):
        autox3d_space().name = "other"  # type: ignore[misc]
