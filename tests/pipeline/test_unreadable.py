"""What is said of the videos that a search could not read."""

import json
from pathlib import Path

import torch
from ranks import Ranks

from vidnas.arch.spec import ClipSpec
from vidnas.data.augment import Views
from vidnas.data.dataset import ViewClips
from vidnas.data.formats import load_list
from vidnas.data.reader import FileReader
from vidnas.data.synthetic import write_dataset
from vidnas.engine.run.fabric import make_fabric
from vidnas.engine.run.processes import get_rank, get_world_size
from vidnas.pipeline.unreadable import describe_unreadable, gather_unreadable


def gather_from_the_second(data: Path, out: Path) -> None:
    """Work of a process: the second one alone reads the videos of the first part."""
    make_fabric(torch.device("cpu"), "fp32")
    assert get_world_size() == 2
    videos, clip = load_list(data / "train.csv"), ClipSpec(frames=2, size=16)
    parts = {name: ViewClips(videos, FileReader(16), clip, Views(1, 1)) for name in ("alpha", "holdout")}
    if get_rank() == 1:
        for place in range(len(videos)):
            parts["alpha"][0, place]
    (out / f"{get_rank()}.json").write_text(json.dumps(gather_unreadable(parts)))


def test_what_one_process_has_met_all_know(tmp_path: Path) -> None:
    write_dataset(tmp_path, classes=["grow", "shrink"], train_per_class=2, test_per_class=1, size=(16, 16), frames=4)
    (tmp_path / "videos/train/grow_0001.mp4").write_bytes(b"")
    ranks = Ranks(2, tmp_path / "said", gather_from_the_second, tmp_path, tmp_path)
    assert ranks.wait() == [0, 0], [ranks.said(rank) for rank in (0, 1)]
    found = {"alpha": [{"path": "videos/train/grow_0001.mp4", "cause": "the file is empty (0 bytes)"}]}
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [found, found]


def test_many_are_one_line() -> None:
    found = {
        "alpha": [{"path": f"{k}.mp4", "cause": "no such file"} for k in range(2)],
        "holdout": [{"path": f"{k}.mp4", "cause": "no video stream"} for k in range(2, 6)],
    }
    assert describe_unreadable(found, {"weights": 9, "alpha": 5, "holdout": 7}) == (
        "unreadable videos do not count (2 of 5 for alpha, 4 of 7 for holdout): 0.mp4: no such file; "
        "1.mp4: no such file; 2.mp4: no video stream; and 3 more: `vidnas data check` lists them, --fix writes lists "
        "without them"
    )
