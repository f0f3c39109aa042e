"""`vidnas export CKPT --format torch|onnx|openvino`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidnas.cli.checkpoint import CHECKPOINT, load_checkpoint, trained_in
from vidnas.cli.parsing import make_parser

_FORMATS = ("torch", "onnx", "openvino")


def run(argv: Sequence[str]) -> int:
    """Write a trained network for another runtime and print how to use it."""
    parser = make_parser("export", "Write a trained network for another runtime, checked against the original.")
    parser.add_argument("ckpt", metavar="CKPT", type=Path, help=CHECKPOINT)
    parser.add_argument(
        "--format",
        required=True,
        choices=_FORMATS,
        help="what to write; load .pt2 files (torch) only from those you trust, they can hold code",
    )
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, help="file to write; default: beside the model")
    parser.add_argument("--clip", metavar="FRAMESxSIZE", help="other frames and crop than in training, as 13x182")
    parser.add_argument(
        "--views",
        metavar="CLIPSxCROPS",
        default="10x1",
        help="clips x crops (1 or 3) per video that it will be given, as in predict; three crops are larger than one "
        "(default 10x1)",
    )
    parser.add_argument("--dynamic-batch", action="store_true", help="any number of clips at once, instead of one")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    args = parser.parse_args(argv)

    from vidnas.data.augment import Views
    from vidnas.deploy.export import export
    from vidnas.deploy.formats import FORMATS

    ckpt = trained_in(args.ckpt)
    network, info = load_checkpoint(ckpt)
    result = export(
        network,
        info,
        args.format,
        args.out or _beside(ckpt, FORMATS[args.format].suffix),
        clip=info.clip.resized(args.clip) if args.clip else None,
        views=Views.parse(args.views),
        dynamic_batch=args.dynamic_batch,
        overwrite=args.force,
    )
    given, gives = result.metadata["input"], result.metadata["output"]
    print(f"{result.path}: {result.size_mib:.1f} MiB, {info.spec.name}")
    print(f"input: {given['name']} {_shape(given)}, made from a video as {result.metadata_path} says")
    print(f"output: {gives['name']} {_shape(gives)}")
    print(f"greatest difference from the original: {result.max_difference:.1e} of max|{gives['name']}|")
    print(f"use: {result.usage}")
    return 0


def _beside(ckpt: Path, suffix: str) -> Path:
    if ckpt.is_dir():
        return ckpt / f"model{suffix}"
    stem = ckpt.with_suffix("") if ckpt.suffix in (".safetensors", ".json") else ckpt
    return stem.with_name(stem.name + suffix)


def _shape(tensor: dict[str, Any]) -> str:
    return f"{tensor['dtype']} ({', '.join(map(str, tensor['shape']))})"
