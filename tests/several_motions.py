"""A multi-label data set: videos in which objects drift sideways, grow, do both or neither."""

from itertools import product
from pathlib import Path

import numpy as np

from vidnas.data.synthetic import MOTIONS, OBJECTS, draw_scene, render, write_video

CLASSES = ("grow", "move_left", "move_right")


def write_several(root: Path, train_places: int, test_places: int, frames: int = 8, side: int = 32) -> None:
    """Write train.csv and test.csv with six videos per place: every pair of a way sideways and of growing or not."""
    (root / "videos").mkdir(parents=True)
    pairs = list(product(("move_left", "move_right", ""), ("grow", "")))
    for part, places in (("train", train_places), ("test", test_places)):
        rows = ["path,label,group"]
        for place, pair in product(range(places), pairs):
            labels = [name for name in pair if name]
            rng = np.random.default_rng((len(part), place, len(rows)))
            states = rng.random((OBJECTS, 5)) + np.arange(frames)[:, None, None] * sum(map(_step, labels), np.zeros(5))
            scene = draw_scene(states % 1.0, (side, side), np.random.default_rng((len(part), place)), rng)
            file = f"videos/{part}_{len(rows):04d}.mp4"
            write_video(root / file, render(scene), frames)
            text = ";".join(labels) if len(labels) > 1 else "".join(labels) + ";"
            rows.append(f"{file},{text},{part}_{place}")
        (root / f"{part}.csv").write_text("\n".join(rows) + "\n")


def _step(name: str) -> np.ndarray:
    motion = MOTIONS[name]
    return np.asarray(motion.directions[0]) * 2 * sum(motion.speeds)
