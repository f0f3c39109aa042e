"""What a video file holds, found once before its frames are read."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidnas.data.container import BrokenVideo, find_film, open_container
from vidnas.data.stream import Video, open_video
from vidnas.data.survey import Survey, survey_index, survey_packets

# Beyond these the rate in a header is an accident.
_LEAST_FPS, _MOST_FPS = 0.01, 1000


@dataclass(frozen=True)
class VideoInfo:
    """What a file holds.

    Attributes:
        path: the file.
        width: pixels, upright.
        height: pixels, upright.
        fps: average rate in frames per second.
        frames: number of frames, from the first that can be decoded on.
        duration_sec: from the first frame to the end of the last one that is there, whatever the header says.
        rotation: degrees counter-clockwise (0, 90, 180, 270) by which stored frames are turned to stand upright.
        slack_sec: how much earlier than its stamp a frame counts as shown, as stamps are rounded to the
            container's unit of time.
        stream: index of the film in the file.
        counted_ticks: ticks from frame to frame where the file's times start over, jump or are missing, so that
            frames are counted instead; None where its times hold.
        seekable: whether frames can be sought; otherwise every read starts at the first frame.
        reorder: how many places the times of packets may be off the order of frames.
        notice: what the user should know of the file, in words; None where all is well.
    """

    path: Path
    width: int
    height: int
    fps: float
    frames: int
    duration_sec: float
    rotation: int
    slack_sec: float
    stream: int
    counted_ticks: int | None
    seekable: bool
    reorder: int
    notice: str | None

    def open(self) -> AbstractContextManager[Video]:
        """A pass through the file; see `open_video`."""
        return open_video(self.path, stream=self.stream, counted=self.counted_ticks, reorder=self.reorder)


def probe(path: str | Path) -> VideoInfo:
    """Read the header, the index or the packets (see `vidnas.data.survey`), and decode the first frame.

    Raises:
        BrokenVideo: the file cannot be used.
    """
    path = Path(path)
    try:
        return _probe(path)
    except OSError as error:  # of what is read beside the container
        raise BrokenVideo(path, f"cannot be read ({error.strerror or error})") from error


def _probe(path: Path) -> VideoInfo:
    empty: set[int] = set()
    while True:
        with open_container(path) as container:
            stream = find_film(container, path, empty)
            survey = survey_index(container, stream, path)
            if survey is not None:
                return _info(Video(path, container, stream), survey)
            survey = survey_packets(container, stream, path)
            place, others = stream.index, len(container.streams.video) - len(empty)
        if survey.ticks or others == 1:
            break
        empty.add(place)  # announced, but not there
    with open_video(path, stream=place, reorder=survey.reorder) as video:
        return _info(video, survey)


def _info(video: Video, survey: Survey) -> VideoInfo:
    """What a video at its start holds."""
    start, first = video.first()
    rate = video.stream.average_rate or video.stream.guessed_rate
    frames = survey.frames_from(start)
    if survey.steady and survey.end is not None:
        duration_sec = max(survey.end - start, 1) * video.tick_sec
    else:
        duration_sec = frames * survey.step * video.tick_sec
        rate = 1 / (survey.step * video.tick_sec)
    if not rate or not _LEAST_FPS <= rate <= _MOST_FPS:
        rate = frames / duration_sec
    matrix = display_matrix(first)
    turned = matrix is not None and is_turned(matrix)
    return VideoInfo(
        path=video.path,
        width=first.height if turned else first.width,
        height=first.width if turned else first.height,
        fps=float(rate),
        frames=frames,
        duration_sec=duration_sec,
        rotation=round(first.rotation / 90) * 90 % 360,
        slack_sec=video.slack_ticks * video.tick_sec,
        stream=video.stream.index,
        counted_ticks=None if survey.steady else survey.step,
        seekable=survey.steady and survey.in_order and not survey.reorder,
        reorder=survey.reorder,
        notice=survey.notice,
    )


def display_matrix(frame: Any) -> np.ndarray | None:
    """The 9 fixed-point numbers (a, b, u, c, d, v, x, y, w) that map stored to shown positions, if there are any."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    return None if side_data is None else np.frombuffer(bytes(side_data), np.int32)


def is_turned(matrix: np.ndarray) -> bool:
    """Whether width and height change places."""
    a, b, _, c, d = (abs(int(value)) for value in matrix[:5])
    return a + d < b + c
