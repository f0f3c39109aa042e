"""Races on real videos: killed and resumed, failing trials, folders of something else, lists too small."""

import json
import os
import re
import shutil
import signal
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import fork_server
import pytest
import torch
from moments import Moment, die_at
from tiny_races import CLIP, HELD, course, race_on, run
from tiny_training import tiny_config, tiny_data
from two_streams import two_stream_space

from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.base.errors import VidnasError
from vidnas.base.log import notes_only
from vidnas.data.folds import make_folds
from vidnas.engine.trials.executors import QUIETLY
from vidnas.engine.trials.job import CENTRE
from vidnas.pipeline.race.archive import TrialArchive, read_trials
from vidnas.pipeline.race.config import RaceConfig
from vidnas.pipeline.race.race import Race
from vidnas.pipeline.race.result import RaceResult
from vidnas.pipeline.run import RunPaths, RunSettings, choose_clip
from vidnas.search.clips import near_clips
from vidnas.search.limits import Limits


def race(data: Path, folder: Path, *, clip: ClipSpec | None = CLIP, **settings) -> RaceResult:
    return race_on(course(data, clip), data, folder, **settings)


@pytest.fixture(autouse=True)
def one_thread():
    """Restores those of this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(synthetic_data, tmp_path_factory) -> tuple[RaceResult, Path]:
    """A race that nothing happens to."""
    folder = tmp_path_factory.mktemp("whole")
    return race(synthetic_data, folder), folder


def lines(folder: Path) -> list[dict]:
    """The archive but for times."""
    return [
        {**json.loads(line), "sec": None} for line in (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def test_archive_tells_the_whole_race(whole):
    result, folder = whole
    entries = list(read_trials(folder / "trials.jsonl"))
    assert len(entries) == result.trials <= 8
    assert {(entry.fold, entry.seed) for entry in entries} == {(0, 1000), (1, 1001)}
    for entry in entries:
        spec = ArchSpec.load(folder / "networks" / f"{entry.network}.json")
        assert spec.content_hash == entry.network
        assert entry.steps == 2
        assert entry.curve
        assert entry.headline is not None
    assert "x3d" in {entry.source for entry in entries}
    assert len({entry.source for entry in entries}) >= 3
    assert ArchSpec.load(folder / "winner.json") == result.winner.proposal.spec
    record = json.loads((folder / "result.json").read_text())
    assert record["winner"]["network"] == result.winner.proposal.spec.content_hash
    assert len(record["x3d"]["scores"]) == 2
    if result.lead is None:
        assert record["first_ahead_of_x3d"] is None
    else:
        assert record["first_ahead_of_x3d"] == {"mean": result.lead.mean, "standard_error": result.lead.error}
    assert not list(folder.rglob("*.ckpt"))
    assert not list(folder.rglob("*.safetensors"))


def test_clip_is_raced_for_first(synthetic_data, tmp_path):
    result = race(synthetic_data, tmp_path, trials=16, clip=None)
    assert len(result.clips) >= 4
    best = result.clips[0].proposal.spec.clip
    assert result.yardstick.proposal.spec.clip == best
    others = [one for one in result.networks if one.proposal.spec.clip != best]
    assert [one.proposal.spec.clip for one in others] == [result.clips[1].proposal.spec.clip]
    entries = list(read_trials(tmp_path / "trials.jsonl"))
    keys = [entry.key for entry in entries]
    assert len(keys) == len(set(keys))
    # Among networks X3D is not judged on the rounds that have chosen its clip.
    seeds = [entry.seed for entry in entries if entry.network == result.yardstick.proposal.spec.content_hash]
    assert len(seeds) == len(set(seeds)) == len(result.clips[0].scores) + len(result.yardstick.scores)
    of_networks = {entry.seed for entry in entries if entry.source != "x3d"}
    assert of_networks == set(seeds[len(result.clips[0].scores) :])


def test_the_race_of_clips_is_part_of_the_race_in_the_times_of_a_run(synthetic_data, tmp_path):
    config = tiny_config(steps=1, batch_size=6, threads=1)
    settings = RunSettings(config, tiny_data(synthetic_data), CENTRE, RunPaths(tmp_path), 1, QUIETLY, resume=True)
    one = course(synthetic_data, clip=None)
    short = Race(one, settings.data, config, RaceConfig(16, folds=2), tmp_path / "race", QUIETLY)
    start = time.perf_counter()
    choose_clip(short, settings)
    took = time.perf_counter() - start
    assert 0.9 * took < settings.clock.sec("race") <= took


def test_networks_of_two_streams_are_proposed_where_they_are_asked_for(synthetic_data):
    """At a clip that two streams can divide; at another one there are none, and the race goes on."""
    for streams, clip, expected in ((1, CLIP, {1}), (2, CLIP, {2}), (2, CLIP.model_copy(update={"frames": 5}), set())):
        found = replace(course(synthetic_data), streams=streams).networks(clip, 8, 0)
        of_space = [proposal.spec for proposal in found if proposal.source in ("entropy", "random")]
        assert {len(spec.streams) for spec in of_space} == expected


def test_clips_of_a_race_for_two_streams_are_those_that_they_can_see(synthetic_data):
    one = course(synthetic_data, clip=None)
    two = replace(one, streams=2)
    near = near_clips(CLIP.model_copy(update={"frames": 8, "size": 32}), HELD.frames, HELD.short_side)
    assert any(clip.frames % 2 for clip in near)
    assert two.clips()
    kept = {proposal.spec.clip for proposal in two.x3d_at_all(near)}
    assert kept == {proposal.spec.clip for proposal in one.x3d_at_all(near) if proposal.spec.clip.frames % 2 == 0}
    with pytest.raises(VidnasError, match=r"clip 5x24x24: two streams need an even number of frames"):
        replace(two, clip=CLIP.model_copy(update={"frames": 5})).clips()


def test_a_search_that_cannot_follow_is_refused_before_the_race_of_clips(synthetic_data):
    def refuse(space):
        raise VidnasError(f"no room at {space.clip.frames} frames")

    for clip in (None, CLIP):
        with pytest.raises(VidnasError, match="no room at"):
            replace(course(synthetic_data, clip=clip), streams=2, check=refuse).clips()
    space = two_stream_space()
    given = replace(course(synthetic_data, clip=space.clip), limits=Limits({"macs": 1.4e6}), space=space, check=refuse)
    with pytest.raises(VidnasError, match="no room at"):
        given.clips()
    with pytest.raises(VidnasError, match=r"target 9.00 MMACs is outside the space two, which spans 0\.39 MMACs to"):
        replace(given, limits=Limits({"macs": 9e6})).clips()


MOMENTS = {
    "in the first training": Moment("return", "Training._metrics", 1),
    "after a line of the archive": Moment("return", "TrialArchive.add", 3),
    "in the second round": Moment("call", "TrialArchive.add", 6),
}


def race_and_die(data: Path, folder: Path, moment: Moment) -> None:
    torch.set_num_threads(1)
    die_at(moment)
    race(data, folder)


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(moment, id=name, marks=() if name == "in the second round" else pytest.mark.long)
        for name, moment in MOMENTS.items()
    ],
)
def test_killed_and_resumed(whole, synthetic_data, tmp_path, moment):
    result, folder = whole
    assert fork_server.ended(race_and_die, synthetic_data, tmp_path, moment) == -signal.SIGKILL
    again = race(synthetic_data, tmp_path, resume=True)
    assert again.winner.scores == result.winner.scores
    assert lines(tmp_path) == lines(folder)
    assert (tmp_path / "result.json").read_text() == (folder / "result.json").read_text()


def test_torn_line_is_run_again(whole, synthetic_data, tmp_path):
    result, folder = whole
    race(synthetic_data, tmp_path)
    archive = tmp_path / "trials.jsonl"
    os.truncate(archive, archive.stat().st_size - 5)
    assert race(synthetic_data, tmp_path, resume=True).winner.scores == result.winner.scores
    assert lines(tmp_path) == lines(folder)


def test_other_settings_are_refused(whole, synthetic_data):
    _, folder = whole
    with pytest.raises(VidnasError, match=r"race\.json: cannot go on from this: race\.trials 8 then, 9 now"):
        race(synthetic_data, folder, trials=9, resume=True)
    with pytest.raises(VidnasError, match="holds a race already; add --resume"):
        race(synthetic_data, folder)
    with pytest.raises(VidnasError, match=r"train\.optimizer adamw then, sgd now"):
        race(synthetic_data, folder, optimizer="sgd", resume=True)


def test_other_videos_are_refused(whole, synthetic_data):
    _, folder = whole
    before = (folder / "trials.jsonl").read_bytes()
    with pytest.raises(VidnasError, match=r"training list \w{12} then, \w{12} now"):
        race_on(course(synthetic_data, classes=2), synthetic_data, folder, resume=True)
    assert (folder / "trials.jsonl").read_bytes() == before


def test_all_diverged(synthetic_data, tmp_path):
    with pytest.raises(VidnasError, match=r"all \d trainings failed: step \d: the loss is"):
        race(synthetic_data, tmp_path, optimizer="sgd", lr=1e30, log_every_steps=1)


def test_a_race_in_which_everything_failed_in_the_end(whole, synthetic_data, tmp_path):
    """Files say that those who went on failed in the second round, and the others in the first."""
    folder = shutil.copytree(whole[1], tmp_path / "race")
    path = folder / "trials.jsonl"
    entries = list(read_trials(path))
    went_on = {entry.network for entry in entries if entry.fold == 1}
    path.unlink()
    archive = TrialArchive(path)
    for entry in entries:
        ended_well = entry.network in went_on and entry.fold == 0
        archive.add(entry if ended_well else replace(entry, headline=None, failure="step 2: the loss is nan"))
    with pytest.raises(VidnasError, match=r"a training of each of the \d networks failed, as: step 2: the loss is nan"):
        race(synthetic_data, folder, resume=True)
    assert len(list(read_trials(path))) == len(entries)


def test_a_failure_for_want_of_memory_is_tried_again_until_the_race_has_ended(whole, synthetic_data, tmp_path):
    result, folder = whole
    short = shutil.copytree(folder, tmp_path / "race")
    path = short / "trials.jsonl"
    first, *others = read_trials(path)
    starved = replace(first, headline=None, log_likelihood=None, failure="memory ran out", starved=True)
    path.unlink()
    archive = TrialArchive(path)
    for entry in (starved, *others):
        archive.add(entry)
    assert first.key in TrialArchive(path).entries
    (short / "result.json").unlink()
    assert race(synthetic_data, short, resume=True).winner.scores == result.winner.scores
    assert (short / "result.json").read_text() == (folder / "result.json").read_text()
    assert TrialArchive(path).entries[first.key].headline == first.headline
    assert len(list(read_trials(path))) == len(others) + 2


def test_a_fold_judges_all_networks_by_the_same_videos(whole, synthetic_data, tmp_path):
    """One of them is out of reach for a while; the others are not read again, as their trials have ended."""
    result, folder = whole
    data = shutil.copytree(synthetic_data, tmp_path / "data")
    cut = shutil.copytree(folder, tmp_path / "race")
    path = cut / "trials.jsonl"
    entries = list(read_trials(path))
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    fold = entries[-1].fold
    held_out = make_folds(course(data).train, 0, 2)[fold].held_out
    gone = held_out.samples[0].path
    away = gone.rename(tmp_path / "away.mp4")
    count = len(held_out)
    with pytest.raises(VidnasError) as error:
        race(data, cut, resume=True)
    told = f"fold {fold + 1}: {count - 1} of its videos can be read now and {count} could before"
    assert str(error.value).startswith(told)
    assert gone.name in str(error.value)
    assert len(list(read_trials(path))) == len(entries) - 1
    away.rename(gone)
    assert race(data, cut, resume=True).winner.scores == result.winner.scores
    assert (cut / "result.json").read_text() == (folder / "result.json").read_text()


def test_trials_that_could_not_read_all_of_a_fold_are_run_again(whole, synthetic_data, tmp_path):
    result, folder = whole
    cut = shutil.copytree(folder, tmp_path / "race")
    path = cut / "trials.jsonl"
    *before, last = read_trials(path)
    path.unlink()
    archive = TrialArchive(path)
    for entry in before:
        archive.add(replace(entry, videos=entry.videos - 1, videos_hash="other") if entry.fold == last.fold else entry)
    dropped = sum(entry.fold == last.fold for entry in before)
    with pytest.raises(VidnasError, match=rf"so the {dropped} trials that were judged then have to be run again"):
        race(synthetic_data, cut, resume=True)
    assert len(list(read_trials(path))) == len(before) + 1 - dropped
    assert race(synthetic_data, cut, resume=True).winner.scores == result.winner.scores
    assert (cut / "result.json").read_text() == (folder / "result.json").read_text()


def test_other_clips_to_start_with_are_refused(synthetic_data, tmp_path):
    """The list names the same videos, but they are no longer what they were."""
    one, config = course(synthetic_data, clip=None), tiny_config(steps=1)
    for held, expected in ((HELD, nullcontext()), (replace(HELD, short_side=24), pytest.raises(VidnasError))):
        with expected as error:
            Race(
                replace(one, held=held),
                tiny_data(synthetic_data),
                config,
                RaceConfig(16, folds=2),
                tmp_path,
                QUIETLY,
                resume=True,
            )
    assert re.search(
        r"race\.json: began with the clips .+; the videos as they are now ask for .+: see", str(error.value)
    )


def test_a_fold_that_leaves_too_little_to_validate_on_is_refused_at_once(synthetic_data, tmp_path):
    one = course(synthetic_data)
    samples = [replace(sample, group=f"{place % 2}") for place, sample in enumerate(one.train.samples)]
    grouped = replace(one.train, samples=tuple(samples))
    with pytest.raises(VidnasError, match=r"in 1 group; each class needs 2 groups"):
        Race(
            replace(one, train=grouped),
            tiny_data(synthetic_data),
            tiny_config(val_fraction=0.2),
            RaceConfig(8, folds=2),
            tmp_path,
            QUIETLY,
        )
    assert not list(tmp_path.iterdir())


def test_too_few_trials(synthetic_data, tmp_path):
    with pytest.raises(VidnasError, match=r"a race of 3 trials is none: give 8 or more"):
        race(synthetic_data, tmp_path, trials=3)


def test_time_for_fewer_trials_and_for_none(synthetic_data, tmp_path):
    """A second is no race, an hour the whole one; a race that has begun keeps its plan whatever time it is given."""
    with pytest.raises(
        VidnasError, match=r"--max-hours 1e-06: 0 trainings fit, and 12 or more are needed: give [\d.e-]+ hours"
    ):
        limited(synthetic_data, tmp_path, 1e-6)
    with pytest.raises(VidnasError, match=r"--max-hours 1e-06, of which 5e-07 are not the supernet's: 0 trainings fit"):
        limited(synthetic_data, tmp_path, 1e-6, hours_share=0.5)
    result = limited(synthetic_data, tmp_path, 1.0)
    assert result.trials <= 12
    assert limited(synthetic_data, tmp_path, 1e-6, resume=True).winner.scores == result.winner.scores


def test_a_race_that_is_shortened_says_so(synthetic_data, tmp_path, caplog):
    caplog.set_level("INFO", "vidnas")
    config, course_, data = tiny_config(steps=1000, batch_size=6), course(synthetic_data), tiny_data(synthetic_data)
    for trials, hours in ((100_000, 1.0), (12, 1e4)):
        settings = RaceConfig(trials, folds=2)
        Race(course_, data, config, settings, tmp_path, QUIETLY, max_hours=hours, dry_run=True)
    shortened, whole = (message for message in caplog.messages if message.startswith("race: "))
    assert re.match(r"race: \d+ trainings \(of 100000, as --max-hours allows\) of 1000 steps at most", shortened)
    assert re.match(r"race: \d+ trainings of 1000 steps at most", whole)


def limited(data: Path, folder: Path, hours: float, **more) -> RaceResult:
    config, settings = tiny_config(steps=2, batch_size=6), RaceConfig(12, folds=2)
    times = {"max_hours": hours, "reserved": 4, **more}
    with notes_only():
        return run(Race(course(data), tiny_data(data), config, settings, folder, QUIETLY, **times))


def test_too_few_groups_for_folds(synthetic_data, tmp_path):
    one = course(synthetic_data)
    grouped = replace(one.train, samples=tuple(replace(sample, group="all") for sample in one.train.samples))
    with pytest.raises(VidnasError, match=r"has 5 videos in 1 group; each class needs 2 groups.*--folds-within-groups"):
        Race(replace(one, train=grouped), tiny_data(synthetic_data), tiny_config(), RaceConfig(8), tmp_path, QUIETLY)
