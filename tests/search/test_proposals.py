"""Networks that are proposed: at the cost, different, and what they say they are."""

from itertools import islice, product

import pytest
from tiny_training import tiny_spec
from two_streams import small_two_streams

from vidnas.arch.cost import network_cost
from vidnas.arch.scale import TOLERANCE
from vidnas.arch.spec import ArchSpec, ClassificationSpec, ClipSpec
from vidnas.base.errors import VidnasError
from vidnas.search.costs import CostTable
from vidnas.search.entropy import network_entropy
from vidnas.search.limits import BoundedSpace, Limits
from vidnas.search.proposals import (
    along_axes,
    by_entropy,
    different_in_turn,
    drawn,
    hand_made,
    mutants,
    neighbours,
    x3d_at,
)
from vidnas.search.space.published.auto import auto_space
from vidnas.search.space.published.scaled import tiny_space
from vidnas.search.space.space import Space

CLIP = ClipSpec(frames=16, size=56, sampling="uniform")
HEAD = ClassificationSpec(num_classes=27)
MACS = 20e6
LIMITS = Limits({"macs": MACS})


@pytest.fixture(scope="module")
def space():
    return auto_space(MACS, num_classes=27, clip=CLIP)[0]


@pytest.fixture(scope="module")
def x3d():
    return x3d_at(CLIP, LIMITS, HEAD, 1.0)


def test_all_cost_the_same_and_differ(space, x3d):
    sources = {
        "zoo": list(hand_made(CLIP, LIMITS, HEAD)),
        "axes": list(along_axes(CLIP, LIMITS, HEAD, 1.0)),
        "near x3d": list(islice(mutants(x3d, LIMITS, 0, "near x3d"), 12)),
        "random": list(islice(drawn(BoundedSpace(space, LIMITS), 0), 6)),
    }
    for source, proposals in sources.items():
        assert len(proposals) >= 4
        assert {proposal.source for proposal in proposals} == {source}
    everything = list(different_in_turn([*sources.values(), *sources.values()]))
    assert [proposal.source for proposal in everything[:5]] == ["zoo", "axes", "near x3d", "random", "zoo"]
    assert len(everything) == len({one.spec.content_hash for one in everything}) == sum(map(len, sources.values()))
    for proposal in everything:
        assert (1 - TOLERANCE) * MACS <= network_cost(proposal.spec).macs <= MACS, proposal
        assert proposal.spec.clip == CLIP
        assert proposal.spec.head.num_classes == 27
        assert proposal.spec.content_hash[:6] in proposal.spec.name


def test_entropy_is_above_random_draws(space):
    best = list(by_entropy(BoundedSpace(space, LIMITS), 3))
    assert len(best) == 3
    assert all(network_cost(proposal.spec).macs <= MACS for proposal in best)
    drawn_best = max(network_entropy(proposal.spec) for proposal in islice(drawn(BoundedSpace(space, LIMITS), 1), 50))
    assert all(network_entropy(proposal.spec) > drawn_best for proposal in best)


def test_draws_are_of_the_space(space):
    table = CostTable.of(space)
    for proposal in islice(drawn(BoundedSpace(space, LIMITS), 3), 5):
        assert table.cost(space.encode(proposal.spec)) == network_cost(proposal.spec).macs


