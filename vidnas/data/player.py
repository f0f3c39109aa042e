"""The frame on the screen at one time after another, with as little decoding as the file allows."""

from typing import Any, Protocol

from vidnas.data.container import BrokenVideo
from vidnas.data.stream import LostFrame, Video


class Player(Protocol):
    """Plays a video by ticks that do not go back.

    Attributes:
        start: tick of the first frame.
        first: the first frame, if it had to be decoded.
    """

    start: int
    first: Any

    def at(self, tick: float) -> tuple[int, Any]:
        """The frame on the screen and its own tick; before the start it is the first one.

        Raises:
            LostFrame: this way of playing does not suit the file.
            BrokenVideo: decoding failed.
        """
        ...


class Frames:
    """Plays any video: frames come out one after another, and what no wanted frame leans on may be left out.

    Args:
        video: at its start.
        jump: leave frames out; otherwise all are decoded from the start.
    """

    def __init__(self, video: Video, *, jump: bool) -> None:
        self.video = video
        self.jump = jump
        self.start, self.first = self._tick, self._frame = video.first()
        self._ahead: tuple[int, Any] | None = None

    def at(self, tick: float) -> tuple[int, Any]:
        """See `Player`."""
        shown = None
        if self.jump and tick > self._tick and (self._ahead is None or self._ahead[0] <= tick):
            shown = self.video.aim(tick, self._tick if self._ahead is None else self._ahead[0])
        while self._tick != shown:
            self._ahead = self._ahead or self.video.next()
            if self._ahead is None or self._ahead[0] > tick:
                if shown is not None:
                    raise LostFrame
                break
            (self._tick, self._frame), self._ahead = self._ahead, None
        return self._tick, self._frame


class Pictures:
    """Plays a video whose every packet is a picture that stands alone: only those on the screen are decoded.

    Args:
        video: at its start, with `stands_alone`.

    Raises:
        LostFrame: the packets have no times to go by.
    """

    def __init__(self, video: Video) -> None:
        self.video = video
        self.first = None
        self._packet = self._next(None)
        if self._packet is None:
            raise BrokenVideo(video.path, "no frame can be decoded")
        self.start = int(self._packet.pts)
        self._ahead: Any = None
        self._shown: tuple[int, Any] | None = None

    def at(self, tick: float) -> tuple[int, Any]:
        """See `Player`."""
        if self.video.seeks and tick - self._packet.pts > 2 * self.video.frame_ticks:
            self.video.seek(tick)
            self._packet, self._ahead = self._next(None), None
            if self._packet is None or self._packet.pts > tick:
                raise LostFrame
        while True:
            if self._ahead is None:
                self._ahead = self._next(self._packet)
            if self._ahead is None or self._ahead.pts > tick:
                break
            self._packet, self._ahead = self._ahead, None
        position = int(self._packet.pts)
        if self._shown is None or self._shown[0] != position:
            self._shown = position, self.video.picture(self._packet)
        return self._shown

    def _next(self, before: Any) -> Any:
        """The next packet; None after the last."""
        packet = self.video.packet()
        if packet is None:
            return None
        if packet.pts is None or packet.is_discard or (before is not None and packet.pts <= before.pts):
            raise LostFrame
        return packet
