"""The last trainings of a run where a video could be read in some tests only."""

import shutil

import pytest
from tiny_training import tiny_config, tiny_data, tiny_spec

from vidnas.base.errors import VidnasError
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.trials.executors import QUIETLY
from vidnas.engine.trials.job import CENTRE
from vidnas.pipeline.finals import Finals, train_finals
from vidnas.pipeline.lists import load_lists


def test_networks_are_compared_on_the_videos_that_all_tests_could_read(synthetic_data, tmp_path, caplog):
    data = shutil.copytree(synthetic_data, tmp_path / "data")
    lists, root = load_lists(tiny_data(data)), tmp_path / "run"

    def finals() -> Finals:
        return train_finals(
            tiny_spec(),
            tiny_spec(dropout=0.1),
            lists,
            tiny_config(steps=2, threads=1),
            tiny_data(data),
            CENTRE,
            root,
            seeds=1,
            executor=QUIETLY,
            resume=True,
        )

    def test_again(which: str) -> Finals:
        shutil.rmtree(RunFolder(root / which).test)
        return finals()

    whole = finals()
    ours, theirs = whole.searched[0].tested(), whole.x3d[0].tested()
    videos = [sample.path for sample in lists.test.samples]
    away = tmp_path / "away"
    away.mkdir()
    videos[0].rename(away / "0")
    partly = test_again("x3d")
    assert "1 test videos, as " in caplog.text
    for result, before in ((partly.searched[0].tested(), ours), (partly.x3d[0].tested(), theirs)):
        assert result.paths == before.paths[1:]
        assert (result.scores == before.scores[1:]).all()
        assert (result.correct == before.correct[1:]).all()
    differ = (ours.correct != theirs.correct)[1:].sum()
    assert partly.same_videos is not None
    assert partly.same_videos.only_searched_right + partly.same_videos.only_x3d_right == differ

    # Back again, that test is done again by itself.
    (away / "0").rename(videos[0])
    again = finals()
    assert again.x3d[0].tested().paths == theirs.paths
    assert again.ahead == whole.ahead
    with pytest.raises(VidnasError, match="no video could be read in all tests"):
        ours.on(())
