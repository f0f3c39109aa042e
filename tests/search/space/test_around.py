"""Spaces around one network hold the networks that Auto-TSNet compares there by hand."""

import pytest

from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ArchSpec, Kernel
from vidnas.base.errors import VidnasError
from vidnas.search.space.around import attention_around, fusions_around, kernels_around
from vidnas.search.space.published.registry import resolve_space


@pytest.mark.parametrize(
    ("space", "network"),
    [
        ("manual_tsnet_fusions", "manual_tsnet_70_fusions_0"),
        ("manual_tsnet_fusions", "manual_tsnet_70"),
        ("manual_tsnet_fusions", "manual_tsnet_70_fusions_10"),
        ("manual_tsnet_attention", "manual_tsnet_70"),
        ("manual_tsnet_attention", "manual_tsnet_70_glore_2"),
        ("manual_tsnet_attention", "manual_tsnet_70_glore_4"),
        ("manual_tsnet_attention", "manual_tsnet_70_glore_6"),
    ],
)
def test_networks_of_the_tables_are_in_their_space(space: str, network: str) -> None:
    around, spec = resolve_space(space), get_spec(network)
    assert around.decode(around.encode(spec)).content_hash == spec.content_hash


def test_only_what_is_isolated_is_searched() -> None:
    sizes = {"manual_tsnet_fusions": 2**11, "manual_tsnet_attention": 2**12}
    for name, size in sizes.items():
        space = resolve_space(name)
        assert space.size == size
        assert {variable.kind for variable in space.variables} == {name.removeprefix("manual_tsnet_").removesuffix("s")}
    backbone = resolve_space("auto_tsnet_backbone")
    assert (len(backbone.streams), f"{backbone.size:.2e}") == (1, "3.31e+24")


@pytest.mark.parametrize("name", ["x3d_s", "auto_tsnet_s"])
def test_all_but_kernels_stays(name: str) -> None:
    spec = get_spec(name)
    own = {group.kernel for stream in spec.streams for group in stream.groups}
    space = kernels_around(spec, tuple(own | {Kernel(t=5, s=3)}))
    assert {variable.kind for variable in space.variables} == {"kernel"}
    assert space.decode(space.encode(spec)).content_hash == spec.content_hash
    other = space.decode(space.largest())
    assert other.content_hash != spec.content_hash

    def without_kernels(network: ArchSpec) -> list[object]:
        groups = [group for stream in network.streams for group in stream.groups]
        return [network.fusions, [group.model_dump(exclude={"kernel"}) for group in groups]]

    assert without_kernels(other) == without_kernels(spec)


def test_what_stands_in_the_network_elsewhere_stays() -> None:
    spec = get_spec("auto_tsnet_s")
    space = attention_around(spec, (6,))
    assert space.size == 4
    largest = space.decode(space.largest())
    kept = [[group.attention is not None for group in stream.groups] for stream in largest.streams]
    assert [[g for g, has in enumerate(own) if has] for own in kept] == [[5, 6], [6]]
    assert largest.streams[0].groups[5].attention == spec.streams[0].groups[5].attention
    assert largest.fusions == spec.fusions


def test_what_cannot_be_searched_around_a_network_is_refused() -> None:
    with pytest.raises(VidnasError, match="stream 0 has 11 groups, there is no 11"):
        attention_around(get_spec("manual_tsnet_70"), (3, 11))
    with pytest.raises(VidnasError, match=r"fusions\.0\.source"):
        fusions_around(get_spec("x3d_s"), ("none", "time_to_channel"), source=1, target=0)
