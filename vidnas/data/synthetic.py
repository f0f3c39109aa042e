"""A procedural video data set whose classes are motions that no single frame shows, written as real H.264 files.

A clip shows a few two-tone objects over a random texture. The state of an object is a point on a torus: five
phases in [0, 1) that give its position (x, y), angle, size and kind (disc, ring, bar). A class is a law of drift:
in every frame the phases move on by a fixed step, modulo 1. The first state is drawn uniformly, and a uniform
distribution on a torus is invariant under any shift; so in every frame of every class the state is uniform, and
everything else (textures, colours, camera shake, brightness, sensor noise) is drawn without looking at the class.
Hence the distribution of a single frame is the same for all classes, exactly, and no classifier of single frames
can beat chance. The codec does not spoil this: by default each frame is coded on its own with a constant quantiser.

Reversing time negates the drift, so a reversed clip of one class is distributed as a clip of its `opposite`
(`move_left` and `move_right`; `slow` and `fast` are their own). A model that sees a clip's frames without their
order can therefore tell families from each other at best (objects that change their kind from ones that do not),
never the two classes of a pair.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from vidnas.base.errors import VidnasError

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

OBJECTS = 3
KINDS = 3
# Radius of an object as a part of the frame's short side, at size phase 0 and 1.
RADII = (0.12, 0.3)
# Camera shake, as a part of the short side.
SHAKE = 0.03


@dataclass(frozen=True)
class Motion:
    """One class: the drift of an object's phases (x, y, angle, size, kind).

    Attributes:
        directions: drift vectors, one of which is drawn per clip with equal chances.
        speeds: range of the factor on the drift, in cycles per frame, drawn uniformly per clip. A cycle is the
            frame's width or height, a full turn, from smallest to largest, or once through the kinds.
        opposite: the class that a reversed clip belongs to.
    """

    directions: tuple[tuple[float, ...], ...]
    speeds: tuple[float, float]
    opposite: str


_DIAGONAL = tuple((x, y, 0.0, 0.0, 0.0) for x in (-0.7, 0.7) for y in (-0.7, 0.7))

# y points down and angles run from x to y, so a growing angle turns clockwise. Every third frame still tells the
# classes apart: three steps stay under half a cycle of the object's shape, and a kind lasts for at least 4 frames.
MOTIONS = {
    "move_left": Motion(((-1, 0, 0, 0, 0),), (0.015, 0.03), "move_right"),
    "move_right": Motion(((1, 0, 0, 0, 0),), (0.015, 0.03), "move_left"),
    "move_up": Motion(((0, -1, 0, 0, 0),), (0.015, 0.03), "move_down"),
    "move_down": Motion(((0, 1, 0, 0, 0),), (0.015, 0.03), "move_up"),
    "turn_clockwise": Motion(((0, 0, 1, 0, 0),), (0.015, 0.03), "turn_counter"),
    "turn_counter": Motion(((0, 0, -1, 0, 0),), (0.015, 0.03), "turn_clockwise"),
    "grow": Motion(((0, 0, 0, 1, 0),), (0.02, 0.035), "shrink"),
    "shrink": Motion(((0, 0, 0, -1, 0),), (0.02, 0.035), "grow"),
    "disc_ring_bar": Motion(((0, 0, 0, 0, 1),), (0.05, 0.08), "bar_ring_disc"),
    "bar_ring_disc": Motion(((0, 0, 0, 0, -1),), (0.05, 0.08), "disc_ring_bar"),
    "slow": Motion(_DIAGONAL, (0.008, 0.012), "slow"),
    "fast": Motion(_DIAGONAL, (0.03, 0.045), "fast"),
}
CLASSES = tuple(MOTIONS)


@dataclass(frozen=True)
class Scene:
    """Everything that a clip of T frames of H x W pixels shows.

    Attributes:
        background: (H + 2m, W + 2m, 3) in [0, 1], with a margin m for the camera shake.
        tones: (objects, 2, 3), the two colours of each object.
        states: (T, objects, 5), phases in [0, 1): x, y, angle, size, kind.
        shake: (T, 2), whole pixels down and right, at most m.
        gain: (T,), brightness factor.
        noise: (T, H, W, 1), added to all channels.
    """

    background: Floats
    tones: Floats
    states: NDArray[np.float64]
    shake: NDArray[np.int64]
    gain: Floats
    noise: Floats

    def reversed(self) -> "Scene":
        """The same scene with time running backwards."""
        return replace(
            self, states=self.states[::-1], shake=self.shake[::-1], gain=self.gain[::-1], noise=self.noise[::-1]
        )


def drift(motion: Motion, frames: int, rng: np.random.Generator, objects: int = OBJECTS) -> NDArray[np.float64]:
    """States (frames, objects, 5) of a class: uniform on the torus at the start, then the class's drift.

    All objects of a clip share the drift; their first states are independent.
    """
    start = rng.random((objects, 5))
    direction = np.asarray(motion.directions[rng.integers(len(motion.directions))])
    step = direction * rng.uniform(*motion.speeds)
    return (start + np.arange(frames)[:, None, None] * step) % 1.0


def texture(size: tuple[int, int], rng: np.random.Generator) -> Floats:
    """A random smooth background (H, W, 3) between .2 and .8: a coarse and a fine octave of value noise."""
    image = np.zeros((*size, 3), np.float32)
    for cells, weight in ((3, 0.6), (9, 0.4)):
        grid = rng.random((cells + 1, cells + 1, 3), np.float32)
        for axis in (0, 1):
            at = np.linspace(0, cells, size[axis], endpoint=False, dtype=np.float32)
            low = at.astype(int)
            part = np.expand_dims(at - low, tuple(i for i in range(3) if i != axis))
            grid = np.take(grid, low, axis) * (1 - part) + np.take(grid, low + 1, axis) * part
        image += weight * grid
    return 0.2 + 0.6 * image


def draw_scene(
    states: NDArray[np.float64],
    size: tuple[int, int],
    place: np.random.Generator,
    rng: np.random.Generator,
) -> Scene:
    """Dress states up: a background from `place`, everything else from `rng`, nothing that depends on the class."""
    frames, objects, _ = states.shape
    margin = round(SHAKE * min(size))
    light, dark = rng.uniform(0.65, 1, (objects, 1, 3)), rng.uniform(0, 0.35, (objects, 1, 3))
    return Scene(
        background=texture((size[0] + 2 * margin, size[1] + 2 * margin), place),
        tones=np.concatenate([light, dark], axis=1).astype(np.float32),
        states=states,
        shake=rng.integers(-margin, margin + 1, (frames, 2)),
        gain=rng.uniform(0.9, 1.1, (frames,)).astype(np.float32),
        noise=rng.standard_normal((frames, *size, 1), np.float32) * np.float32(0.012),
    )


def render(scene: Scene) -> Pixels:
    """Frames (T, H, W, 3) uint8 of a scene; a frame depends on its own state, shake, gain and noise only."""
    _, height, width, _ = scene.noise.shape
    short = min(height, width)
    down, right = scene.shake[:, :1], scene.shake[:, 1:]
    margin = (scene.background.shape[0] - height) // 2
    rows, columns = np.arange(height), np.arange(width)
    canvas = scene.background[(margin + down + rows)[:, :, None], (margin + right + columns)[:, None, :]]
    for tones, states in zip(scene.tones, scene.states.transpose(1, 0, 2), strict=True):
        x, y, turn, growth, kind = (states[:, phase, None] for phase in range(5))
        radius = short * RADII[0] * (RADII[1] / RADII[0]) ** growth
        # An object that leaves on one side comes back on the other: distances are taken round the torus.
        dx = ((columns + 0.5 - (x * width - right) + width / 2) % width - width / 2) / radius
        dy = ((rows + 0.5 - (y * height - down) + height / 2) % height - height / 2) / radius
        cos, sin = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
        u = _outer_sum(sin * dy, cos * dx)
        v = _outer_sum(cos * dy, -sin * dx)
        edge = radius.astype(np.float32)[:, :, None]
        inside = 0.5 - _distance(u, v, (kind[:, 0] * KINDS).astype(int)) * edge
        # Most pixels lie outside: only the others are blended.
        covered = inside > 0
        alpha = np.minimum(inside[covered], 1)[:, None]
        lit = np.clip(0.5 + (u * edge)[covered], 0, 1)[:, None]
        canvas[covered] += alpha * (tones[1] + lit * (tones[0] - tones[1]) - canvas[covered])
    canvas *= scene.gain[:, None, None, None] * 255
    canvas += scene.noise * 255 + 0.5
    return np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)


def _outer_sum(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Floats:
    """(T, H) and (T, W) to (T, H, W)."""
    return rows.astype(np.float32)[:, :, None] + columns.astype(np.float32)[:, None, :]


def _distance(u: Floats, v: Floats, kinds: NDArray[np.int64]) -> Floats:
    """Signed distance (T, H, W) to the outline of each frame's kind, in radii, negative inside."""
    result = np.empty_like(u)
    for kind in range(KINDS):
        at = kinds == kind
        if kind == 2:
            result[at] = np.maximum(np.abs(u[at]) - 1, np.abs(v[at]) - 0.35)
        else:
            from_centre = np.sqrt(u[at] * u[at] + v[at] * v[at])
            result[at] = from_centre - 1 if kind == 0 else np.abs(from_centre - 0.75) - 0.25
    return result


