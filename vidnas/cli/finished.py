"""What the verbs on a finished search share: its folder, where its data are now, and where to compute."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vidnas.cli.parsing import Parser, make_parser, positive

if TYPE_CHECKING:
    from vidnas.pipeline.finished_search import FinishedSearch

METRICS = ("macs", "params", "activations", "ms")


def finished_parser(verb: str, description: str) -> Parser:
    """The parser of a verb on a run folder."""
    parser = make_parser(verb, description)
    parser.add_argument("run", metavar="RUN", type=Path, help="the --out of `vidnas search` or `vidnas run`")
    parser.add_argument("--data", metavar="FOLDER|CSV", type=Path, help="where the data set is now, if it was moved")
    parser.add_argument(
        "--test", metavar="FOLDER|CSV", type=Path, help="where the test list is now, if it was given apart and moved"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=positive, help="CPU threads; default as in the search")
    return parser


@contextmanager
def finished_search(options: argparse.Namespace) -> "Iterator[FinishedSearch]":
    """The search that the options name; its run folder is kept from other commands that write there."""
    from vidnas.engine.run.folder import RunFolder
    from vidnas.pipeline.finished_search import open_search
    from vidnas.pipeline.job import load_job

    load_job(options.run)  # before anything is put into a folder that is no run
    with RunFolder(options.run).lock():
        yield open_search(
            options.run, data_path=options.data, test_path=options.test, device=options.device, threads=options.threads
        )
