"""AutoAugment changes the clips of networks that are trained, and not those of supernets, unless told otherwise."""

from pathlib import Path

import pytest
import torch
from tiny_training import tiny_config, tiny_data, tiny_spec

from vidnas.data.augment import Policy
from vidnas.data.datamodule import train_clips, train_reader
from vidnas.data.formats import load_dataset
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.supernet.data import SearchData
from vidnas.engine.train.loaders import TrainLoaders


@pytest.mark.parametrize(
    ("asked", "in_training", "on_a_supernet"),
    [(None, "auto", "off"), ("off", "off", "off"), ("auto", "auto", "auto"), ("rand", "rand", "rand")],
)
def test_who_augments(synthetic_data: Path, asked: Policy | None, in_training: Policy, on_a_supernet: Policy) -> None:
    videos, clip = load_dataset(synthetic_data).train, tiny_spec().clip
    data = tiny_data(synthetic_data, augment=asked)
    training = TrainLoaders(videos, data, clip, tiny_config(seed=3)).clips
    parts = {"weights": videos, "alpha": videos, "holdout": videos}
    supernet = SearchData(videos, parts, clip, data, SearchConfig(seed=3)).weights
    for clips, policy in ((training, in_training), (supernet, on_a_supernet)):
        told = train_clips(tiny_data(synthetic_data, augment=policy), videos, train_reader(data, videos, clip), clip, 3)
        assert all(torch.equal(clips[(0, i)].clip, told[(0, i)].clip) for i in range(8))
    plain = train_clips(tiny_data(synthetic_data, augment="off"), videos, train_reader(data, videos, clip), clip, 3)
    same = [torch.equal(training[(0, i)].clip, plain[(0, i)].clip) for i in range(8)]
    assert all(same) == (in_training == "off")
