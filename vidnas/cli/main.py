"""`vidnas VERB ...`: finds the verb, and turns what went wrong into one line and an exit code.

Exit codes: 0 done, 1 bad input (`VidnasError`, missing file, full disk), 2 bad command line, 129 stopped by SIGHUP (the
terminal went away), 130 interrupted (Ctrl-C), 141 the reader of the output went away, 143 stopped by SIGTERM. Anything
else is a bug and keeps its traceback.
"""

import errno
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from vidnas.base.errors import LOADER_PROCESS_ENDED, EndedElsewhere, VidnasError
from vidnas.base.interrupt import CommandSignals
from vidnas.base.log import printed
from vidnas.cli.parsing import UsageError, suggestion

VERBS = {
    "list": "names and costs of the built-in networks",
    "info": "cost of a network, layer by layer",
    "plot": "draw a network",
    "space": "look into a search space, draw from it, start one",
    "data": "check a data set, copy it small, make one",
    "search": "find a network for a data set and a budget",
    "race": "the best clip and network for a data set and a budget, judged by full trainings",
    "train": "train a network",
    "test": "accuracy of a trained network",
    "predict": "classify videos",
    "bench": "milliseconds and memory of a network on this machine",
    "export": "write a trained network for another runtime",
    "run": "all of it: search, train, test, compare with X3D, report",
    "derive": "networks for several budgets from one search",
    "pareto": "the front of accuracy against cost of a trained supernet",
    "rank": "rank correlation of supernet scores with stand-alone training",
}


# Verbs that go on where they were stopped.
_RESUMED_BY_OPTION = ("run", "search", "race", "train")
_RESUMED_BY_THEMSELVES = ("derive", "rank", "data cache")
_SHARED_MEMORY = ("shared memory", "/dev/shm", "/torch_")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Without `argv` it is the program's own, and ends with it."""
    words = list(sys.argv[1:] if argv is None else argv)
    _print_into_nothing()
    _print_whatever_the_encoding()
    _do_without_home()
    _calm_idle_threads()
    signals = CommandSignals(to_the_end=argv is None)
    try:
        # torchrun ends its processes in its own way.
        with nullcontext() if "LOCAL_RANK" in os.environ else signals, printed():
            code = _run(words, signals)
    except BaseException:
        if signals.received is None:
            raise
    if signals.received is not None:
        return _fail(_stopped(words, signals.received), 128 + signals.received)
    return code


def _run(words: list[str], signals: CommandSignals) -> int:
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except BaseException as error:
        if signals.received is not None:
            raise
        return _explain(error)


