"""Videos that turned out broken in any process of a run."""

import torch

from vidnas.data.container import BrokenVideo
from vidnas.data.dataset import TrainClips, ViewClips
from vidnas.engine.run.processes import all_reduce_sum


def set_aside_anywhere(clips: TrainClips | ViewClips) -> list[BrokenVideo]:
    """The videos that any process of the run has set aside, in the order of the list; all of them call this."""
    met = torch.zeros(len(clips.videos), dtype=torch.int32)
    met[clips.quarantine.places()] = 1
    for place in all_reduce_sum(met).nonzero().flatten().tolist():
        clips.quarantine.add(place)
    return clips.quarantine.broken()
