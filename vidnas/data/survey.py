"""What the packets of a file tell before anything is decoded: how long the film is, and whether its times hold.

A header may promise more than there is (a sound that goes on, a download cut short), less (an elementary stream), or
something else (a segment out of the middle of a film). So the length is taken from the packets. An MP4 or MOV without
B-frames whose index lists every frame is believed after a look at the index alone. Every other file is read through
once without decoding, which costs what reading the file costs: about a millisecond per megabyte that is in memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import av

from vidnas.data.joined import has_second_film, may_lack_tracks, unread_share

# Elementary streams: times in them are made up by the demuxer.
_TIMELESS = {"h264", "hevc", "vvc", "mpegvideo", "m4v", "mjpeg", "obu", "cavsvideo", "dirac"}
# Containers that write when a packet is to be decoded; elsewhere the demuxer guesses it.
_DECODE_TIMES = {"mov", "mpegts", "mpeg", "flv"}
# Containers that write a time for every packet.
_ALL_TIMES = {"mov", "matroska", "flv", "asf"}
# Containers whose header says how long the whole is (in others FFmpeg estimates it from the size).
_LENGTH_IN_HEADER = {"mov", "matroska", "asf", "flv"}
# A longer time without a frame is a jump of the clock: streams are broadcast and recorded without pauses, other files
# may show one picture for minutes.
_LONGEST_HOLD_SEC = {"mpegts": 10.0, "mpeg": 10.0, "flv": 10.0}
_LONGEST_HOLD_ELSEWHERE_SEC = 3600.0
# Nor is a hold of a video with few frames a jump.
_LONGEST_HOLD_STEPS = 100
# No codec shows a frame before one that it decodes so many places earlier.
_REORDER = 17
# Where packets have the times of decoding alone, these are off the order of frames by no more places.
_UNORDERED = 4
_UNKNOWN_FPS = 25
# Packets among which the time from frame to frame is looked for.
_WINDOW = 64
# Where more frames share a tick, ticks tell nothing.
_MOST_REPEATED = 0.1
# Containers that hold little but packets, so that what follows the last one was not read: FFmpeg stops at the header
# of a second recording in them. With them, the bytes that an index may take, or a block of which packets are parts.
_PACKETS_TO_THE_END = {"flv": 1 << 10, "rm": 1 << 10, "ivf": 1 << 10, "asf": 1 << 16, "matroska": 1 << 16}
_MOST_UNREAD = 0.25
# A file that holds less of what its header declares has been cut short.
_COMPLETE = 0.9


@dataclass(frozen=True)
class Survey:
    """What the packets of a video stream tell.

    Attributes:
        ticks: when each frame that is shown starts, in the order of decoding; None where a packet does not say.
        first_key: place among them of the first key frame, 0 where none is marked.
        end: tick at which the last frame ends; None where no packet has a time.
        step: ticks from frame to frame.
        steady: whether times go forward, without a jump; otherwise frames can only be counted.
        in_order: whether packets lie in the order of their times, so that a place can be sought.
        reorder: how many places the times of packets may be off the order of frames.
        notice: what the user should know, in words; None where all is well.
    """

    ticks: Sequence[int | None]
    first_key: int
    end: int | None
    step: int
    steady: bool
    in_order: bool
    reorder: int
    notice: str | None

    def frames_from(self, tick: int) -> int:
        """Number of frames, the first of them at a tick; those before it cannot be decoded."""
        if not self.steady:
            return len(self.ticks) - self.first_key
        return sum(start is None or start >= tick for start in self.ticks)


@dataclass(frozen=True)
class _Place:
    """A packet of the film; one without data repeats the picture before it."""

    pts: int | None
    dts: int | None
    duration: int
    key: bool
    hidden: bool
    empty: bool


def survey_index(container: Any, stream: Any, path: Path) -> Survey | None:
    """The survey of a file whose index lists every frame, in steady order, all of it inside the file.

    Args:
        container: just opened.
        stream: its film.
        path: the file.

    Returns:
        None where the index does not tell; then the packets must. It has times of decoding alone, which B-frames are
        not shown at.
    """
    if "mov" not in container.format.name or not stream.frames or not stream.duration:
        return None
    size = path.stat().st_size
    entries = list(stream.index_entries)
    if stream.codec_context.has_b_frames or len(entries) != stream.frames:
        return None
    if any(entry.is_discard or entry.pos + entry.size > size for entry in entries):
        return None
    starts = [entry.timestamp for entry in entries]
    steps = [after - before for before, after in pairwise(starts)]
    step = round(median(steps)) if steps else stream.duration
    span = starts[-1] - starts[0] + step
    if step < 1 or min(steps, default=step) < 1 or abs(stream.duration - span) > 1.5 * step:
        return None
    if max(steps, default=step) > _longest_hold(container, stream, step):
        return None
    start = stream.start_time or 0
    ticks = [entry - starts[0] + start for entry in starts]
    return Survey(ticks, 0, start + stream.duration, step, True, True, 0, _second_film(path))


def survey_packets(container: Any, stream: Any, path: Path) -> Survey:
    """Read all packets of a container just opened, of every stream.

    Args:
        container: at its start.
        stream: its film.
        path: the file.
    """
    places: list[_Place] = []
    latest_sec = 0.0
    read_bytes = last_position = 0
    for packet in _packets(container):
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None:
            latest_sec = max(latest_sec, float((time + (packet.duration or 0)) * packet.time_base))
        last_position = max(last_position, packet.pos or 0)
        read_bytes = max(read_bytes, (packet.pos or 0) + packet.size)
        if packet.stream.index == stream.index and not (time is None and not packet.size):
            facts = packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe, packet.is_discard
            places.append(_Place(*facts, empty=not packet.size))
    shown = [place for place in places if not place.hidden and not place.empty]
    step = _step(shown, stream)
    ticks = [place.pts for place in shown]
    ends = [place.pts + (place.duration or step) for place in places if place.pts is not None and not place.hidden]
    formats = set(container.format.name.split(","))
    reorder = _unordered(shown, stream, formats)
    # Of several small pictures in a packet of a program stream only one has a time of its own.
    guessed = len(ticks) - len(set(ticks)) > (0 if "mpeg" in formats else _MOST_REPEATED * len(ticks))
    known = bool(ends) and not guessed and not formats & _TIMELESS and not (formats & _ALL_TIMES and None in ticks)
    steady = _is_steady(shown, step, container, stream, reorder)
    size = path.stat().st_size
    unread = unread_share(path, formats, last_position) or _unread(formats, read_bytes, size)
    if unread:
        notice: str | None = f"the last {unread:.0%} of the file cannot be read, as where files were joined"
    elif steady:
        lacking = _shortfall(container, stream, formats, len(places), ends, latest_sec)
        notice = lacking or (_second_film(path) if "mov" in formats else None)
    else:
        notice = (
            "its times start over or jump: its frames are counted instead, and every clip is read from the start "
            "(`vidnas data cache` makes a copy with good times)"
        )
        if may_lack_tracks(path, formats):
            notice += "; files were joined in it, and not all of what follows the first may be read"
    dts = [place.dts for place in places if place.dts is not None]
    return Survey(
        ticks=ticks,
        first_key=next((i for i, place in enumerate(shown) if place.key), 0),
        end=_backed_end(stream, places, formats) or max(ends, default=None),
        step=step,
        steady=steady and known,
        in_order=not formats & _DECODE_TIMES or all(after >= before for before, after in pairwise(dts)),
        reorder=reorder,
        notice=notice,
    )


def _unordered(places: Sequence[_Place], stream: Any, formats: set[str]) -> int:
    """How far the times of packets may be off the order of frames.

    AVI stores no times, and some writers give B-frames the times of their decoding: they go forward in the order of
    decoding, which cannot be.
    """
    pts = [place.pts for place in places if place.pts is not None]
    forward = all(after > before for before, after in pairwise(pts))
    return _UNORDERED if "avi" in formats or (stream.codec_context.has_b_frames and forward) else 0


def _backed_end(stream: Any, places: Sequence[_Place], formats: set[str]) -> int | None:
    """The end that the header of an MP4 or MOV tells, where its packets bear it out; None elsewhere.

    There a packet's duration is the time to the next one to be decoded, not the time that its frame is shown.
    """
    if "mov" not in formats or not stream.duration or len(places) != stream.frames:
        return None
    if any(place.hidden or place.pts is None or place.dts is None for place in places):
        return None
    end = (stream.start_time or 0) + stream.duration
    decoded = places[-1].dts + places[-1].duration - places[0].dts  # type: ignore[operator]
    latest = max(place.pts for place in places if place.pts is not None)
    return int(end) if latest < end and stream.duration <= decoded else None


def _packets(container: Any) -> Iterator[Any]:
    """All packets, up to where the file can be read."""
    packets = container.demux()
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, IndexError):
            # After the last packet PyAV stumbles over streams that appeared on the way (FLV, transport streams).
            return
        if packet is None:
            return
        yield packet


def _step(places: Sequence[_Place], stream: Any) -> int:
    """Ticks from frame to frame."""
    times = [place.dts if place.pts is None else place.pts for place in places]
    steps: list[int] = []
    for first in range(0, len(times), _WINDOW):
        # In the order of the screen; where parts were joined only one window mixes them.
        near = sorted({time for time in times[first : first + _WINDOW] if time is not None})
        steps += [after - before for before, after in pairwise(near)]
    if steps:
        return round(median(steps))
    durations = [place.duration for place in places if place.duration > 0]
    if durations:
        return round(median(durations))
    rate = stream.average_rate or stream.guessed_rate or _UNKNOWN_FPS
    return max(1, round(1 / (rate * stream.time_base)))


def _longest_hold(container: Any, stream: Any, step: int) -> float:
    """Ticks without a frame beyond which the clock has jumped."""
    names = container.format.name.split(",")
    seconds = next(
        (_LONGEST_HOLD_SEC[name] for name in names if name in _LONGEST_HOLD_SEC), _LONGEST_HOLD_ELSEWHERE_SEC
    )
    return max(seconds / float(stream.time_base), _LONGEST_HOLD_STEPS * step)


def _is_steady(places: Sequence[_Place], step: int, container: Any, stream: Any, reorder: int) -> bool:
    """Whether times go forward in the way that frames coded out of order do, and never far at once."""
    longest = _longest_hold(container, stream, step)
    stored = bool(_DECODE_TIMES & set(container.format.name.split(",")))
    latest: list[int] = []  # of all ticks up to each place
    decoded: int | None = None
    for place in places:
        if stored and place.dts is not None:
            if decoded is not None and place.dts < decoded - 2 * step:
                return False
            decoded = place.dts
        if place.pts is None:
            continue
        if latest and place.pts > latest[-1] + longest:
            return False
        # Nothing that is decoded before a key frame is shown at its time or after it.
        settled = latest[-1:] if place.key and not reorder else latest[-_REORDER : 1 - _REORDER]
        if settled and place.pts <= settled[0]:
            return False
        latest.append(max(place.pts, latest[-1]) if latest else place.pts)
    return True


def _shortfall(
    container: Any, stream: Any, formats: set[str], packets: int, ends: Sequence[int], latest_sec: float
) -> str | None:
    """What is missing of the film by its own header, or of the whole file by that of the container."""
    if stream.frames and ends and formats & {"mov", "avi"}:
        share = packets / stream.frames
        if "mov" in formats and stream.duration:
            # Frames alone would accuse files whose edit list hides some, the duration alone a long last frame.
            share = max(share, (max(ends) - (stream.start_time or 0)) / stream.duration)
        if share < _COMPLETE:
            return f"ends early: {packets} of {stream.frames} frames are there"
    elif container.duration and formats & _LENGTH_IN_HEADER:
        declared_sec = container.duration / av.time_base
        if latest_sec < _COMPLETE * declared_sec:
            return f"ends early: {latest_sec:.3g} of {declared_sec:.3g} s are there"
    return None


def _unread(formats: set[str], read_bytes: int, size: int) -> float | None:
    """The share of a file that follows its last packet, where that is more than it should be."""
    for name in formats & set(_PACKETS_TO_THE_END):
        share = 1 - (read_bytes + _PACKETS_TO_THE_END[name]) / size
        if share > _MOST_UNREAD:
            return share
    return None


def _second_film(path: Path) -> str | None:
    return "only the first of its films is read, as where files were joined" if has_second_film(path) else None
