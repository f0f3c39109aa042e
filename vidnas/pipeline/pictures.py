"""Pictures into a run folder."""

from pathlib import Path

from vidnas.base.files import replace_file
from vidnas.report.picture import Picture, to_png, to_svg


def write_picture(stem: Path, picture: Picture) -> None:
    """Write stem.svg and stem.png."""
    replace_file(stem.with_suffix(".svg"), to_svg(picture))
    replace_file(stem.with_suffix(".png"), to_png(picture))
