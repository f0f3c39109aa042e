"""The content hash of documents: what saved searches and runs are known by."""

from typing import ClassVar

import pytest

from vidnas.arch.registry import get_spec, list_models
from vidnas.arch.spec import ClassificationSpec, ClipSpec, GloReSpec, StemSpec
from vidnas.base.document import Document, Frozen
from vidnas.search.space.published.auto import auto_space
from vidnas.search.space.published.registry import list_spaces, resolve_space

ZOO = {
    "x2d": "282360936f57",
    "x3d_xs": "f687ec04f670",
    "x3d_s": "f9d5bb28a9a2",
    "x3d_m": "d8ea036b3830",
    "x3d_l": "053e2a181763",
    "x3d_xl": "f65dea1505df",
    "x3d_xxl": "1a1ad9e0abb1",
    "autox3d_s": "18769615c758",
    "autox3d_s_no_attention": "b00e971efb61",
    "autox3d_m": "63fca998cafd",
    "autox3d_m_no_attention": "dd4b6fef06fa",
    "autox3d_l": "ec2de0b6c3f8",
    "autox3d_l_no_attention": "abca4dbdc739",
    "manual_tsnet_85": "879eeb5ea129",
    "manual_tsnet_70": "c407e2f8c3af",
    "manual_tsnet_55": "12ed71dad2ff",
    "manual_tsnet_70_fusions_0": "0afed23dd124",
    "manual_tsnet_70_fusions_10": "200daa75dba7",
    "manual_tsnet_70_glore_2": "99efd127ff88",
    "manual_tsnet_70_glore_4": "1405f22bc517",
    "manual_tsnet_70_glore_6": "8b8b8dbbdb8d",
    "auto_tsnet_s": "012f37642948",
    "auto_tsnet_s_no_attention": "082b91f38c5a",
    "auto_tsnet_m": "7a90ee671177",
    "auto_tsnet_m_no_attention": "29a39385339c",
    "auto_tsnet_l": "a1a33ccbbe31",
    "auto_tsnet_l_no_attention": "dab95aec2155",
}
SPACES = {
    "auto_tsnet": "314d5baf38ba",
    "auto_tsnet_backbone": "2346fbaf9371",
    "manual_tsnet_attention": "83a49772efb5",
    "manual_tsnet_fusions": "7a583033cb3b",
    "autox3d": "c26c3ca31c8b",
    "tiny": "115602bd3c6c",
    "auto 2e+07": "4e6c43261209",
    "auto 5e+08": "cd790ce309b7",
    "auto 5e+09": "e404034cd42d",
}


class Inner(Frozen):
    width: int
    kind: str = "plain"
    depth: int = 2


class Other(Frozen):
    width: int
    kind: str = "other"


class Outer(Document):
    what: ClassVar[str] = "outer"
    name: str = "outer"
    inner: Inner | Other
    rest: tuple[Inner, ...] = (Inner(width=1),)


class LaterInner(Inner):
    height: int = 7
    extra: Other | None = Other(width=3)


class LaterOuter(Outer):
    inner: LaterInner | Other
    rest: tuple[LaterInner, ...] = (LaterInner(width=1),)
    more: float = 0.5


def test_hashes_of_the_zoo_are_those_recorded() -> None:
    """A new field with a default must leave them as they are, or every saved search and run would be refused."""
    assert {name: get_spec(name).content_hash for name in list_models()} == ZOO


def test_hashes_of_the_spaces_are_those_recorded() -> None:
    found = {name: resolve_space(name).content_hash for name in list_spaces()}
    found |= {f"auto {macs:g}": auto_space(macs, num_classes=10)[0].content_hash for macs in (2e7, 5e8, 5e9)}
    assert found == SPACES


@pytest.mark.parametrize("data", [{"inner": {"width": 4}}, {"inner": {"width": 4, "depth": 3}, "rest": [{"width": 2}]}])
def test_a_field_added_later_changes_no_hash(data: dict) -> None:
    assert LaterOuter.from_data(data).content_hash == Outer.from_data(data).content_hash
    later = LaterOuter.from_data({**data, "more": 0.25})
    assert later.content_hash != Outer.from_data(data).content_hash


def test_all_that_differs_tells_documents_apart() -> None:
    trees = [
        {"inner": {"width": 4}},
        {"inner": {"width": 5}},
        {"inner": {"width": 4, "depth": 3}},
        {"inner": {"width": 4}, "rest": []},
        {"inner": {"width": 4}, "rest": [{"width": 1}, {"width": 1}]},
    ]
    inners = [Outer.from_data(tree) for tree in trees]
    inners.append(Outer(inner=Other(width=4)))
    # `kind` tells a spec of one kind from one of another with the same fields, so it counts at its default too.
    assert len({outer.content_hash for outer in inners}) == len(inners)
    assert Outer(inner=Other(width=4)).content_hash != Outer(inner=Inner(width=4)).content_hash
    assert Outer.from_data({**trees[0], "name": "another"}).content_hash == inners[0].content_hash


@pytest.mark.parametrize(
    "spec", [ClipSpec(frames=4, size=32), StemSpec(channels=8), ClassificationSpec(), GloReSpec(nodes=2, states=3)]
)
def test_defaults_written_out_are_defaults(spec: Frozen) -> None:
    class Holder(Document):
        what: ClassVar[str] = "holder"
        part: type(spec)  # type: ignore[valid-type]

    written_out = Holder.from_data({"part": spec.model_dump()})
    assert written_out.content_hash == Holder(part=spec).content_hash
