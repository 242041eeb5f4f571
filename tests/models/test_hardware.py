import pytest
import torch

from darkroom.core.errors import DarkroomError
from darkroom.models import hardware


def only(monkeypatch: pytest.MonkeyPatch, *available: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in available)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in available)


@pytest.mark.parametrize(("available", "chosen"), [((), "cpu"), (("mps",), "mps"), (("cuda", "mps"), "cuda")])
def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, available: tuple[str, ...], chosen: str):
    only(monkeypatch, *available)
    assert hardware.choose_device("auto").type == chosen
    assert hardware.choose_device("cpu").type == "cpu"


def test_a_device_that_the_machine_lacks_is_refused(monkeypatch: pytest.MonkeyPatch):
    only(monkeypatch, "mps")
    with pytest.raises(
        DarkroomError, match=r"train.device = 'cuda' is not on this machine: choose auto or one of: mps, cpu"
    ):
        hardware.choose_device("cuda")


@pytest.mark.parametrize(
    ("features", "precision"), [((True, False), "bf16"), ((False, True), "bf16"), ((False, False), "fp32")]
)
def test_auto_takes_bf16_where_the_cpu_computes_it(
    monkeypatch: pytest.MonkeyPatch, features: tuple[bool, bool], precision: str
):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: features[0])
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: features[1])
    assert hardware.choose_precision("auto", torch.device("cpu")) == precision


def test_a_precision_is_taken_as_asked_but_fp16_needs_a_gpu():
    assert hardware.choose_precision("fp32", torch.device("cpu")) == "fp32"
    assert hardware.choose_precision("fp16", torch.device("cuda")) == "fp16"
    with pytest.raises(DarkroomError, match="needs a GPU"):
        hardware.choose_precision("fp16", torch.device("cpu"))


def test_bf16_needs_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert hardware.choose_precision("auto", torch.device("cuda")) == "fp16"
    with pytest.raises(DarkroomError, match="bf16' is not what this GPU computes in"):
        hardware.choose_precision("bf16", torch.device("cuda"))


def test_threads_are_set():
    before = torch.get_num_threads()
    try:
        assert hardware.use_threads(1) == torch.get_num_threads() == 1
        assert hardware.use_threads("auto") >= 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("number", "cores", "threads"), [(1, "1 core of ", "1 CPU thread"), (2, "2 cores of ", "2 CPU threads")]
)
def test_one_core_and_several_are_told(monkeypatch: pytest.MonkeyPatch, number: int, cores: str, threads: str):
    monkeypatch.setattr(hardware, "_cores", lambda: number)
    monkeypatch.setattr(torch, "get_num_threads", lambda: number)
    assert hardware.processor().startswith(cores)
    assert hardware.describe(torch.device("cpu")) == threads
