"""The process a run lives in: threads, the C allocator, the device, repeatable kernels."""

import contextlib
import ctypes
import os
import platform
import re
import sys

import torch

from vidnas.base.errors import LOADER_PROCESS_ENDED, OutOfMemory, VidnasError
from vidnas.data.processes import cores

NO_MALLOPT = "VIDNAS_NO_MALLOPT"
# How PyTorch says so where it has no class of its own: of a CPU's memory, of shared memory, of what was raised in a
# process of a loader, of a GPU whose libraries or context got none.
_NO_MEMORY = re.compile(r"can(?:'|no)t allocate memory|MemoryError|out of memory|_ALLOC_FAILED", re.IGNORECASE)
# Beside four for each core of the machine.
_MOST_THREADS = 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def tune_allocator() -> bool:
    """Make glibc keep large blocks instead of returning each one to the kernel; True where it was done.

    Without it every fresh tensor above 32 MiB costs page faults, 1.25 to 1.35 times a training step on a CPU. The
    price is a process that does not shrink. Works on glibc only; `VIDNAS_NO_MALLOPT=1` turns it off.
    """
    if os.environ.get(NO_MALLOPT, "0") not in ("", "0") or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def set_threads(threads: int | None) -> int:
    """Set the threads of CPU operators (None leaves torch's choice); returns their number.

    Raises:
        VidnasError: more than OpenMP can be trusted to start; it ends the process where it cannot.
    """
    if threads is not None:
        most = max(_MOST_THREADS, 4 * (os.cpu_count() or 1))
        if threads > most:
            raise VidnasError(f"threads {threads}: give {most} or fewer; this process may use {cores()} cores")
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def choose_device(name: str = "auto") -> torch.device:
    """`auto` is the first GPU where there is one, otherwise the CPU.

    Raises:
        OutOfMemory: it is full.
        VidnasError: a device that torch does not know or does not find.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        if ran_out_of_memory(error):
            raise OutOfMemory(f"device {name!r}: has no memory left; end what else uses it, or use cpu") from error
        raise VidnasError(f"device {name!r}: not found here; use cpu, cuda or auto") from error
    return device


def use_repeatable_kernels() -> None:
    """Ask cuDNN for algorithms that give the same bits every time, at some cost in speed.

    CPU operators already do for a fixed number of threads; a few CUDA backward passes have no such form.
    """
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def ran_out_of_memory(error: Exception) -> bool:
    """Whether this is why PyTorch or NumPy gave up, or, most likely, why the system ended a process of a loader."""
    told = str(error)
    if isinstance(error, RuntimeError) and (_NO_MEMORY.search(told) or LOADER_PROCESS_ENDED.match(told)):
        return True
    return isinstance(error, MemoryError | torch.OutOfMemoryError | OutOfMemory)


def physical_memory() -> int:
    """Bytes that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def versions() -> dict[str, str | int]:
    """What a result depends on besides its settings: for run folders and model files."""
    from importlib.metadata import version

    return {
        "vidnas": version("vidnas"),
        "torch": torch.__version__,
        "lightning": version("lightning"),
        "av": version("av"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cpus": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory so far: allocated tensors on a GPU, the resident set of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        with open("/proc/self/status", encoding="utf-8") as lines:
            return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    import resource  # what getrusage says on Linux includes the parent's peak

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def restart_peak_memory(device: torch.device) -> None:
    """Let `peak_memory_mib` count from now on; where the system cannot, it goes on from the start of the process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
        file.write("5")


def cpu_name() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
