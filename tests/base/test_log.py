"""What the user is told: where it goes, by which process, and who may configure it."""

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from vidnas.base.log import is_first_process, log, note_once, notes_only, printed

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


@contextmanager
def plain_program() -> Iterator[None]:
    """A program without logging handlers, of which pytest has some."""
    with pytest.MonkeyPatch.context() as changes:
        changes.setattr(logging.getLogger(), "handlers", [])
        yield


def test_a_program_without_logging_prints(capsys: pytest.CaptureFixture[str]) -> None:
    with plain_program():
        log.info("75% done")
        log.warning("note: a video ends early")
        log.debug("nobody wants to know")
    assert capsys.readouterr() == ("75% done\n", "note: a video ends early\n")


def test_a_program_with_logging_gets_the_lines_instead(capsys: pytest.CaptureFixture[str]) -> None:
    got = io.StringIO()
    handler = logging.StreamHandler(got)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    with plain_program():
        logging.getLogger().addHandler(handler)
        log.info("a line")
        assert got.getvalue() == "INFO vidnas a line\n"
        assert capsys.readouterr() == ("", "")
        with printed():  # the command line prints even if a library has set up handlers
            log.info("another")
    assert got.getvalue() == "INFO vidnas a line\n"
    assert capsys.readouterr() == ("another\n", "")


@pytest.mark.parametrize("given", [{}, {"RANK": "0", "LOCAL_RANK": "1"}, {"LOCAL_RANK": "0", "SLURM_PROCID": "2"}])
def test_the_first_process_talks(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_ranks(given, monkeypatch)
    assert is_first_process()
    log.info("a line")
    assert caplog.messages == ["a line"]


@pytest.mark.parametrize("given", [{"RANK": "2", "LOCAL_RANK": "0"}, {"LOCAL_RANK": "1"}, {"SLURM_PROCID": "3"}])
def test_the_others_are_silent_whoever_listens(
    given: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_ranks(given, monkeypatch)
    assert not is_first_process()
    with printed():
        log.warning("note: a line")
    log.info("a line")
    assert caplog.messages == []
    assert capsys.readouterr() == ("", "")


def set_ranks(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)


def test_a_note_is_given_once(caplog: pytest.LogCaptureFixture) -> None:
    note_once.cache_clear()
    for line in ("one", "one", "two"):
        note_once(line)
    assert caplog.messages == ["note: one", "note: two"]


def test_notes_only(caplog: pytest.LogCaptureFixture) -> None:
    with notes_only():
        log.info("no news")
        log.warning("note: news")
    log.info("afterwards")
    assert caplog.messages == ["note: news", "afterwards"]


def test_a_reader_that_has_gone_away_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is for `print`: the command line ends with 141 then."""
    read, write = os.pipe()
    os.close(read)
    pipe = open(write, "w", encoding="utf-8")  # noqa: SIM115 (closing it fails too)
    with printed(), monkeypatch.context() as changes:
        changes.setattr(sys, "stdout", pipe)
        with pytest.raises(BrokenPipeError):
            log.info("a line")
    with pytest.raises(BrokenPipeError):
        pipe.close()
