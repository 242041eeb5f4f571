"""Device, precision, CPU threads and memory allocator of a computation."""

import ctypes
import platform

import torch

from darkroom.core.errors import DarkroomError
from darkroom.core.processor import cores
from darkroom.core.spelling import counted

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(wanted: str) -> torch.device:
    """The device `wanted` (cpu, cuda or mps); for "auto" a GPU if there is one.

    On CUDA, cuDNN then uses deterministic algorithms, without which fp32 convolutions differ from run to run. Raises
    DarkroomError if this machine does not have the device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        wanted = next(name for name, exists in available.items() if exists)
    if not available[wanted]:
        names = ", ".join(name for name, exists in available.items() if exists)
        raise DarkroomError(f"train.device = {wanted!r} is not available on this machine: use auto or one of {names}.")
    if wanted == "cuda":
        torch.backends.cudnn.deterministic = True
    return torch.device(wanted)


def choose_precision(wanted: str, device: torch.device) -> str:
    """The precision `wanted`; for "auto" the fastest that `device` supports natively.

    That is bf16 if the CPU or CUDA GPU has native bf16 arithmetic, else fp16 on a CUDA GPU, else fp32. The choice
    depends on hardware features and not on a measurement, so one machine always makes the same choice. Raises
    DarkroomError for fp16 on a CPU, and for bf16 on a CUDA GPU without native bf16.
    """
    native_bf16 = _has_native_bf16(device)
    if wanted == "auto":
        if native_bf16:
            return "bf16"
        return "fp16" if device.type == "cuda" else "fp32"
    if wanted == "fp16" and device.type == "cpu":
        raise DarkroomError("train.precision = 'fp16' needs a GPU: on a CPU use auto, fp32 or bf16.")
    if wanted == "bf16" and device.type == "cuda" and not native_bf16:
        raise DarkroomError("train.precision = 'bf16' is not supported by this GPU: use auto, fp32 or fp16.")
    return wanted


def explain_precision(wanted: str, chosen: str, device: torch.device) -> str:
    """The chosen precision and the reason for it, for people: `bf16 (native on this CPU)`."""
    if wanted != "auto":
        return f"{chosen} (set by train.precision)"
    if device.type == "mps":
        return f"{chosen} (default on an Apple GPU)"
    processor = "GPU" if device.type == "cuda" else "CPU"
    return f"{chosen} ({f'native on this {processor}' if chosen == 'bf16' else f'no native bf16 on this {processor}'})"


def use_threads(wanted: int | str, processes: int = 1) -> int:
    """Set the number of CPU threads of PyTorch, for "auto" one per usable core; return the number.

    As many `processes` share the cores. Raises DarkroomError if there are fewer usable cores: their threads would wait
    for each other.
    """
    usable = max(1, cores() // processes)
    if wanted != "auto" and int(wanted) > usable:
        shared = f", with {processes} processes" if processes > 1 else ""
        raise DarkroomError(
            f"train.threads = {wanted}: must be at most {usable}, the CPU cores that this process may use{shared}; "
            "lower it, or use auto."
        )
    torch.set_num_threads(usable if wanted == "auto" else int(wanted))
    return torch.get_num_threads()


def keep_freed_memory() -> None:
    """Make glibc keep the memory that large CPU batches free; do nothing on other systems.

    By default every step returns its activations to the kernel and pays for the page faults again. Call this before the
    first large allocation.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        # M_MMAP_THRESHOLD; older versions of glibc accept only the smaller one.
        if not any(libc.mallopt(-3, threshold) for threshold in (2**30, 2**25)):
            return  # the other settings alone would freeze the threshold at its present value
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        libc.mallopt(-2, 2**28)  # M_TOP_PAD


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor of the CPU to `device`, without waiting for what a CUDA GPU computes.

    CUDA has read ordinary memory when it returns. An Apple GPU may read it later, when it may have been freed.
    """
    return tensor.to(device, non_blocking=device.type == "cuda")


def describe(device: torch.device) -> str:
    """The name of the device, for people: `2 CPU threads`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return counted(threads, "CPU thread") if device.type == "cpu" else "Apple GPU"


def _has_native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
