"""How long the videos of a list are, for what is said about a clip before it is used."""

from statistics import median

from vidnas.data.container import BrokenVideo
from vidnas.data.formats import VideoList
from vidnas.data.reader import Reader

# Opening a file takes some milliseconds where no cache knows it.
_PROBED = 100


def median_duration(videos: VideoList, reader: Reader) -> float | None:
    """Seconds: the median of up to a hundred videos spread evenly over the list; None where none can be opened."""
    durations = []
    for sample in videos.samples[:: max(1, len(videos) // _PROBED)]:
        try:
            durations.append(reader.info(sample.path).duration_sec)
        except BrokenVideo:
            continue
    return float(median(durations)) if durations else None
