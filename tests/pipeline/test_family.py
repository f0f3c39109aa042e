"""How targets are named and trainings of a family are set up."""

import pytest

from vidnas.arch.cost import parse_amount
from vidnas.engine.train.config import TrainConfig
from vidnas.pipeline.family import target_label
from vidnas.pipeline.family_training import FamilyTraining
from vidnas.pipeline.rank import RankSettings


def test_a_target_has_one_name_however_it_is_written():
    for texts, name in ((("0.5G", "500M", "5e8"), "500M"), (("2G", "2000M"), "2G"), (("1500k", "1.5M"), "1.5M")):
        assert {target_label("macs", parse_amount(text)) for text in texts} == {name}
    assert target_label("macs", 999.0) == "999"
    assert target_label("params", 1.5e6) == "1.5M_params"
    assert (target_label("ms", 30.0), target_label("ms", 0.25)) == ("30ms", "0.25ms")


def test_fine_tuning_is_a_third_of_a_training_at_a_third_of_its_rate():
    run = TrainConfig(epochs=40, batch_size=16, warmup_epochs=3.0, seed=5)
    tuned = FamilyTraining().fine_tune_config(run)
    assert (tuned.epochs, tuned.seed, tuned.batch_size) == (14, 5, 16)
    assert tuned.peak_lr == pytest.approx(run.peak_lr / 3)
    assert tuned.warmup_epochs == pytest.approx(1.0)
    assert FamilyTraining().scratch_config(run) == run
    asked = FamilyTraining(epochs=9, fine_tune_lr=1e-4)
    assert asked.scratch_config(run).epochs == 9
    assert (asked.fine_tune_config(run).epochs, asked.fine_tune_config(run).lr) == (3, 1e-4)


def test_steps_are_shortened_as_epochs_are_and_give_way_to_them():
    run = TrainConfig(steps=100)
    assert FamilyTraining().fine_tune_config(run).steps == 34
    assert FamilyTraining(fine_tune_epochs=2).fine_tune_config(run).steps is None
    assert FamilyTraining(epochs=7).scratch_config(run).describe_length() == "7 epochs"
    assert RankSettings().training(run, 160).describe_length() == "25 steps"
    assert RankSettings(epochs=1).training(run, 160).describe_length() == "1 epoch"
