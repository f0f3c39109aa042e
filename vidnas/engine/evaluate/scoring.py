"""Scores of videos from scores of their views."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidnas.base.errors import Diverged
from vidnas.data.dataset import Batch
from vidnas.engine.tasks.registry import task_of
from vidnas.nn.build import VideoNetwork

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class ViewScores:
    """Scores summed per video over views, batches and processes.

    Args:
        num_videos: length of the list.
        num_classes: classes of the network.
        clips_at_once: how many clips go through the network together.
    """

    def __init__(self, num_videos: int, num_classes: int, clips_at_once: int) -> None:
        self.clips_at_once = clips_at_once
        # The last column counts views that could not be read.
        self._sums = torch.zeros(num_videos, num_classes + 1, dtype=torch.float64)
        self._views = torch.zeros(num_videos, dtype=torch.float64)

    def add(self, network: VideoNetwork, batch: Batch) -> None:
        """Score a batch of views; the network is in evaluation mode."""
        indices, readable = batch.indices.cpu(), batch.only_readable()
        if len(readable.clips):
            logits = torch.cat([network(part) for part in readable.clips.split(self.clips_at_once)])
            scores = task_of(network.spec.head).scores(logits.float()).double().cpu()
            self._sums[:, :-1].index_add_(0, readable.indices.cpu(), scores)
        self._sums[:, -1].index_add_(0, indices, (~batch.readable).double().cpu())
        self._views.index_add_(0, indices, torch.ones(len(indices), dtype=torch.float64))

    def gather(self, all_reduce_sum: Callable[[Tensor], Tensor]) -> None:
        """Add up the processes' shares (`vidnas.engine.run.processes.all_reduce_sum`)."""
        self._sums, self._views = all_reduce_sum(self._sums), all_reduce_sum(self._views)

    def unreadable(self) -> NDArray[np.int64]:
        """Places of the videos of which a view could not be read."""
        return self._sums[:, -1].nonzero().flatten().numpy()

    def readable(self) -> NDArray[np.int64]:
        """Places of the other videos."""
        return (self._sums[:, -1] == 0).nonzero().flatten().numpy()

    def mean(self) -> NDArray[np.float64]:
        """(readable videos, classes) average over views.

        Raises:
            Diverged: a score is not finite. NaN is neither above nor below anything, so it would count as found, or as
                the first class.
        """
        places = torch.from_numpy(self.readable())
        scores: NDArray[np.float64] = (self._sums[places, :-1] / self._views[places, None]).numpy()
        if broken := int((~np.isfinite(scores).all(1)).sum()):
            raise Diverged(
                f"the network's scores of {broken} of {len(scores)} videos are not finite; compute in precision fp32, "
                "or train again with a lower train.lr, or train.grad_clip 1"
            )
        return scores


@torch.no_grad()
def score_views(network: VideoNetwork, batches: Iterable[Batch], scores: ViewScores, precision: str) -> None:
    """Run all batches through a network on the device of its weights, in evaluation mode; the mode is put back."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    with torch.autocast(device.type, _DTYPES.get(precision), enabled=precision in _DTYPES):
        for batch in batches:
            scores.add(network, Batch(*(tensor.to(device, non_blocking=True) for tensor in batch)))
    network.train(was_training)
