"""The command that trains a network that was found, on the same lists and with the recipe in which it was judged."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def train_command(options: Any, arch: Path, out: Path) -> str:
    """`vidnas train` as one types it, with what options and recipes say of lists, trainings and clips.

    Args:
        options: of a verb that finds networks, settings of trainings and clips among them.
        arch: file of the network.
        out: where its training would go.
    """
    from vidnas.data.datamodule import DataConfig
    from vidnas.engine.train.config import TrainConfig

    words = ["vidnas", "train", "--arch", str(arch), "--data", options.data]
    for name in ("test", "group_regex"):
        if getattr(options, name):
            words += [f"--{name.replace('_', '-')}", getattr(options, name)]
    if options.follow_links:
        words.append("--follow-links")
    words += _changed("train", TrainConfig, vars(options.train))
    words += _changed("clips", DataConfig, vars(options.clips))
    return shlex.join([*words, "--out", str(out)])


def _changed(group: str, settings: "type[DataclassInstance]", values: Mapping[str, Any]) -> Iterator[str]:
    """The options of a group that have other values than by default."""
    for field in fields(settings):
        value = values.get(field.name, field.default)
        if value not in (field.default, MISSING):
            text = str(value) if isinstance(value, str | Path) else json.dumps(value)
            yield from (f"--{group}.{field.name.replace('_', '-')}", text)
