"""Training one network and testing it, going on wherever an earlier call of the same command was stopped."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidnas.arch.spec import ArchSpec
from vidnas.base.errors import VidnasError
from vidnas.base.files import read_json
from vidnas.base.interrupt import Interrupted
from vidnas.base.log import notes_only
from vidnas.data.augment import Views
from vidnas.data.datamodule import DataConfig
from vidnas.data.formats import VideoList
from vidnas.engine.config import TrainConfig, fixed_settings
from vidnas.engine.run_folder import RunFolder
from vidnas.engine.test import test
from vidnas.engine.train import train
from vidnas.nn.build import VideoNetwork


def train_and_test(
    network: ArchSpec | VideoNetwork,
    videos: VideoList,
    tested: VideoList,
    config: TrainConfig,
    data: DataConfig,
    views: Views,
    folder: Path,
) -> Mapping[str, Any]:
    """Train in a folder and test, unless both are done; returns the summary of the test.

    Args:
        network: a spec to start afresh from, or a network with its initial weights.
        videos: the training list.
        tested: what it is tested on.
        config: settings.
        data: how clips are made.
        views: of the test.
        folder: of this network.

    Raises:
        Interrupted: stopped by a signal; the same command goes on.
        VidnasError: as `vidnas.engine.train.train`, or the folder holds a training with other settings.
    """
    _check_same(folder, config)
    try:
        run = train(network, videos, config, data, folder, resume=True)
    except Interrupted as stop:
        raise Interrupted(f"{folder}: stopped, its state is saved; the same command goes on", stop.signum) from stop
    summary = run.folder.test / "result.json"
    if not summary.exists():
        with notes_only():
            result = test(run.network, tested, data, views, batch_size=config.batch_size, device=config.device)
        result.save(run.folder.test)
    return dict(read_json(summary))


def _check_same(folder: Path, config: TrainConfig) -> None:
    record = RunFolder(folder).run_record
    before = read_json(record)["settings"]["train"] if record.exists() else {}
    for name, value in fixed_settings(config).items():
        if before.get(name, value) != value:
            raise VidnasError(
                f"{folder}: was trained with {name} {before[name]}, now {value} is asked for; ask for the same, or "
                "remove the folder to train anew"
            )
