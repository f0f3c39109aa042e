"""Predictions of single files equal those of a test."""

import pytest
from tiny_training import lively_network, tiny_data, tiny_spec

from vidnas.base.errors import Diverged, VidnasError
from vidnas.data.augment import Views
from vidnas.data.decode import BrokenVideo
from vidnas.data.formats import load_dataset
from vidnas.deploy.predict import Predictor
from vidnas.engine.evaluate.evaluate import evaluate
from vidnas.engine.train.train import fresh_network


@pytest.mark.parametrize("views", [Views(1, 1), Views(3, 3)])
def test_as_in_testing(synthetic_data, views):
    videos = load_dataset(synthetic_data).test.subset([0, 9])
    network = lively_network()
    result = evaluate(network, videos, tiny_data(synthetic_data), views)
    predictor = Predictor(network, videos.classes, views, clips_at_once=2)
    for sample, scores in zip(videos.samples, result.scores, strict=True):
        assert scores.max() > 2 / len(scores)  # the network has an opinion
        prediction = predictor.predict(sample.path, top=100)
        assert [name for name, _ in prediction.top] == [videos.classes[i] for i in (-scores).argsort(kind="stable")]
        # other batch sizes take other kernels; fp32
        assert [score for _, score in prediction.top] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)
        assert predictor.predict(sample.path, top=2).top == prediction.top[:2]
    assert predictor.macs_per_view == result.macs_per_view
    assert str(predictor.seen_clip) == result.clip


def test_a_bad_file_is_named(tmp_path):
    path = tmp_path / "bad.mp4"
    path.touch()
    predictor = Predictor(fresh_network(tiny_spec(2), 0), ("a", "b"), Views(1, 1))
    with pytest.raises(BrokenVideo, match=r"bad\.mp4: the file is empty"):
        predictor.predict(path)


def test_a_network_without_finite_scores_names_no_class(synthetic_data):
    videos = load_dataset(synthetic_data).test
    network = lively_network()
    next(iter(network.parameters())).data.fill_(float("nan"))
    with pytest.raises(Diverged, match=r"\.mp4: the network's scores are not finite"):
        Predictor(network, videos.classes, Views(1, 1)).predict(videos.samples[0].path)


def test_class_names_must_fit():
    with pytest.raises(VidnasError, match="3 class names for a network of 2 classes"):
        Predictor(fresh_network(tiny_spec(2), 0), ("a", "b", "c"), Views(1, 1))
