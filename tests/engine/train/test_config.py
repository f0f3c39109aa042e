"""The rules of the settings, and every recipe that the package brings."""

from pathlib import Path

import pytest
import yaml

import vidnas
from vidnas.base.errors import VidnasError
from vidnas.cli.config_parser import make_config_parser
from vidnas.cli.run import run_parser
from vidnas.cli.train import train_parser
from vidnas.data.datamodule import DataConfig
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.train.config import TrainConfig

RECIPES = sorted((Path(vidnas.__file__).parent / "recipes").glob("*.yaml"))


@pytest.mark.parametrize(
    ("optimizer", "batch_size", "lr"),
    [
        ("sgd", 1024, 1.6),  # X3D A.3
        ("sgd", 64, 0.1),
        ("adamw", 16, 0.002),
        ("adamw", 64, 0.004),
    ],
)
def test_learning_rate_by_rule(optimizer, batch_size, lr):
    config = TrainConfig(optimizer=optimizer, batch_size=batch_size)
    assert config.peak_lr == pytest.approx(lr)
    assert f"lr {lr:g} at batch {batch_size} (by rule" in config.describe_lr()


def test_a_given_rate_wins():
    config = TrainConfig(optimizer="sgd", lr=0.03, weight_decay=0.0)
    assert config.peak_lr == 0.03
    assert config.decay == 0.0
    assert "as given" in config.describe_lr()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "train.epochs: must be at least 1, or null (got 0)"),
        ({"lr": -0.1}, "train.lr: must be above 0, or null (got -0.1)"),
        ({"label_smoothing": 1.0}, "train.label_smoothing"),
        ({"batch_size": 16, "accumulate": 3}, "train.batch_size: must be a multiple of accumulate (3) (got 16)"),
        ({"keep": "best"}, "train.keep: must be last, or val_fraction above 0 for best"),
        ({"threads": 0}, "train.threads"),
        ({"checkpoint_every_steps": 0}, "train.checkpoint_every_steps"),
    ],
)
def test_settings_outside_their_rules_are_refused(settings, message):
    with pytest.raises(VidnasError) as caught:
        TrainConfig(**settings)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warm_start": -0.5}, "search.warm_start: must be at least 0 (got -0.5)"),
        ({"temperature": "accuracy"}, "search.temperature: must be auto, paper or mean"),
        ({"weight_mode": "streamed", "micro_batches": 2}, "search.weight_mode: must be another than streamed where"),
        ({"weight_samples": 0, "weight_mode": "sandwich"}, "search.weight_samples: must be at least 1 (got 0)"),
    ],
)
def test_settings_of_a_search_outside_their_rules_are_refused(settings, message):
    with pytest.raises(VidnasError) as caught:
        SearchConfig(**settings)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("option", ["kernels", "weight_mode", "skip_inactive", "warm_start"])
def test_an_unknown_mode_of_a_search_is_one_line(option):
    parser = run_parser()
    with pytest.raises(VidnasError) as caught:
        parser.parse_args([f"--search.{option}", "sideways"])
    assert f"--search.{option.replace('_', '-')}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads_strictly(recipe):
    written = yaml.safe_load(recipe.read_text())
    # Without settings of a search or a race it is for `vidnas train` as well.
    parser = run_parser() if {"search", "race"} & written.keys() else train_parser()
    by_name = parser.instantiate(parser.parse_args(["--config", recipe.stem]))
    by_path = parser.instantiate(parser.parse_args(["--config", str(recipe)]))
    assert by_name == by_path
    for group in written.keys() & {"search", "race", "train", "clips"}:
        read = {name: getattr(by_name[group], name) for name in written[group]}
        assert {name: list(v) if isinstance(v, tuple) else v for name, v in read.items()} == written[group]
    DataConfig(path=Path("x"), **vars(by_name.clips))


def test_the_papers_recipes_say_what_the_papers_say():
    told = [("x3d_kinetics", 256, "off"), ("autox3d_kinetics", 300, "auto"), ("auto_tsnet_kinetics", 300, "off")]
    for name, epochs, augment in told:
        recipe = yaml.safe_load(next(path for path in RECIPES if path.stem == name).read_text())
        train, clips = recipe["train"], recipe["clips"]
        assert (train["epochs"], train["optimizer"]) == (epochs, "sgd")
        assert (train["momentum"], train["weight_decay"]) == (0.9, 5e-5)
        assert train["batch_size"] // train["accumulate"] == 8  # clips that share norm statistics
        assert clips["augment"] == augment
        assert TrainConfig(**{**train, "batch_size": 1024}).peak_lr == pytest.approx(1.6)


def test_a_length_by_rule_is_that_of_many_clips_even_for_few_classes():
    """As docs/training.md has it, in epochs of the list."""
    for videos, classes, epochs in ((400, 4, 150), (431, 27, 150), (10_000, 100, 60)):
        config = TrainConfig().with_length(videos, classes)
        assert config.steps is not None
        assert config.steps * config.batch_size / videos == pytest.approx(epochs, abs=0.5)
        assert TrainConfig(batch_size=8).with_length(videos, classes).steps == pytest.approx(2 * config.steps, abs=1)
        assert config.in_steps(videos, classes) == config
    for given in (TrainConfig(epochs=3), TrainConfig(steps=7)):
        assert given.with_length(400, 4) == given
    # Incomplete batches are left out, as in a training.
    assert TrainConfig(epochs=3).in_steps(100, 4) == TrainConfig(steps=18)


def test_options_may_leave_their_group_out():
    parser = make_config_parser("train", "")
    parser.add_class_arguments(TrainConfig, "train")
    options = parser.instantiate(parser.parse_args(["--batch-size", "8", "--lr=0.5"]))
    assert (options.train.batch_size, options.train.lr) == (8, 0.5)
    parser.add_class_arguments(TrainConfig, "other")
    with pytest.raises(VidnasError, match="no option --lr"):  # two groups have it
        parser.parse_args(["--lr=0.5"])
