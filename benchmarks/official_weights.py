"""Load official X3D weight files, say what was loaded, and compare the logits with pytorchvideo's own module.

    python benchmarks/official_weights.py X3D_S.pyth x3d_l.pyth ...      (make official-weights FILES="...")

Which network a file is for is read from its name (X3D_S, x3d_m, ...), else the first that fits is taken; XS, S and M
share their tensors. The input is a fixed pattern at the training clip, so the printed logits are the same everywhere
up to rounding. Without files nothing is run.
"""

import argparse
import re
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from vidnas.arch.registry import get_spec
from vidnas.arch.spec import ArchSpec, ClipSpec
from vidnas.base.errors import VidnasError
from vidnas.nn.build import VideoNetwork
from vidnas.nn.official_keys import PYTORCHVIDEO, to_theirs
from vidnas.nn.weights import LoadReport, build_with_weights

NAMES = ("x3d_s", "x3d_xs", "x3d_m", "x3d_l")
# fp32 rounding in two memory layouts; the tests see 5e-7.
TOLERANCE = 1e-5


def fixed_clip(clip: ClipSpec) -> Tensor:
    """Waves that drift over time, about as large as normalised pixels: (1, 3, T, S, S)."""
    t, y, x = torch.meshgrid(
        torch.arange(float(clip.frames)),
        torch.linspace(0, 6, clip.size),
        torch.linspace(0, 6, clip.size),
        indexing="ij",
    )
    return torch.stack([(x * (c + 1) + 2 * y + t / 2).sin() + (y * x / 3 - c).cos() for c in range(3)])[None]


def load(file: Path) -> tuple[VideoNetwork, LoadReport]:
    """The network that a file is for, filled."""
    match = re.search(r"x3d[_-](xs|s|m|l)(?![a-z])", file.stem.lower())
    names = (f"x3d_{match[1]}",) if match else NAMES
    for name in names:
        spec = get_spec(name)
        spec = spec.model_copy(update={"head": spec.head.model_copy(update={"ensemble": "logit_mean"})})
        try:
            return build_with_weights(spec, file)
        except VidnasError:
            if name == names[-1]:
                raise
    raise AssertionError("unreachable")


def theirs_for(spec: ArchSpec, state: dict[str, Tensor]) -> nn.Module:
    """pytorchvideo's module with the same weights; for SlowFast's files with the norm that it lacks."""
    from pytorchvideo.models.x3d import create_x3d

    network = create_x3d(
        input_clip_length=spec.clip.frames,
        input_crop_size=spec.clip.size,
        depth_factor=5.0 if spec.name == "x3d_l" else 2.2,
        model_num_class=spec.head.num_classes,
        head_activation=None,
    )
    [stream] = spec.streams
    if stream.projection_norm == "always":
        network.blocks[1].res_blocks[0].branch1_norm = nn.BatchNorm3d(stream.groups[0].channels)
    network.load_state_dict(to_theirs(state, PYTORCHVIDEO))
    return network.eval()


def check(file: Path) -> bool:
    """Print the report and the comparison; whether the logits agree."""
    network, report = load(file)
    print(report.table())
    x = fixed_clip(network.spec.clip)
    with torch.no_grad():
        got = network.eval()(x.contiguous(memory_format=torch.channels_last_3d))
        expected = theirs_for(network.spec, network.state_dict())(x)
    gap = ((got - expected).abs().max() / expected.abs().max()).item()
    best = got[0].topk(min(5, got.shape[1]))
    print(f"  {network.spec.name} @ {network.spec.clip}, fixed input")
    print("  top 5     " + ", ".join(f"class {i} {v:.4f}" for v, i in zip(best.values, best.indices, strict=True)))
    print(f"  gap       {gap:.1e} of the largest logit: {'equal' if gap < TOLERANCE else 'DIFFERENT'}")
    return gap < TOLERANCE


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Check official X3D weight files against pytorchvideo.")
    parser.add_argument("files", nargs="*", type=Path)
    files: list[Path] = parser.parse_args(arguments).files
    if not files:
        print('official weights: not run here (no files; make official-weights FILES="X3D_S.pyth ...")')
        return 0
    all_equal = True
    for file in files:
        try:
            all_equal &= check(file)
        except VidnasError as error:
            print(f"error: {error}", file=sys.stderr)
            all_equal = False
    return 0 if all_equal else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