def write_video(path: Path, frames: Pixels, fps: float, *, gop: int = 1, qp: int = 18) -> None:
    """Encode (T, H, W, 3) uint8 RGB as H.264 in mp4; equal input gives equal bytes on one machine.

    Args:
        path: file to write; its folder exists.
        frames: height and width even, as 4:2:0 sampling needs.
        fps: constant frame rate.
        gop: distance of key frames; 1 codes every frame on its own.
        qp: constant quantiser, 0 (lossless) to 51; a frame's quality then does not depend on its neighbours.

    Raises:
        VidnasError: an odd height or width.
    """
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise VidnasError(f"{path}: H.264 needs an even height and width, got {height}x{width}: change the size")
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:
        options = {"qp": str(qp), "g": str(gop), "preset": "veryfast", "threads": "1"}
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")))
        container.mux(stream.encode(None))


def write_dataset(
    root: Path,
    *,
    train_per_class: int,
    test_per_class: int,
    classes: Sequence[str] | None = None,
    size: tuple[int, int] = (64, 64),
    frames: int = 24,
    fps: float = 24.0,
    seed: int = 0,
    gop: int = 1,
) -> None:
    """Write `train.csv`, `test.csv` (path,label,group), `classes.txt` and the videos under `root`.

    A group is a place: one background, filmed once with every class. Training and test places are disjoint, and
    so are their random streams. A clip depends on (seed, list, place, class) alone, not on how many others there
    are. The lists are written last, so that an interrupted call leaves no list of missing files.

    Args:
        root: folder, made if need be.
        train_per_class: training clips of each class, and so training places.
        test_per_class: the same for the test list.
        classes: names out of `CLASSES`; all of them by default.
        size: (height, width) in pixels, both even.
        frames: frames of each clip.
        fps: frame rate of the files.
        seed: of everything that is drawn.
        gop: see `write_video`; above 1 the guarantee about single frames holds up to coding artefacts.

    Raises:
        VidnasError: unknown or repeated class, odd size.
    """
    names = tuple(classes or CLASSES)
    unknown = [name for name in names if name not in MOTIONS]
    if unknown or len(set(names)) < len(names):
        raise VidnasError(f"classes {', '.join(names)}: choose different ones out of {', '.join(CLASSES)}")
    lists: dict[str, list[tuple[str, str, str]]] = {}
    for part, (split, places) in enumerate((("train", train_per_class), ("test", test_per_class))):
        rows = lists.setdefault(split, [])
        (root / "videos" / split).mkdir(parents=True, exist_ok=True)
        for place in range(places):
            for name in names:
                rng = np.random.default_rng((seed, part, place, 1 + CLASSES.index(name)))
                background = np.random.default_rng((seed, part, place, 0))
                scene = draw_scene(drift(MOTIONS[name], frames, rng), size, background, rng)
                file = f"videos/{split}/{name}_{place:04d}.mp4"
                write_video(root / file, render(scene), fps, gop=gop)
                rows.append((file, name, f"{split}_{place:04d}"))
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    for split, rows in lists.items():
        with (root / f"{split}.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows([("path", "label", "group"), *rows])
