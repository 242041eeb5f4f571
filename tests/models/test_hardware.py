import pytest
import torch

from darkroom.core.errors import DarkroomError
from darkroom.core.processor import cores
from darkroom.models import hardware

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


def set_available(monkeypatch: pytest.MonkeyPatch, *available: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in available)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in available)


def set_native_bf16(
    monkeypatch: pytest.MonkeyPatch, avx512: bool = False, amx: bool = False, gpu: bool = False
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: gpu)


@pytest.mark.parametrize(("available", "chosen"), [((), "cpu"), (("mps",), "mps"), (("cuda", "mps"), "cuda")])
def test_auto_chooses_a_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch, available: tuple[str, ...], chosen: str):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    set_available(monkeypatch, *available)
    assert hardware.choose_device("auto").type == chosen
    assert hardware.choose_device("cpu").type == "cpu"


def test_cudnn_is_deterministic_on_cuda_alone(monkeypatch: pytest.MonkeyPatch):
    set_available(monkeypatch, "cuda")
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    hardware.choose_device("cpu")
    assert not torch.backends.cudnn.deterministic
    hardware.choose_device("auto")
    assert torch.backends.cudnn.deterministic


def test_missing_device_is_rejected_with_the_available_ones(monkeypatch: pytest.MonkeyPatch):
    set_available(monkeypatch, "mps")
    with pytest.raises(DarkroomError, match=r"train\.device = 'cuda'.* mps, cpu"):
        hardware.choose_device("cuda")


@pytest.mark.parametrize(
    ("avx512", "amx", "precision"), [(True, False, "bf16"), (False, True, "bf16"), (False, False, "fp32")]
)
def test_auto_precision_on_a_cpu_is_bf16_only_if_native(
    monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool, precision: str
):
    set_native_bf16(monkeypatch, avx512, amx)
    assert hardware.choose_precision("auto", CPU) == precision


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "fp16")])
def test_auto_precision_on_a_cuda_gpu_is_a_half_precision(
    monkeypatch: pytest.MonkeyPatch, native: bool, precision: str
):
    set_native_bf16(monkeypatch, gpu=native)
    assert hardware.choose_precision("auto", CUDA) == precision


def test_auto_precision_on_an_apple_gpu_is_fp32():
    assert hardware.choose_precision("auto", MPS) == "fp32"


def test_given_precision_is_used_if_supported(monkeypatch: pytest.MonkeyPatch):
    set_native_bf16(monkeypatch)
    assert hardware.choose_precision("fp32", CPU) == "fp32"
    assert hardware.choose_precision("bf16", CPU) == "bf16"  # emulated
    assert hardware.choose_precision("fp16", CUDA) == "fp16"
    with pytest.raises(DarkroomError, match=r"train\.precision = 'fp16'"):
        hardware.choose_precision("fp16", CPU)
    with pytest.raises(DarkroomError, match=r"train\.precision = 'bf16'"):
        hardware.choose_precision("bf16", CUDA)


@pytest.mark.parametrize(
    ("wanted", "chosen", "device", "explanation"),
    [
        ("auto", "bf16", CPU, "bf16 (native on this CPU)"),
        ("auto", "fp32", CPU, "fp32 (no native bf16 on this CPU)"),
        ("auto", "bf16", CUDA, "bf16 (native on this GPU)"),
        ("auto", "fp16", CUDA, "fp16 (no native bf16 on this GPU)"),
        ("auto", "fp32", MPS, "fp32 (default on an Apple GPU)"),
        ("bf16", "bf16", CPU, "bf16 (set by train.precision)"),
    ],
)
def test_precision_is_explained(wanted: str, chosen: str, device: torch.device, explanation: str):
    assert hardware.explain_precision(wanted, chosen, device) == explanation


def test_threads_are_set():
    assert hardware.use_threads("auto") == torch.get_num_threads() == cores()
    assert hardware.use_threads(1) == torch.get_num_threads() == 1


@pytest.mark.parametrize("wanted", [3, 999])
def test_more_threads_than_cores_are_rejected(monkeypatch: pytest.MonkeyPatch, wanted: int):
    monkeypatch.setattr(hardware, "cores", lambda: 2)
    with pytest.raises(DarkroomError, match=rf"train\.threads = {wanted}: .*\b2\b.*auto"):
        hardware.use_threads(wanted)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(("number", "threads"), [(1, "1 CPU thread"), (2, "2 CPU threads")])
def test_cpu_is_described_by_its_threads(monkeypatch: pytest.MonkeyPatch, number: int, threads: str):
    monkeypatch.setattr(torch, "get_num_threads", lambda: number)
    assert hardware.describe(CPU) == threads
