"""The classes of single video files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vidnas.arch.cost import network_cost
from vidnas.arch.spec import ClipSpec
from vidnas.base.errors import Diverged, VidnasError
from vidnas.data.augment import JITTER, Views, ViewTransform
from vidnas.data.clips import test_times
from vidnas.data.decode import probe, read_frames_and_damage
from vidnas.nn.build import VideoNetwork
from vidnas.nn.heads import PROBABILITIES

# From here on a class of several counts as shown.
THRESHOLD = 0.5


@dataclass(frozen=True)
class Prediction:
    """What a video shows.

    Attributes:
        path: the file.
        top: the most probable classes, highest first, with their scores (probabilities averaged over views).
        notice: what the user should know of the file (it ends early, its times jump); None where all is well.
    """

    path: Path
    top: tuple[tuple[str, float], ...]
    notice: str | None = None


class Predictor:
    """Classifies videos with a trained network, each from several views as in testing.

    Args:
        network: trained; put into evaluation mode.
        classes: names in the order of the logits.
        views: clips in time x crops.
        clip: frames and training crop; default the network's.
        jitter: training scales; the lower end sets the short side.
        device: where to compute; the network is moved there.
        clips_at_once: how many views go through the network together.

    Raises:
        VidnasError: class names that do not fit the network.
    """

    def __init__(
        self,
        network: VideoNetwork,
        classes: Sequence[str],
        views: Views,
        *,
        clip: ClipSpec | None = None,
        jitter: tuple[float, float] = JITTER,
        device: torch.device | str = "cpu",
        clips_at_once: int = 8,
    ) -> None:
        if len(classes) != network.spec.head.num_classes:
            raise VidnasError(f"{len(classes)} class names for a network of {network.spec.head.num_classes} classes")
        self.network = network.to(device).eval()
        self.classes = tuple(classes)
        self.probabilities = PROBABILITIES[network.spec.head.kind]
        self.multi_label = network.spec.head.kind == "multi_label"
        self.views = views
        self.clip = clip or network.spec.clip
        self.transform = ViewTransform(self.clip.size, views.spatial, jitter=jitter)
        self.device = device
        self.clips_at_once = clips_at_once

    @property
    def macs_per_view(self) -> int:
        """Multiply-adds of one view, all head positions counted."""
        return network_cost(self.network.spec, self.seen_clip, "all").macs

    @property
    def seen_clip(self) -> ClipSpec:
        """The clip of one view, at the size of its crop."""
        return self.clip.model_copy(update={"size": self.transform.crop})

    @torch.inference_mode()
    def predict(self, path: Path, top: int = 5) -> Prediction:
        """The `top` most probable classes (at most all of them).

        Where a video may show several classes, only those with a score of one half or more, or else the best one.

        Raises:
            BrokenVideo: the file cannot be used.
            Diverged: the network gives no finite scores.
        """
        info = probe(path)
        moments = test_times(self.clip, info.duration_sec, info.fps, self.views.temporal)
        side = self.transform.short_side
        frames, damage = read_frames_and_damage(
            info,
            [time for times in moments for time in times],
            short_side=side if min(info.width, info.height) > side else None,
        )
        clips = torch.stack(
            [
                self.transform(part, crop)
                for part in frames.reshape(len(moments), -1, *frames.shape[1:])
                for crop in range(self.views.spatial)
            ]
        ).to(self.device, memory_format=torch.channels_last_3d)
        logits = torch.cat([self.network(part) for part in clips.split(self.clips_at_once)])
        scores = self.probabilities(logits.float()).double().mean(0)
        if not scores.isfinite().all():
            raise Diverged(f"{path}: the network's scores are not finite, so its weights are of no use")
        if self.multi_label:
            top = max(1, min(top, int((scores >= THRESHOLD).sum())))
        best = scores.argsort(descending=True, stable=True)[:top].tolist()
        notice = "; ".join(part for part in (info.notice, damage) if part) or None
        return Prediction(path, tuple((self.classes[label], float(scores[label])) for label in best), notice)