def test_a_small_space_is_drawn_from_until_nothing_is_new():
    """Those that use up the budget first; none of them twice, none over it, and an end."""
    small = tiny_space(ClipSpec(frames=4, size=24), num_classes=3)
    data = small.model_dump()
    for group in data["streams"][0]["groups"]:
        group.update({kind: group[kind][:1] for kind in ("channels", "expansion", "attention")})
        group["kernel"] = group["kernel"][:2]
    small = Space.from_data(data)
    assert small.size == 16
    table = CostTable.of(small)
    costs = sorted(table.cost(choice) for choice in product(*map(range, small.sizes)))
    for target in (costs[len(costs) // 2], 1.004 * costs[3], (costs[0] + costs[1]) / 2):
        found = [proposal.spec for proposal in drawn(BoundedSpace(small, Limits({"macs": target})), 0)]
        spent = [network_cost(spec).macs for spec in found]
        assert sorted(spent) == [cost for cost in costs if cost <= target]
        used_up = sum(cost >= (1 - TOLERANCE) * target for cost in spent)
        assert all(cost >= (1 - TOLERANCE) * target for cost in spent[:used_up])
    with pytest.raises(VidnasError, match="no architecture of the space tiny_space has macs"):
        next(drawn(BoundedSpace(small, Limits({"macs": 0.9 * costs[0]})), 0))


def test_neighbours_stay_in_the_space_and_the_budget(space):
    bounded = BoundedSpace(space, LIMITS)
    parent = next(drawn(bounded, 0)).spec
    before = space.encode(parent)
    found = [space.encode(proposal.spec) for proposal in neighbours(bounded, parent, 0, "mutant")]
    assert len(set(found)) == len(found) > 10
    assert all(sum(a != b for a, b in zip(before, choice, strict=True)) == 1 for choice in found)
    assert all(cost <= MACS for cost in CostTable.of(space).costs(found))
    again = [space.encode(proposal.spec) for proposal in neighbours(bounded, parent, 1, "mutant")]
    assert again != found
    assert set(again) == set(found)


def test_mutants_change_one_to_three_decisions(x3d):
    """All widths move together to meet the cost; one that moved by itself shows as another proportion."""
    changed = [proposal.spec for proposal in islice(mutants(x3d, LIMITS, 0, "near x3d"), 40)]
    assert len({spec.content_hash for spec in changed}) == 40
    numbers = {number_of_changes(x3d, spec) for spec in changed}
    assert numbers == {1, 2, 3}


def number_of_changes(parent, mutant) -> int:
    pairs = list(zip(parent.streams[0].groups, mutant.streams[0].groups, strict=True))
    fields = ("depth", "kernel", "expansion")
    found = sum(getattr(before, name) != getattr(after, name) for before, after in pairs for name in fields)
    ratios = sorted(after.channels / before.channels for before, after in pairs)
    # Rounding of few channels and the last touch on the cost move proportions by less than a quarter.
    middle = ratios[len(ratios) // 2]
    return found + sum(not 0.75 < ratio / middle < 1.3 for ratio in ratios)


def test_mutants_of_two_streams_change_what_is_fused_too():
    space, _ = auto_space(MACS, num_classes=27, streams=2, clip=CLIP)
    [parent] = by_entropy(BoundedSpace(space, LIMITS), 1)
    found = [proposal.spec for proposal in islice(mutants(parent.spec, LIMITS, 0, "mutant"), 30)]
    assert len({spec.content_hash for spec in found}) == 30
    for spec in found:
        assert (1 - TOLERANCE) * MACS <= network_cost(spec).macs <= MACS
        assert ArchSpec.from_data(spec.model_dump()) == spec
    of_parent = {(fusion.group, fusion.kind) for fusion in parent.spec.fusions}
    fusions = [{(fusion.group, fusion.kind) for fusion in spec.fusions} for spec in found]
    changed = [own for own in fusions if own != of_parent]
    assert 5 < len(changed) < 25
    assert {len(own ^ of_parent) for own in changed} <= {1, 2, 3, 4, 5, 6}
    assert any(len(own) < len(of_parent) for own in changed)


def test_two_streams_of_the_zoo_come_first_where_they_are_asked_for():
    """The sparse stream takes four frames; of 5 frames there is no other stream."""
    found = [proposal.spec for proposal in hand_made(CLIP, LIMITS, HEAD, streams=2)]
    assert [len(spec.streams) for spec in found[:3]] == [2, 2, 2]
    assert {spec.streams[0].every for spec in found[:3]} == {4}
    for spec in found:
        assert (1 - TOLERANCE) * MACS <= network_cost(spec).macs <= MACS
    odd = CLIP.model_copy(update={"frames": 5})
    assert all(len(proposal.spec.streams) == 1 for proposal in hand_made(odd, LIMITS, HEAD, streams=2))


def test_mutants_that_have_no_width_at_the_cost():
    """Maps that are added up have to stay equally wide; and where nothing costs so little the search for some ends."""
    parent = small_two_streams()
    assert any(fusion.combination == "sum" for fusion in parent.fusions)
    found = [proposal.spec for proposal in islice(mutants(parent, LIMITS, 0, "mutant"), 3)]
    assert len(found) == 3
    assert all(fusion.combination == "concat" for spec in found for fusion in spec.fusions)
    assert list(mutants(tiny_spec(), Limits({"macs": 100.0}), 0, "mutant")) == []


def test_one_seed_gives_one_list(x3d):
    def names(seed):
        return [proposal.spec.name for proposal in islice(mutants(x3d, LIMITS, seed, "mutant"), 5)]

    assert names(0) == names(0) != names(1)
