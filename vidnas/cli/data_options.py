"""The options that say where the videos are, of every verb that trains."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vidnas.cli.config_parser import ConfigParser


def add_data_options(parser: "ConfigParser", *, test: str, test_values: str) -> None:
    """Add `--data`, `--test`, `--group-regex` and `--follow-links`.

    Args:
        parser: of the verb.
        test: help of `--test`.
        test_values: what `--test` takes, as FOLDER|CSV.
    """
    optional = str | None
    parser.add_argument(
        "--data",
        type=optional,
        default=None,
        metavar="FOLDER|CSV",
        help="your videos, in folders or a list (docs/data.md)",
    )
    parser.add_argument("--test", type=optional, default=None, metavar=test_values, help=test)
    parser.add_argument(
        "--group_regex",
        type=optional,
        default=None,
        metavar="REGEX",
        help="its first match group on a path is the video's group, which is never split",
    )
    parser.add_argument("--follow_links", action="store_true", help="also follow links out of the folder of --data")
