"""What is settled before a search: budget, clip, space, parts, and the network to compare with."""

from pathlib import Path

import pytest

from vidnas.arch.cost import network_cost, parse_amount
from vidnas.arch.registry import get_spec
from vidnas.base.errors import VidnasError
from vidnas.data.datamodule import DataConfig
from vidnas.data.synthetic import write_dataset
from vidnas.pipeline.clip_probe import Probe
from vidnas.pipeline.lists import SEARCH_PARTS, holding, load_lists, search_parts
from vidnas.pipeline.plan import SpaceChoice, plan_search, x3d_baseline
from vidnas.search.costs import CostTable
from vidnas.search.space.published.scaled import tiny_space


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("plan")
    write_dataset(
        root, classes=("slow", "fast"), train_per_class=12, test_per_class=3, size=(48, 64), frames=12, fps=24, seed=3
    )
    return root


@pytest.mark.parametrize(
    ("text", "macs"), [("50M", 50e6), ("0.5G", 0.5e9), (".5g", 0.5e9), ("1e6", 1e6), ("12000000", 12e6), ("20k", 2e4)]
)
def test_budgets_are_read(text: str, macs: float) -> None:
    assert parse_amount(text) == pytest.approx(macs)


@pytest.mark.parametrize("text", ["", "0", "fifty", "50MB", "-3M", "1e", "3 M M", "1,5G", "1e500", "nan"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(VidnasError, match="write multiply-adds of one clip, as 50M"):
        parse_amount(text)


def test_an_amount_that_has_lost_its_unit_is_refused() -> None:
    with pytest.raises(VidnasError, match=r"^--target-macs 50: so few multiply-adds .* did you mean 50M\?$"):
        parse_amount("50", name="--target-macs")


def test_a_comma_for_a_point_and_the_option_are_named() -> None:
    with pytest.raises(VidnasError, match=r"^--target-macs '1,5 G': write .* or 0\.5G; did you mean 1\.5 G\?$"):
        parse_amount("1,5 G", name="--target-macs")


def test_parts_share_no_group_and_are_the_whole_list(videos: Path) -> None:
    train = load_lists(DataConfig(videos)).train
    parts = search_parts(train, seed=0)
    assert list(parts) == list(SEARCH_PARTS)
    groups = [{sample.group for sample in part.samples} for part in parts.values()]
    assert len(set.union(*groups)) == sum(len(group) for group in groups)
    assert sorted(s.path for part in parts.values() for s in part.samples) == sorted(s.path for s in train.samples)


def test_a_list_without_test_is_divided_by_group_and_says_so(videos: Path) -> None:
    lists = load_lists(DataConfig(videos / "train.csv"))
    assert len(lists.train) + len(lists.test) == 24
    assert not {s.group for s in lists.train.samples} & {s.group for s in lists.test.samples}
    assert any("no test list" in notice for notice in lists.notices)


def test_what_the_videos_hold(videos: Path) -> None:
    held = holding(load_lists(DataConfig(videos)).train)
    assert (held.frames, held.short_side) == (12, 48)
    assert held.duration_sec == pytest.approx(0.5)


def test_auto_space_stays_within_the_videos_and_spans_the_target(videos: Path) -> None:
    train = load_lists(DataConfig(videos)).train
    plan = plan_search(train, {"macs": 20e6}, SpaceChoice(), seed=0)
    clip = plan.space.clip
    assert clip.frames <= 12
    assert clip.size <= 48
    assert clip.sampling == "uniform"
    assert plan.space.head.num_classes == 2
    least, most = plan.ranges[0]
    assert 0.4 <= (20e6 - least) / (most - least) <= 0.7
    assert "20.00 MMACs" in plan.explanation
    assert "of 24 training videos of 2 classes" in plan.explanation
    assert "not known without trials" in plan.explanation
    every = f"{0.5 / clip.frames:.2g} s of a median video (0.5 s)"
    assert plan.explanation.endswith(f"; a clip is {clip.frames} frames spread over the whole video, one every {every}")


def test_the_clip_of_the_auto_space_follows_from_a_look_at_the_videos(videos: Path) -> None:
    train = load_lists(DataConfig(videos)).train
    looked = plan_search(train, {"macs": 8e6}, SpaceChoice(), seed=0)
    # One that was kept is believed: nobody looks again.
    kept = Probe(videos=7, classes=2, chance=0.5, single=0.5, ordered=1.0, share=0.0, sec=4321.0)
    plan = plan_search(train, {"macs": 8e6}, SpaceChoice(), seed=0, probe=kept)
    assert plan.probe == kept
    assert "4321 s" in plan.explanation
    assert looked.probe is not None
    assert looked.probe.videos == 24
    for choice in (SpaceChoice(clip="8x40"), SpaceChoice(space="tiny")):
        given = plan_search(train, {"macs": 8e6}, choice, seed=0, probe=kept)
        assert given.probe is None
        assert "probe" not in given.explanation


def test_a_cost_that_the_preferred_clip_does_not_come_down_to(videos: Path) -> None:
    """Few and large frames are out of reach of 1.3 MMACs; X3D's own clip is not."""
    train = load_lists(DataConfig(videos)).train
    few = Probe(videos=99, classes=2, chance=0.5, single=1.0, ordered=1.0, share=1.0)
    assert plan_search(train, {"macs": 5e6}, SpaceChoice(), seed=0, probe=few).space.clip.frames == 8
    plan = plan_search(train, {"macs": 1.3e6}, SpaceChoice(), seed=0, probe=few)
    assert plan.space.clip.frames == 4
    assert "from the rung of X3D's ladder" in plan.explanation
    assert "4 frames are the nearest that can be had here" in plan.explanation


def test_impossible_target_names_both_ends(videos: Path) -> None:
    train = load_lists(DataConfig(videos)).train
    for target in (1e4, 1e12):
        with pytest.raises(VidnasError, match=r"target .*MACs .* \d.*MACs to \d.*MACs"):
            plan_search(train, {"macs": target}, SpaceChoice(space="tiny"), seed=0)
        with pytest.raises(VidnasError, match=r"target .*MACs .* \d.*MACs to \d.*MACs"):
            plan_search(train, {"macs": target}, SpaceChoice(), seed=0)


def test_several_budgets(videos: Path) -> None:
    train = load_lists(DataConfig(videos)).train
    plan = plan_search(train, {"macs": 5e6, "params": 0.12e6}, SpaceChoice(space="tiny"), seed=0)
    assert [budget.costs.metric for budget in plan.budgets] == ["macs", "params"]
    assert plan.budgets_text == "5.00 MMACs and 0.120 M params"
    with pytest.raises(VidnasError, match=r"target 900.000 M params is outside .* M params to .* M params @"):
        plan_search(train, {"macs": 5e6, "params": 9e8}, SpaceChoice(space="tiny"), seed=0)
    with pytest.raises(VidnasError, match="add --target-macs"):
        plan_search(train, {"params": 0.2e6}, SpaceChoice(), seed=0)


def test_space_files_and_clips(videos: Path, tmp_path: Path) -> None:
    train = load_lists(DataConfig(videos)).train
    space = tiny_space(plan_search(train, {"macs": 5e6}, SpaceChoice(space="tiny"), seed=0).space.clip, num_classes=9)
    (tmp_path / "mine.json").write_text(space.to_json())
    choice = SpaceChoice(space=str(tmp_path / "mine.json"), clip="6x40", sampling="stride", stride=2, fps=24)
    plan = plan_search(train, {"macs": 4e6}, choice, seed=0)
    assert str(plan.space.clip) == "6x40x40"
    assert (plan.space.clip.stride, plan.space.clip.fps) == (2, 24)
    assert plan.space.head.num_classes == 2
    assert plan.explanation.endswith("; a clip is 6 frames, stride 2 at 24 fps: 0.46 s, 92% of a median video (0.5 s)")
    longer = SpaceChoice(space="tiny", clip="6x40", sampling="stride", stride=4, fps=24)
    assert plan_search(train, {"macs": 4e6}, longer, seed=0).explanation.endswith(
        ": 0.88 s, longer than a median video (0.5 s), which repeats its last frame"
    )
    with pytest.raises(VidnasError, match="no search space called 'tin'; did you mean tiny"):
        plan_search(train, {"macs": 4e6}, SpaceChoice(space="tin"), seed=0)
    with pytest.raises(VidnasError, match=r"need space.clip|--clip"):
        plan_search(train, {"macs": 4e6}, SpaceChoice(sampling="uniform"), seed=0)


def test_spaces_that_users_write(videos: Path, tmp_path: Path) -> None:
    train = load_lists(DataConfig(videos)).train
    mine = tmp_path / "mine.yaml"
    text = tiny_space(num_classes=9).to_yaml()
    mine.write_text(text.replace("channels: [8, 12, 16]", "channels: {from: 8, to: 16, step: 4}"))
    plan = plan_search(train, {"macs": 4e6}, SpaceChoice(space=str(mine)), seed=0)
    assert plan.space == tiny_space(num_classes=2)
    mine.write_text(text.replace("channels: [8, 12, 16]", "channels: [8, 12, 18]"))
    with pytest.raises(VidnasError, match=rf"{mine}, line 12: streams.0.groups.0.channels: must rise in equal steps"):
        plan_search(train, {"macs": 4e6}, SpaceChoice(space=str(mine)), seed=0)
    mine.write_text(get_spec("x3d_xs").to_yaml())
    with pytest.raises(VidnasError, match="x3d_xs has one architecture, so there is nothing to search"):
        plan_search(train, {"macs": 4e6}, SpaceChoice(space=str(mine)), seed=0)


def test_x3d_baseline_costs_the_same_and_sees_the_same() -> None:
    from vidnas.arch.spec import ClipSpec

    space = tiny_space(ClipSpec(frames=8, size=48, sampling="uniform"), num_classes=5)
    table = CostTable.of(space)
    for choice in (table.dearest()[0], table.cheapest()[0]):
        searched = space.decode(choice)
        macs = network_cost(searched).macs
        baseline = x3d_baseline(searched, macs)
        assert abs(network_cost(baseline).macs / macs - 1) <= 0.01
        assert (baseline.clip, baseline.head) == (searched.clip, searched.head)
        assert [g.depth for g in baseline.streams[0].groups] == [1, 2, 5, 3]
