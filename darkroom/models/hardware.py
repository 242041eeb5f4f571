"""What computes: the device, its native precision, the threads."""

import torch

from darkroom.core.errors import DarkroomError
from darkroom.core.processor import cores

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(wanted: str) -> torch.device:
    """The device `wanted` (cpu, cuda or mps), or for "auto" a GPU where there is one; raises DarkroomError where it lacks."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        wanted = next(name for name, there in available.items() if there)
    if not available[wanted]:
        here = ", ".join(name for name, there in available.items() if there)
        raise DarkroomError(f"train.device = {wanted!r} is not on this machine: choose auto or one of: {here}.")
    return torch.device(wanted)


def choose_precision(wanted: str, device: torch.device) -> str:
    """The precision `wanted`, or for "auto" bf16 where a CPU or a CUDA GPU computes it natively, else fp16 on a CUDA GPU, else fp32.

    By the hardware's features and not by a measurement, so that the same machine always chooses the same. Raises
    DarkroomError for fp16 on a CPU, which has no fast fp16 arithmetic, and for bf16 on a CUDA GPU that has none.
    """
    if wanted == "auto":
        if device.type == "cuda":
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        return (
            "bf16"
            if device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
            else "fp32"
        )
    if wanted == "fp16" and device.type == "cpu":
        raise DarkroomError("train.precision = 'fp16' needs a GPU: on a CPU choose auto, fp32 or bf16.")
    if wanted == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise DarkroomError("train.precision = 'bf16' is not what this GPU computes in: choose auto, fp32 or fp16.")
    return wanted


def explain_precision(wanted: str, chosen: str, device: torch.device) -> str:
    """The chosen precision and the reason for it, for people."""
    if wanted != "auto":
        return f"{chosen} (train.precision)"
    if device.type == "cuda":
        return f"{chosen} ({'native on this GPU' if chosen == 'bf16' else 'this GPU has no native bf16'})"
    if chosen == "bf16":
        return "bf16 (native on this CPU: AVX-512 BF16 or AMX)"
    return "fp32 (this device has no native bf16: training takes two to three times as long as with it)"


def use_threads(wanted: int | str) -> int:
    """Lets PyTorch use `wanted` CPU threads, for "auto" one for each core that this process may use; returns how many."""
    torch.set_num_threads(cores() if wanted == "auto" else int(wanted))
    return torch.get_num_threads()


def describe(device: torch.device) -> str:
    """The name of what computes, for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _count(torch.get_num_threads(), "CPU thread") if device.type == "cpu" else "Apple GPU"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
