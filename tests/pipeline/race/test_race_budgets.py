"""Races under other budgets than multiply-adds, on real videos: parameters, and milliseconds of a stated machine."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import fork_server
import pytest
import torch
from moments import Moment, die_at
from stated_clock import StatedClock, StatedStopwatch
from tiny_races import CLIP, LIMITS, course, race_on

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.pipeline.latency import MeasuredLatency
from vidnas.pipeline.network_times import NetworkTimes
from vidnas.pipeline.race.archive import read_trials
from vidnas.pipeline.race.result import RaceResult
from vidnas.search.costs import CostTable
from vidnas.search.limits import Limits
from vidnas.search.measured_width import LEAST_MS
from vidnas.search.space.space import Space

BOTH = Limits({"macs": 2.5e6, "params": 60e3})


@pytest.fixture(autouse=True)
def one_thread():
    """Restores those of this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def networks(folder: Path) -> dict[str, ArchSpec]:
    """All that was trained."""
    found = {entry.network for entry in read_trials(folder / "trials.jsonl")}
    return {network: ArchSpec.load(folder / "networks" / f"{network}.json") for network in found}


def test_parameters_and_multiply_adds(synthetic_data, tmp_path):
    result = race_on(course(synthetic_data, limits=BOTH), synthetic_data, tmp_path)
    for spec in networks(tmp_path).values():
        cost = network_cost(spec)
        assert cost.macs <= 2.5e6
        assert cost.params <= 60e3
    x3d = network_cost(result.yardstick.proposal.spec)
    assert x3d.params >= 0.99 * 60e3
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["x3d"]["macs"] == x3d.macs < 2e6
    for limits, told in (
        (Limits({"macs": 2.5e6, "params": 70e3}), r"params 60000\.0 then, 70000\.0 now"),
        (LIMITS, r"params 60000\.0 then, None now"),
    ):
        with pytest.raises(VidnasError, match=rf"race\.json: cannot go on from this: {told}"):
            race_on(course(synthetic_data, limits=limits), synthetic_data, tmp_path, resume=True)


def test_clips_differ_in_what_is_tight(synthetic_data):
    """Large clips are held by multiply-adds, small ones by parameters, so those cost less."""
    one = course(synthetic_data, None, Limits({"macs": 6e6, "params": 100e3}))
    costs = [network_cost(proposal.spec) for proposal in one.clips()]
    assert len(costs) >= 4
    assert all(cost.macs <= 6e6 and cost.params <= 100e3 for cost in costs)
    assert all(cost.macs >= 0.99 * 6e6 or cost.params >= 0.99 * 100e3 for cost in costs)
    assert min(cost.macs for cost in costs) < 0.99 * 6e6
    assert min(cost.params for cost in costs) < 0.99 * 100e3


def test_parameters_alone_need_a_clip(synthetic_data):
    params = Limits({"params": 60e3})
    with pytest.raises(
        VidnasError, match=r"0\.060 M params does not say how large a clip may be; add --target-macs or"
    ):
        course(synthetic_data, None, params)
    found = course(synthetic_data, CLIP, params).networks(CLIP, 8, 0)
    assert {"random", "entropy", "near x3d"} <= {proposal.source for proposal in found}
    assert all(network_cost(proposal.spec).params <= 60e3 for proposal in found)


@pytest.mark.parametrize("targets", [{"ms": 3.0}, {"ms": 3.0, "macs": 1e12}, {"ms": 1e3, "macs": 2.5e6}], ids=str)
def test_clips_and_networks_within_milliseconds(synthetic_data, targets):
    """Of a stated machine; where multiply-adds are tight instead, what is timed does not matter."""
    clock = StatedClock()
    one = course(synthetic_data, None, Limits(targets, clock))
    clips = one.clips()
    assert len({proposal.spec.clip for proposal in clips}) >= 3
    clip = clips[0].spec.clip
    for spec in [*(proposal.spec for proposal in clips), *(one.spec for one in one.networks(clip, 9, 0))]:
        ms = clock.timed[spec.content_hash]
        assert ms <= targets["ms"]
        if targets["ms"] == 3:
            assert ms >= LEAST_MS * 3 or spec.name.startswith("entropy")
        else:
            assert network_cost(spec).macs <= 2.5e6
    if targets["ms"] == 1e3:
        assert one.networks(clip, 9, 0) == replace(one, limits=LIMITS).networks(clip, 9, 0)


class StatedTable(MeasuredLatency):
    """Of a space, beside networks that are timed by a stopwatch that never says the same twice."""

    def costs(self, space: Space) -> CostTable:
        return StatedClock().costs(space)


def timed_race(data: Path, folder: Path, *, target_ms: float = 1.3, resume: bool = False) -> RaceResult:
    times = NetworkTimes("cpu", folder / "milliseconds.json", StatedStopwatch())
    limits = Limits({"ms": target_ms}, StatedTable(folder / "latency.json", times))
    return race_on(course(data, limits=limits), data, folder, resume=resume)


def race_and_die(data: Path, folder: Path, moment: Moment) -> None:
    torch.set_num_threads(1)
    die_at(moment)
    timed_race(data, folder)


def test_killed_and_resumed_with_the_same_milliseconds(synthetic_data, tmp_path):
    folder, target = tmp_path / "race", 1.3
    moment = Moment("return", "NetworkTimes._save", 6)  # while widths of networks are looked for, at the clip
    assert fork_server.ended(race_and_die, synthetic_data, folder, moment) == -signal.SIGKILL
    before = json.loads((folder / "milliseconds.json").read_text())["ms"]
    assert before
    result = timed_race(synthetic_data, folder, resume=True)
    timed = json.loads((folder / "milliseconds.json").read_text())["ms"]
    assert {network: timed[network] for network in before} == before
    assert len(networks(folder)) >= 4
    for network in networks(folder):
        assert timed[network] <= target
    record = json.loads((folder / "result.json").read_text())
    assert record["x3d"]["ms"] == timed[result.yardstick.proposal.spec.content_hash] >= LEAST_MS * target
    # All is known: the same race once more, and not a network is timed.
    again = timed_race(synthetic_data, folder, resume=True)
    assert again.winner.scores == result.winner.scores
    assert json.loads((folder / "milliseconds.json").read_text())["ms"] == timed
    with pytest.raises(VidnasError, match=r"race\.json: cannot go on from this: ms .* then, .* now"):
        timed_race(synthetic_data, folder, target_ms=2.0, resume=True)
