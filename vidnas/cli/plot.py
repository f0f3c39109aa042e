"""`vidnas plot`: draws a network."""

from pathlib import Path

from vidnas.arch.registry import resolve
from vidnas.base.errors import VidnasError
from vidnas.cli.parsing import make_parser
from vidnas.report.draw import draw
from vidnas.report.picture import to_png, to_svg, write


def run(argv: list[str]) -> int:
    """Write the picture."""
    parser = make_parser(
        "plot", "Draw a network: width (of two streams: height) = expansion, colour = kernel, number = channels."
    )
    parser.add_argument("network", metavar="NAME|FILE", help="a name of `vidnas list`, or a spec file (YAML, JSON)")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="picture to write: .svg or .png")
    options = parser.parse_args(argv)
    path = Path(options.output)
    if path.suffix not in (".svg", ".png"):
        raise VidnasError(f"{path}: the picture's name must end in .svg or .png")
    picture = draw(resolve(options.network))
    write(path, to_png(picture) if path.suffix == ".png" else to_svg(picture))
    print(f"wrote {path}")
    return 0
