"""Allocator, device, run folder."""

import mmap
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch._utils import ExceptionWrapper

from vidnas.base.errors import OutOfMemory, VidnasError
from vidnas.engine.run.folder import RunFolder
from vidnas.engine.run.runtime import (
    choose_device,
    peak_memory_mib,
    ran_out_of_memory,
    restart_peak_memory,
    set_threads,
    versions,
)

# Page faults while a 64 MiB tensor (16384 pages) is made and dropped five times, once the heap has a hole of that size.
COUNT_FAULTS = """
import resource, torch
from vidnas.engine.run.runtime import tune_allocator
print(tune_allocator())
for _ in range(20):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
HOLD_LOCK = """
import sys
from pathlib import Path
from vidnas.engine.run.folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_large_blocks_are_kept():
    def faults(**variables):
        run = subprocess.run(
            [sys.executable, "-c", COUNT_FAULTS], env={**os.environ, **variables}, capture_output=True, text=True
        )
        tuned, count = run.stdout.split()
        return tuned, int(count)

    tuned, with_tuning = faults(VIDNAS_NO_MALLOPT="")
    untuned, without = faults(VIDNAS_NO_MALLOPT="1")
    assert (tuned, untuned) == ("True", "False")
    assert with_tuning < 0.2 * without


def test_devices():
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(VidnasError, match="'gpu': not found here; use cpu, cuda or auto"):
        choose_device("gpu")


def failures() -> dict[str, Exception]:
    """Real ones, but for those of a GPU."""
    found: dict[str, Exception] = {}
    try:
        torch.empty(1 << 56)
    except RuntimeError as error:
        found["tensor"] = error
    try:
        np.empty(1 << 56)
    except MemoryError as error:
        found["array"] = error
        try:
            ExceptionWrapper(where="in DataLoader worker process 0").reraise()
        except RuntimeError as wrapped:
            found["array in a process of a loader"] = wrapped
    gpu = ("CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    return found | {text: RuntimeError(text) for text in gpu}


def test_want_of_memory_is_known():
    found = failures()
    assert len(found) == 5
    assert [name for name, error in found.items() if not ran_out_of_memory(error)] == []
    assert ran_out_of_memory(OutOfMemory("no shared memory left"))
    assert not ran_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not ran_out_of_memory(ValueError("out of memory"))


def test_threads_are_set_and_told():
    before = torch.get_num_threads()
    try:
        assert set_threads(3) == torch.get_num_threads() == 3
        assert set_threads(None) == 3
        assert versions()["threads"] == 3
    finally:
        torch.set_num_threads(before)


def test_a_run_folder_is_for_one_run(tmp_path):
    folder = RunFolder(tmp_path / "deep" / "run")
    with folder.lock(), folder.lock():  # a command may hold it over its parts
        folder.open({"train": {"lr": 0.1}}, resume=False)
        folder.open({"train": {"lr": 0.1}}, resume=False)  # nothing was saved, nothing is lost
    folder.state.touch()
    with pytest.raises(VidnasError, match="holds an unfinished run already; add --resume to go on"):
        folder.open({}, resume=False)
    folder.open({}, resume=True)
    for file in (folder.weights, folder.model_info):
        file.touch()
    with pytest.raises(VidnasError, match="holds a finished run already; choose another --out"):
        folder.open({}, resume=False)


def test_two_processes_do_not_share_a_run_folder(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(tmp_path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"locked\n"
    with pytest.raises(VidnasError, match="another process is writing this run"), RunFolder(tmp_path).lock():
        pass
    holder.kill()
    holder.wait()
    with RunFolder(tmp_path).lock():  # a killed process lets go
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(VidnasError, match="cannot be written"), RunFolder(tmp_path / "file" / "run").lock():
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_peak_memory_can_start_again() -> None:
    device = torch.device("cpu")
    # Pages of their own, which go back to the system at once whatever the allocator keeps.
    with mmap.mmap(-1, 256 << 20) as block:
        block[:] = b"x" * len(block)
    high = peak_memory_mib(device)
    restart_peak_memory(device)
    assert peak_memory_mib(device) < high - 200
