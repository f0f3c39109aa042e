"""One pass through the film in a file: packets in, frames with monotone ticks out, jumps between.

A tick is the stream's own unit of time.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import av

from vidnas.data.container import BrokenVideo, find_film, open_container

# Farther than this the file is sought; nearer, packets are read on and decoded from the last key frame among them.
_SEEK_BEYOND_SEC = 10.0
# Containers that give right times after a seek (MPEG program streams do not).
_SEEKABLE = {"mov", "matroska", "mpegts", "flv", "asf"}
# A container without an index of key frames lands anywhere: try farther back until a key frame is met.
_SEEK_BACK_SEC = (0.0, 1.0, 4.0, 16.0, 64.0)
# Codecs of which a packet is one picture with its own time, so that packets tell what is on the screen at a time.
_PICTURE_PER_PACKET = {"h264", "hevc"}
# Of those, the ones whose pictures that no other leans on can be left out without a trace (HEVC marks them only
# within their temporal layer).
_SKIPS = {"h264"}
# Codecs of which every packet is a picture that stands alone.
_STAND_ALONE = {"mjpeg"}
# Codecs whose decoders tell which of their frames lean on no other, so that decoding can start in the middle.
_STARTS_ANYWHERE = {
    *("h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "h263", "vp8", "vp9", "av1", "libdav1d", "flv", "vc1"),
    *("wmv1", "wmv2", "wmv3", "msmpeg4", "msmpeg4v2", "mjpeg", "prores", "ffv1", "dnxhd", "dvvideo", "qtrle"),
    *("rv10", "rv20", "rv30", "rv40"),
}


class LostFrame(Exception):
    """A jump landed behind the frame that was wanted."""


class Video:
    """The film of an open container, read once from its start or from a key frame on.

    Args:
        path: the file.
        container: just opened.
        stream: its film.
        counted: ticks from frame to frame, where frames have no times that hold and are counted.
        reorder: how many places the demuxer's times may be off the order of frames.

    Attributes:
        path: the file.
        stream: PyAV's video stream.
        tick_sec: seconds per tick.
        frame_ticks: ticks from frame to frame, on average.
        seeks: whether the container gives right times after a seek.
        stands_alone: whether every packet is a picture that leans on no other.
        starts_anywhere: whether decoding can start in the middle.
        decoded: frames decoded so far.
        damage: what was lost at the end of the stream, in words; None where nothing was.
        unseen: frames so far that have the time of the frame before them.
    """

    def __init__(self, path: Path, container: Any, stream: Any, counted: int | None = None, reorder: int = 0) -> None:
        self.path = path
        self.container = container
        self.stream = stream
        self.counted = counted
        self.damage: str | None = None
        self.stream.codec_context.thread_count = 1
        self.tick_sec = float(self.stream.time_base)
        rate = self.stream.average_rate
        self.frame_ticks = 1 / (float(rate) * self.tick_sec) if rate else 1.0
        # Containers round start times to their tick, so a time computed from the rate may fall just short of one.
        self.slack_ticks = min(1.0, self.frame_ticks / 4)
        self.seeks = bool(_SEEKABLE & set(container.format.name.split(",")))
        self.reorder = reorder
        self.decoded = self.unseen = 0
        self._codec = self.stream.codec_context.name
        self.starts_anywhere = self._codec in _STARTS_ANYWHERE
        self.stands_alone = self._codec in _STAND_ALONE
        self._demuxed = container.demux(self.stream)
        self._queue: deque[Any] = deque()  # packets read ahead, not decoded yet
        self._inside: list[int] = []  # ticks of packets that went into the decoder and did not come out yet
        self._latest_key: int | None = None
        self._floor: int | None = None  # frames before this tick lean on packets that were skipped
        self._landed = False  # whether the key frame of the last jump came out
        self._wanted: tuple[float, int] | None = None  # what `aim` is after: up to which tick, and the frame's own
        self._skipping = False  # whether the decoder passes over pictures that no other leans on
        self._stamped = self._stamp(self._frames())

    def first(self) -> tuple[int, Any]:
        """The first frame and its tick."""
        first = self.next()
        if first is None:
            raise BrokenVideo(self.path, "no frame can be decoded")
        return first

    def next(self) -> tuple[int, Any] | None:
        """The next frame and its tick; None after the last."""
        return next(self._stamped, None)

    def aim(self, tick: float, position: int) -> int | None:
        """Prepare for the frame on the screen at `tick`: `next` may leave out whatever is not needed for it.

        Args:
            tick: later than that of the frame asked for before.
            position: tick of the last frame given out, at or before `tick`.

        Returns:
            The tick of the frame on the screen; None where packets do not tell, and the frame is known by the next.

        Raises:
            LostFrame: the packets have no times to go by, or no key frame was found.
        """
        far = self.seeks and (tick - position) * self.tick_sec > _SEEK_BEYOND_SEC
        key = self._seek(tick) if far else self._read_until(tick)
        shown = self._shown(tick, position) if self._codec in _PICTURE_PER_PACKET else None
        self._wanted = None if shown is None else (tick, shown)
        if key is not None:
            for _ in range(key):
                self._queue.popleft()
            self._inside.clear()
            self._floor = self._queue[0].pts
            self._landed = False
            self.stream.codec_context.flush_buffers()
            self._stamped = self._stamp(self._frames())
        return shown

    def _shown(self, tick: float, position: int) -> int:
        """The latest tick up to `tick` of all packets whose frames did not come out yet, else `position`."""
        ticks = [p.pts for p in self._queue if p.pts is not None and p.pts <= tick and not p.is_discard]
        ticks += [start for start in self._inside if start <= tick]
        shown = max(ticks, default=position)
        if ticks.count(shown) > 1:
            raise LostFrame
        return max(shown, position)

    def _seek(self, tick: float) -> int:
        for back_sec in _SEEK_BACK_SEC:
            self.seek(tick - back_sec / self.tick_sec)
            self._latest_key = None
            key = self._read_until(tick)
            if key is not None:
                return key
        raise LostFrame

    def seek(self, tick: float) -> None:
        """Read on from about the last key frame at or before `tick`.

        Raises:
            LostFrame: the container cannot.
        """
        self._queue.clear()
        try:
            self.container.seek(int(tick), stream=self.stream)
        except av.FFmpegError as error:
            raise LostFrame from error
        self._demuxed = self.container.demux(self.stream)

    def packet(self) -> Any:
        """The next packet, not decoded; None after the last. For videos whose packets stand alone."""
        packet = self._read()
        return None if packet is None or _is_end(packet) else packet

    def picture(self, packet: Any) -> Any:
        """The frame of a packet that stands alone.

        Raises:
            LostFrame: it cannot be decoded, or is not one frame.
        """
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            raise LostFrame from error
        if len(frames) != 1:
            raise LostFrame
        self.decoded += 1
        return frames[0]

    def _read_until(self, tick: float) -> int | None:
        """Read ahead past `tick` and give the place in the queue of the last key frame up to there."""
        last = self._queue[-1] if self._queue else None
        while last is None or not (_is_end(last) or (last.dts is not None and last.dts > tick)):
            last = self._read()
            if last is None:
                break
            self._queue.append(last)
            if last.pts is None and not _is_end(last):
                raise LostFrame
            if last.is_keyframe and last.pts is not None:
                # Key frames that go back in time: packets then tell nothing about the order on the screen.
                if self._latest_key is not None and last.pts < self._latest_key:
                    raise LostFrame
                self._latest_key = last.pts
        keys = (i for i, p in enumerate(self._queue) if p.is_keyframe and p.pts is not None and p.pts <= tick)
        return max(keys, default=None)

    def _read(self) -> Any:
        try:
            return next(self._demuxed, None)
        except IndexError:
            # After the last packet PyAV stumbles over streams that appeared on the way (FLV, transport streams).
            return None
        except av.FFmpegError as error:
            self._lose(f"read error after frame {self.decoded} ({error.strerror})")
            return None

    def _packets(self) -> Iterator[Any]:
        while (packet := self._queue.popleft() if self._queue else self._read()) is not None:
            yield packet

    def _frames(self) -> Iterator[Any]:
        started = flushed = False
        for packet in self._packets():
            if not packet.size and not _is_end(packet):
                continue  # repeats the picture before it, which a decoder would take for the end
            self._leave_out(packet)
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                # Before the first key frame nothing can be decoded, and the last packet of a file that was cut short
                # may be a part of one.
                if started:
                    self._lose(f"decode error after frame {self.decoded} ({error.strerror})")
                continue
            flushed = _is_end(packet)
            started = started or packet.is_keyframe
            if frames and self.damage is not None and not flushed:
                raise BrokenVideo(self.path, self.damage)
            yield from self._given(frames)
        if not flushed:
            yield from self._given(self.stream.codec_context.decode(None))

    def _given(self, frames: Iterable[Any]) -> Iterator[Any]:
        """Those of the decoder's frames that count."""
        for frame in frames:
            self.decoded += 1
            if frame.pts in self._inside:
                self._inside.remove(frame.pts)
            if self._floor is None or self._landed_on(frame, self._floor):
                yield frame

    def _lose(self, what: str) -> None:
        """Take down what cannot be read; the first time counts."""
        self.damage = self.damage or what

    def _leave_out(self, packet: Any) -> None:
        """Tell the decoder whether to pass over this packet if no other leans on it."""
        tick = packet.pts
        needless = False
        if self._wanted is not None and tick is not None and self._codec in _SKIPS:
            until, shown = self._wanted
            needless = tick <= until and tick != shown
        if needless != self._skipping:
            self.stream.codec_context.skip_frame = "NONREF" if needless else "DEFAULT"
            self._skipping = needless
        if tick is not None and not needless and not packet.is_discard:
            self._inside.append(tick)

    def _landed_on(self, frame: Any, floor: int) -> bool:
        """Whether a frame after a jump counts; the first one must be the key frame itself.

        Streams with periodic intra refresh mark places to start at that are no whole pictures, and leave the
        first frames out. Some files mark pictures that lean on others; the decoder knows which do.
        """
        if frame.pts < floor:
            return False
        if frame.is_corrupt or not (self._landed or (frame.pts == floor and frame.key_frame)):
            raise LostFrame
        self._landed = True
        return True

    def _stamp(self, frames: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """Give each frame its tick. The decoder's order is the order on the screen, so ticks never go back."""
        if self.counted is not None:
            yield from ((place * self.counted, frame) for place, frame in enumerate(frames))
            return
        waiting: deque[Any] = deque()
        ticks: list[int] = []
        latest: int | None = None
        shown: int | None = None
        for frame in chain(frames, repeat(None, self.reorder)):
            if frame is not None:
                latest = _tick(frame, latest, self.frame_ticks)
                heapq.heappush(ticks, latest)
                waiting.append(frame)
            if waiting and (frame is None or len(waiting) > self.reorder):
                tick = heapq.heappop(ticks)
                self.unseen += shown is not None and tick <= shown
                shown = tick if shown is None else max(shown, tick)
                yield shown, waiting.popleft()


@contextmanager
def open_video(
    path: str | Path, *, stream: int | None = None, counted: int | None = None, reorder: int = 0
) -> Iterator[Video]:
    """A pass through a file, open for as long as the `with` block.

    Args:
        path: the file.
        stream: index of its film, as `probe` found it; None looks for it.
        counted: see `Video`.
        reorder: see `Video`.

    Raises:
        BrokenVideo: as `open_container`, or without a film.
    """
    with open_container(path) as container:
        film = find_film(container, Path(path)) if stream is None else container.streams[stream]
        yield Video(Path(path), container, film, counted, reorder)


def _is_end(packet: Any) -> bool:
    """Whether this is the empty packet that makes the decoder give its last frames."""
    return packet.size == 0 and packet.pts is None and packet.dts is None


def _tick(frame: Any, latest: int | None, frame_ticks: float) -> int:
    if frame.pts is not None:
        return int(frame.pts)
    return 0 if latest is None else latest + round(frame_ticks)
