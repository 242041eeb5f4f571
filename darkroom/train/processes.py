"""The processes that train one network together: how they meet, and how they exchange tensors."""

import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted

MEETING_FILE = "DARKROOM_MEETING_FILE"  # environment variable: where processes of one machine meet, without a port
BUCKET = 2**24  # elements that are sent together: bounds the memory of their copy

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")  # of the environment; torchrun sets them
_LOST = re.compile("gloo|nccl|connection (closed|reset)|broken pipe", re.IGNORECASE)


class LostConnection(DarkroomError):
    """Another process of the training has ended or cannot be reached."""


@dataclass(frozen=True)
class Processes:
    """This process among those that train one network; every method but `is_first` must be called by all of them."""

    rank: int = 0
    count: int = 1
    local_count: int = 1  # on this machine

    @property
    def is_first(self) -> bool:
        """Whether this is the process that reads the saved state and writes the results."""
        return self.rank == 0

    def sum(self, tensors: Iterable[Tensor]) -> None:
        """Replace float32 tensors of one device by their sums over the processes.

        The sums are identical bit for bit in all processes. Those of two processes do not depend on the order of
        addition.
        """
        if self.count == 1:
            return
        bucket: list[Tensor] = []
        for tensor in [*tensors, None]:
            if bucket and (tensor is None or sum(one.numel() for one in bucket) + tensor.numel() > BUCKET):
                flat = torch.cat([one.reshape(-1) for one in bucket])
                dist.all_reduce(flat)
                for one, total in zip(bucket, flat.split([one.numel() for one in bucket]), strict=True):
                    one.copy_(total.view(one.shape))
                bucket = []
            if tensor is not None:
                bucket.append(tensor)

    def total(self, value: float) -> float:
        """The sum of a number over the processes, rounded to float32."""
        summed = torch.tensor([float(value)])
        self.sum([summed])
        return summed.item()

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors (...) of all processes, which have the same shape, by rank: (count, ...)."""
        if self.count == 1:
            return tensor[None]
        gathered = [torch.empty_like(tensor) for _ in range(self.count)]
        dist.all_gather(gathered, tensor.contiguous())
        return torch.stack(gathered)

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Replace the tensors by those of the first process."""
        for tensor in tensors if self.count > 1 else ():
            sent = tensor.detach().contiguous()
            dist.broadcast(sent, 0)
            tensor.detach().copy_(sent)

    def share_state(self, state: tuple[Mapping[str, Tensor], Mapping[str, Any]] | None) -> tuple | None:
        """The state of the first process, tensors on the CPU and values for JSON; None if it has none."""
        if self.count == 1:
            return state
        tensors, values = ({}, None) if state is None else state
        layout = [(name, str(one.dtype).removeprefix("torch."), list(one.shape)) for name, one in tensors.items()]
        encoded = json.dumps([layout, values]).encode()
        size = torch.tensor([len(encoded)])
        self.share([size])
        text = torch.zeros(int(size), dtype=torch.uint8)
        if self.is_first:
            text = torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
        self.share([text])
        layout, values = json.loads(text.numpy().tobytes())
        if not self.is_first:
            tensors = {name: torch.empty(shape, dtype=getattr(torch, dtype)) for name, dtype, shape in layout}
        self.share(tensors.values())
        return None if values is None else (tensors, values)

    def require_same(self, what: object) -> None:
        """Raise DarkroomError in all processes unless `what` has the same JSON in all of them."""
        digest = hashlib.blake2b(json.dumps(what, sort_keys=True).encode(), digest_size=16).digest()
        digests = self.gather(torch.frombuffer(bytearray(digest), dtype=torch.uint8))
        different = [rank for rank, other in enumerate(digests) if not torch.equal(other, digests[0])]
        if different:
            raise DarkroomError(
                f"{counted(len(different), 'process')} (rank {', '.join(map(str, different))}) with other data, "
                "parameters or another precision than the first: copy the project and data/arrays to every machine."
            )


ALONE = Processes()


def started() -> bool:
    """Whether this process was started as one of several: by torchrun, or by darkroom.train.launch."""
    return "WORLD_SIZE" in os.environ


def is_first() -> bool:
    """Whether this process writes the results; true if it is the only one."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def join(device: torch.device) -> Iterator[Processes]:
    """Meet the other processes of this training; only the first one prints what is printed inside.

    Yields ALONE in a process that is the only one. Raises DarkroomError if the processes cannot meet, if this machine
    has fewer GPUs than processes, or if the connection to another process is lost inside.
    """
    if not started():
        yield ALONE
        return
    if missing := [name for name in _VARIABLES if name not in os.environ]:
        raise DarkroomError(
            f"The environment variable WORLD_SIZE is set, but not {', '.join(missing)}: start the stage by torchrun, "
            "or unset WORLD_SIZE to train in this process alone."
        )
    rank, count, local_rank, local_count = (int(os.environ[name]) for name in _VARIABLES)
    if rank:
        os.environ.pop("DVC_STAGE", None)  # after a failure, the first process alone restores earlier outputs
    _meet(device, rank, count, local_rank, local_count)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.ExitStack() as stack:
            if rank:
                stack.enter_context(contextlib.redirect_stdout(nowhere))
                stack.enter_context(contextlib.redirect_stderr(nowhere))
            yield Processes(rank, count, local_count)
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or _LOST.search(str(error)):
            raise LostConnection(
                f"Another process of the training ended ({_first_line(error)}). Run the same command again to resume."
            ) from error
        raise
    dist.destroy_process_group()  # not after an error: NCCL would wait for the others, which wait for this process


def _meet(device: torch.device, rank: int, count: int, local_rank: int, local_count: int) -> None:
    """Initialise torch.distributed: gloo for tensors on the CPU, NCCL for those on GPUs."""
    backend = "gloo"
    if device.type == "cuda":
        gpus = torch.cuda.device_count()
        if local_count > gpus:
            raise DarkroomError(
                f"{counted(local_count, 'process')} were started on this machine, but it has {counted(gpus, 'GPU')}: "
                "start one per GPU, or set train.device = cpu."
            )
        torch.cuda.set_device(local_rank)
        backend = "cpu:gloo,cuda:nccl"
    file = os.environ.get(MEETING_FILE)
    if file and sys.platform in ("linux", "darwin"):  # one machine: nothing needs to be reachable from outside
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    try:
        dist.init_process_group(backend, f"file://{file}" if file else "env://", rank=rank, world_size=count)
    except (RuntimeError, ValueError) as error:
        place = "MASTER_ADDR = {MASTER_ADDR}, MASTER_PORT = {MASTER_PORT}".format_map(
            {name: os.environ.get(name, "not set") for name in ("MASTER_ADDR", "MASTER_PORT")}
        )
        raise LostConnection(
            f"The processes of the training cannot meet ({_first_line(error)}; {place}): check that every machine "
            "reaches the first, or choose another port with torchrun's --master-port."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
