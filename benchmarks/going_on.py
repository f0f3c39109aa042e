"""Result files that benchmarks go on with: with nothing but what they were begun with."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from vidnas.data.datamodule import DataConfig
from vidnas.engine.run.state import differences
from vidnas.engine.supernet.config import SearchConfig
from vidnas.engine.train.config import TrainConfig


def settings(**configs: TrainConfig | DataConfig | SearchConfig) -> dict[str, Any]:
    """What decides results, by names such as `train.steps`; seeds are left out, as every result has its own."""
    return {
        f"{of}.{name}": value
        for of, config in configs.items()
        for name, value in config.fixed_settings().items()
        if name != "seed"
    }


def hold_to(record: dict[str, Any], identity: Mapping[str, Any], path: Path, *, named: Collection[str] = ()) -> None:
    """Give a record its identity; one with results must have the same already.

    Args:
        record: of the results so far, empty before the first.
        identity: all that decides its results, by name.
        path: of the file, for the message.
        named: parts of the identity that a file without one has beside its results, by which it is held.

    Raises:
        SystemExit: its results were made with something else; names all that differs.
    """
    # As it comes back from a file.
    own = json.loads(json.dumps(identity))
    if record:
        by_name = "identity" not in record and named
        saved = {name: record.get(name) for name in named} if by_name else record.get("identity")
        if saved is None:
            raise SystemExit(
                f"{path}: does not say what its results were made with; move it away or choose another --out"
            )
        if found := differences(saved, {name: own[name] for name in named} if by_name else own):
            raise SystemExit(
                f"{path}: cannot go on from this: {found}; ask for the same, or move the file away or choose another "
                "--out to start anew"
            )
    record["identity"] = own
