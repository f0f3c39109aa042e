"""When a signal ends what is running, when it waits, and that it is never lost."""

import gc
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest

from vidnas.base.interrupt import CommandSignals, Interrupted, Stopped, StopSignals


def handlers() -> tuple[object, object]:
    return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)


def test_a_loop_sees_a_flag_and_a_second_ctrl_c_stops_it() -> None:
    before = handlers()
    with StopSignals() as signals:
        assert signals.received is None
        signal.raise_signal(signal.SIGINT)
        assert signals.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signals.received = None  # dealt with
    assert handlers() == before


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_raises(signum: signal.Signals) -> None:
    before = handlers()
    with pytest.raises(Stopped) as caught, CommandSignals() as signals:
        signal.raise_signal(signum)
    assert signals.received == caught.value.signum == signum
    assert handlers() == before


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
def test_no_signal_is_lost_while_a_module_is_compiled() -> None:
    """Python's compiler looks for signals while it works out constants, and drops most of what is raised there."""
    lines = "x = 2**64\n" * 50

    def compile_for(seconds: float) -> None:
        with CommandSignals() as signals:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            while signals.received is None:
                compile(lines, "module", "exec")

    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        for i in range(200):
            with pytest.raises(Stopped):
                compile_for(1e-3 + 1e-5 * i)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_what_a_loop_was_not_asked_for_is_given_on() -> None:
    done = []

    def loop() -> None:
        with CommandSignals():
            with StopSignals(), StopSignals():
                signal.raise_signal(signal.SIGTERM)
                done.append("the step")
            done.append("what follows")

    with pytest.raises(Stopped):
        loop()
    assert done == ["the step"]


def test_another_error_goes_before_a_signal_that_waits() -> None:
    signals, held = CommandSignals(), StopSignals()

    def fail() -> None:
        with signals, held:
            signal.raise_signal(signal.SIGTERM)
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert (held.received, signals.received) == (signal.SIGTERM, None)


class StoppedInItsFinaliser:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_a_stop_that_python_swallows_comes_again(capsys: pytest.CaptureFixture[str]) -> None:
    def go_on() -> None:
        with CommandSignals():
            StoppedInItsFinaliser()
            gc.collect()
            end = time.monotonic() + 20
            while time.monotonic() < end:
                time.sleep(0.01)

    with pytest.raises(Stopped):
        go_on()
    assert capsys.readouterr().err == ""


def test_signals_that_were_ignored_stay_ignored() -> None:
    for signum in (signal.SIGINT, signal.SIGHUP):  # nohup ignores the latter
        before = signal.signal(signum, signal.SIG_IGN)
        try:
            with CommandSignals() as outer, StopSignals() as inner:
                signal.raise_signal(signum)
            assert outer.received is None
            assert inner.received is None
        finally:
            signal.signal(signum, before)


def test_another_thread_leaves_signals_alone() -> None:
    before = handlers()
    seen = []

    def work() -> None:
        with CommandSignals(), StopSignals():
            seen.append(handlers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_second_ctrl_c_ends_what_does_not_end() -> None:
    program = """
import signal
from vidnas.base.interrupt import CommandSignals
with CommandSignals():
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.raise_signal(signal.SIGINT)
        print("not at once")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "vidnas: error: interrupted twice; stopped at once\n"


def test_a_stop_comes_whole_out_of_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(Interrupted("stopped after step 3", signal.SIGTERM)))
    assert (str(error), error.signum, error.exit_code) == ("stopped after step 3", signal.SIGTERM, 143)
