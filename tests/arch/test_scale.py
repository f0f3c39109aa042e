"""Networks brought to a cost by their width."""

import pytest

from vidnas.arch.cost import network_cost
from vidnas.arch.registry import get_spec, list_models
from vidnas.arch.scale import TOLERANCE, scaled_to_cost
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.base.errors import VidnasError

CLIP = ClipSpec(frames=16, size=56, sampling="uniform")


# X3D-XXL's 51 blocks leave widths of one to a dozen channels at the lower cost, too coarse to meet it.
MET = [(name, macs) for name in list_models() for macs in (20e6, 300e6) if (name, macs) != ("x3d_xxl", 20e6)]


@pytest.mark.parametrize(("name", "macs"), MET)
def test_cost_is_met_and_structure_stays(name, macs):
    spec = get_spec(name).model_copy(update={"clip": CLIP})
    scaled = scaled_to_cost(spec, {"macs": macs})
    assert (1 - TOLERANCE) * macs <= network_cost(scaled).macs <= macs
    for before, after in zip(spec.streams, scaled.streams, strict=True):
        for own, group in zip(before.groups, after.groups, strict=True):
            assert (own.depth, own.stride, own.expansion, own.kernel) == (
                group.depth,
                group.stride,
                group.expansion,
                group.kernel,
            )
            assert (own.attention is None) == (group.attention is None)
    assert scaled.head == spec.head
    assert scaled.clip == CLIP
    scaled.model_validate(scaled.model_dump())  # its rules hold as well


def test_widths_keep_their_proportions():
    spec = get_spec("x3d_m").model_copy(update={"clip": CLIP})
    first, *others = (group.channels for group in scaled_to_cost(spec, {"macs": 2e9}).streams[0].groups)
    assert [width / first for width in others] == pytest.approx([2, 4, 8], rel=0.05)


def test_cost_that_no_width_has():
    message = r"x3d_xxl: no width of it costs 0\.10 MMACs @ 32x312x312, the nearest 0"
    with pytest.raises(VidnasError, match=message):
        scaled_to_cost(get_spec("x3d_xxl"), {"macs": 1e5})


def test_streams_that_are_added_up_keep_their_widths():
    spec = get_spec("manual_tsnet_70")
    groups = list(spec.streams[0].groups)
    groups[1] = groups[1].model_copy(update={"channels": 16})
    sparse = spec.streams[0].model_copy(update={"groups": tuple(groups)})
    fusion = spec.fusions[0].model_copy(update={"combination": "sum"})
    summed = spec.model_copy(update={"streams": (sparse, spec.streams[1]), "fusions": (fusion,)})
    ArchSpec.from_data(summed.model_dump())
    with pytest.raises(VidnasError, match=r"manual_tsnet_70: fusions\.0 adds up the maps of two streams"):
        scaled_to_cost(summed, {"macs": 1e9})
