"""Testing with several views: against a loop over views, with files that cannot be read."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_training import lively_network, tiny_data, tiny_spec

from vidnas.arch.cost import network_cost
from vidnas.base.errors import VidnasError
from vidnas.data.augment import Views
from vidnas.data.datamodule import view_clips, view_reader
from vidnas.data.formats import VideoList, load_dataset
from vidnas.engine.evaluate.evaluate import evaluate, with_classes
from vidnas.engine.train.train import fresh_network


@pytest.fixture(scope="module")
def videos(synthetic_data):
    return load_dataset(synthetic_data).test


@pytest.fixture
def network():
    return lively_network().train()


def test_scores_are_the_mean_softmax_over_views(network, videos, synthetic_data):
    data, views = tiny_data(synthetic_data), Views(2, 3)
    result = evaluate(network, videos, data, views, batch_size=5)
    assert network.training
    clips = view_clips(data, videos, view_reader(data, videos, network.spec.clip), network.spec.clip, views)
    network.eval()
    for index in (0, 7, 23):
        with torch.no_grad():
            scores = [network(clips[0, index * 6 + view].clip[None]).softmax(1)[0] for view in range(6)]
        # Batches of another size take other kernels; fp32.
        np.testing.assert_allclose(result.scores[index], torch.stack(scores).mean(0).numpy(), atol=1e-5)
    assert np.ptp(result.scores, axis=0).max() > 1e-2
    assert result.targets.tolist() == list(videos.labels)
    assert result.paths[3] == videos.relative(videos.samples[3])


@pytest.mark.parametrize(("views", "size"), [(Views(1, 1), 32), (Views(3, 1), 32), (Views(1, 3), 36)])
def test_cost_is_that_of_the_views(network, videos, synthetic_data, views, size):
    result = evaluate(network, videos.subset([0, 1]), tiny_data(synthetic_data), views)
    clip = network.spec.clip.model_copy(update={"size": size})
    assert result.clip == f"8x{size}x{size}"
    assert result.macs_per_video == len(views) * network_cost(network.spec, clip, "all").macs


def test_workers_batches_and_cache_change_nothing(network, videos, synthetic_data, tmp_path):
    few = videos.subset(range(6))
    plain = evaluate(network, few, tiny_data(synthetic_data), Views(2, 1), batch_size=4)
    cached = tiny_data(synthetic_data, workers=1, memory_budget_mib=100, cache_dir=tmp_path)
    other = evaluate(network, few, cached, Views(2, 1), batch_size=100)
    np.testing.assert_allclose(plain.scores, other.scores, atol=1e-5)  # other batch sizes, as above


def test_broken_videos_are_listed_and_not_counted(network, videos, synthetic_data, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"not a video")
    samples = (videos.samples[0], replace(videos.samples[1], path=bad), *videos.samples[2:5])
    listed = VideoList(tmp_path.parent, samples, videos.classes)
    result = evaluate(network, replace(listed, root=bad.parents[1]), tiny_data(synthetic_data), Views(1, 3))
    assert len(result.paths) == len(result.scores) == 4
    ((path, cause),) = result.broken
    assert path.endswith("bad.mp4")
    assert "not a video" in cause
    assert "1 videos could not be read" in result.describe()
    whole = evaluate(network, videos.subset([0, 2, 3, 4]), tiny_data(synthetic_data), Views(1, 3))
    np.testing.assert_array_equal(result.scores, whole.scores)
    alone = VideoList(tmp_path, (samples[1],), videos.classes)
    with pytest.raises(VidnasError, match="not one of the 1 videos can be read"):
        evaluate(network, alone, tiny_data(synthetic_data), Views(1, 1))


def test_classes_are_matched_by_name(videos):
    turned = with_classes(videos, tuple(reversed(videos.classes)))
    names = [videos.classes[sample.label] for sample in videos.samples]
    assert [turned.classes[sample.label] for sample in turned.samples] == names
    more = with_classes(videos, ("another", *videos.classes))
    assert [more.classes[sample.label] for sample in more.samples] == names
    with pytest.raises(VidnasError, match=f"class {videos.classes[3]!r} is unknown to the network .1 such classes."):
        with_classes(videos, tuple(name for name in videos.classes if name != videos.classes[3]))


def test_another_number_of_classes_is_refused(videos, synthetic_data):
    with pytest.raises(VidnasError, match="the list has 12 classes and the network 5"):
        evaluate(fresh_network(tiny_spec(5), 0), videos, tiny_data(synthetic_data), Views(1, 1))
