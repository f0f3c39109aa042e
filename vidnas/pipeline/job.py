"""What a run was asked to do, kept beside its results, so that later commands need none of its options again."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidnas.base.errors import VidnasError
from vidnas.base.files import read_json, write_json
from vidnas.data.datamodule import DataConfig
from vidnas.engine.run.state import check_identity
from vidnas.engine.train.config import TrainConfig
from vidnas.pipeline.lists import Lists

_PATHS = ("path", "test_path", "cache_dir")
_RANGES = ("jitter", "tempo", "aspect")


@dataclass(frozen=True)
class Job:
    """The part of a job's settings that its search does not record.

    Attributes:
        search: folder of the search within the run folder, `search` or `.`; of a progressive one that of its last step.
        data: where the videos are and how clips are made of them.
        training: how networks are trained.
        views: clips x crops of a test.
        lists: content hash of the training and the test list.
    """

    search: str
    data: DataConfig
    training: TrainConfig
    views: str
    lists: Mapping[str, str]


def list_hashes(lists: Lists) -> dict[str, str]:
    """What tells training and test list from others."""
    return {"training list": lists.train.content_hash[:12], "test list": lists.test.content_hash[:12]}


def keep_job(job: Job, root: Path) -> None:
    """Write job.json, over that of the same job where it is resumed.

    Raises:
        VidnasError: the folder holds a job on other lists.
    """
    path = _path(root)
    if path.exists():
        before = load_job(root)
        check_lists(before, job.lists, job.data.path, root)
        # What is refused later must not leave its settings here.
        then, now = (
            {f"clips.{name}": value for name, value in one.data.fixed_settings().items()} for one in (before, job)
        )
        check_identity({"search folder": before.search, **then}, {"search folder": job.search, **now}, path)
    data = {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in vars(job.data).items()}
    write_json(path, {**vars(job), "data": data, "training": asdict(job.training), "lists": dict(job.lists)})


def load_job(root: Path) -> Job:
    """Read job.json.

    Raises:
        VidnasError: the folder is not one of `vidnas search` or `vidnas run`, or the file was changed.
    """
    path = _path(root)
    if not root.is_dir():
        raise VidnasError(f"{root}: no such run folder; give what `vidnas search` or `vidnas run` had as --out")
    if (root / "race").is_dir() and not path.exists():
        raise VidnasError(
            f"{root}: this run found its network by a race, which leaves no supernet; `vidnas run --method both` or "
            "`vidnas search` do"
        )
    if not path.exists():
        raise VidnasError(
            f"{root}: no {path.name} in it; give the --out of `vidnas search` or `vidnas run` (either with --resume "
            "writes the file for an older run)"
        )
    content = read_json(path)
    try:
        return Job(**{**content, "data": _data(content["data"]), "training": TrainConfig(**content["training"])})
    except (TypeError, KeyError) as error:
        raise VidnasError(
            f"{path}: not as vidnas writes it ({error}); the search with --resume writes it anew"
        ) from error


def check_lists(job: Job, lists: Mapping[str, str], path: Path, root: Path) -> None:
    """Refuse other data.

    Raises:
        VidnasError: names the list that differs.
    """
    for name, content_hash in job.lists.items():
        if lists[name] != content_hash:
            raise VidnasError(
                f"{path}: its {name} is not the one of {root} (other videos, labels or classes); restore it, or give "
                "the folder or list of that run with --data"
            )


def _path(root: Path) -> Path:
    return root / "job.json"


def _data(settings: Mapping[str, Any]) -> DataConfig:
    paths = {name: None if settings[name] is None else Path(settings[name]) for name in _PATHS}
    ranges = {name: tuple(settings[name]) for name in _RANGES}
    return DataConfig(**{**settings, **paths, **ranges})