def _explain(error: BaseException) -> int:
    """Say in one line what went wrong; returns the exit code.

    Raises:
        BaseException: the error itself, where it may be our own fault.
    """
    if isinstance(error, EndedElsewhere):
        # Lightning kills the first process, which tells why, as soon as one that it started ends with another code.
        return 0 if _is_companion() else error.exit_code
    if isinstance(error, VidnasError):
        return _fail(str(error), error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        return _fail("interrupted", 130)
    if isinstance(error, BrokenPipeError):
        _discard_broken_output()
        return 141
    line = _environment_failure(error)
    if line is None:
        raise error
    _discard_broken_output()
    return _fail(line, 1)


def _is_companion() -> bool:
    """Whether Lightning has started this process, for `--devices`."""
    return os.environ.get("LOCAL_RANK", "0") != "0" and "TORCHELASTIC_RUN_ID" not in os.environ


def _stopped(words: Sequence[str], signum: int) -> str:
    """What a stopped command says: by what, and how to go on."""
    what = "interrupted" if signum == signal.SIGINT else f"stopped by {signal.Signals(signum).name}"
    if any(word.replace("_", "-") == "--dry-run" for word in words):
        return what
    verb = " ".join(words[: 2 if words[:1] == ["data"] else 1])
    if verb in _RESUMED_BY_OPTION and "--resume" not in words:
        return f"{what}; the same command with --resume goes on"
    if verb in _RESUMED_BY_OPTION + _RESUMED_BY_THEMSELVES:
        return f"{what}; the same command goes on"
    return what


def _print_into_nothing() -> None:
    """Put something in the place of closed outputs (`>&-`), which the next files to be opened would take."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, number)
            if nothing > 2:
                os.close(nothing)
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8"))


def _print_whatever_the_encoding() -> None:
    """Let a terminal or a file without the characters of a name have their codes, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _do_without_home() -> None:
    """Give libraries that insist on a home folder one, and a place for their caches where nothing can be written there.

    A user without a home has / in most containers. Relative paths count as not given, as the XDG specification has it:
    folders would come to be wherever a command is called.
    """
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        if not os.path.isabs(os.environ.get(name, "/")):
            del os.environ[name]
    try:
        home = Path.home()
    except RuntimeError:
        home = Path("/")
        os.environ["HOME"] = str(home)
    named = [Path(os.environ[name]) for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME") if os.environ.get(name)]
    if all(map(_can_be_written, (home, *named))):
        return
    import atexit
    import shutil
    import tempfile

    # It comes to be when something is written.
    folder = Path(tempfile.gettempdir(), f"vidnas-{os.urandom(8).hex()}")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in ("MPLCONFIGDIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        os.environ.setdefault(name, str(folder / name.lower()))


def _can_be_written(folder: Path) -> bool:
    """Whether it, or the folder that it could be made in, takes files."""
    found = next(place for place in (folder, *folder.parents) if place.exists())
    return found.is_dir() and os.access(found, os.W_OK)


def _calm_idle_threads() -> None:
    """Let OpenMP's idle threads sleep after a short spin; must come before torch is loaded.

    By default GNU OpenMP's threads spin for long at every barrier, so that any other work on the machine slows training
    on a CPU many times over.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def _dispatch(argv: list[str]) -> int:
    if argv[:1] == ["help"] and len(argv) > 1:
        argv = [*argv[1:], "--help"]
    if not argv or argv[0] in ("-h", "--help", "--help-all", "help"):
        print(_help())
        return 0
    verb, rest = argv[0], argv[1:]
    if verb == "--version":
        from importlib.metadata import version

        print(f"vidnas {version('vidnas')}")
        return 0
    if verb.startswith("-"):
        near = suggestion(verb, ["--help", "--version"])
        raise UsageError(
            f"vidnas has no option {verb}; " + (f"did you mean {near}?" if near else "try `vidnas --help`")
        )
    if verb not in _verbs():
        near = suggestion(verb, _verbs())
        raise UsageError(
            f"vidnas has no command {verb!r}; " + (f"did you mean {near}?" if near else "`vidnas --help` lists them")
        )
    try:
        return int(import_module(f"vidnas.cli.{verb}").run(rest))
    except SystemExit as stop:  # argparse leaves this way after --help
        return stop.code if isinstance(stop.code, int) else 0


def _verbs() -> dict[str, str]:
    """The verbs that this installation has a module for."""
    return {verb: purpose for verb, purpose in VERBS.items() if find_spec(f"vidnas.cli.{verb}")}


def _help() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {purpose}" for verb, purpose in _verbs().items()]
    return "\n".join(
        [
            "usage: vidnas COMMAND ...",
            "",
            "Efficient video networks: searched, trained, tested, exported.",
            "",
            *lines,
            "",
            "`vidnas COMMAND --help` tells more; `vidnas --version` prints the version.",
        ]
    )


def _fail(message: str, code: int) -> int:
    print("vidnas: error: " + " ".join(message.splitlines()), file=sys.stderr)
    return code


def _environment_failure(error: BaseException) -> str | None:
    """One line for a full disk or a file that cannot be opened; None for what may be our own fault."""
    for cause in _chain(error):
        if isinstance(cause, OSError | RuntimeError) and any(word in str(cause) for word in _SHARED_MEMORY):
            reason = (str(cause).splitlines() or [""])[0][:120]
            return f"no shared memory ({reason}); give it more (docker run --shm-size=2g), or use --workers 0"
        if isinstance(cause, RuntimeError) and (ended := LOADER_PROCESS_ENDED.match(str(cause))):
            return (
                f"a process that reads videos was ended ({ended[1]}), as where memory runs out; free some, or use "
                "fewer of them (--clips.workers; of `vidnas test` --workers)"
            )
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        # A library may tell the same failure in an exception of its own.
        if full or "No space left on device" in str(cause):
            path = getattr(cause, "filename", None) or "output"
            return f"{path}: no space left on the disk; free some, then give the same command again"
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError):
        if error.filename is None:
            return None
        reason = (error.strerror or "cannot be opened").lower()
        return f"{error.filename}: {reason}; check the path and its rights"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _discard_broken_output() -> None:
    """Point a stdout that takes nothing more at nothing, or Python complains again when it flushes on exit."""
    try:
        sys.stdout.flush()
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
