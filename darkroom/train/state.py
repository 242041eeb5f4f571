"""The state of a training: whole tensors, however many processes train and however they hold the network."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from darkroom.train.records import Record
from darkroom.train.sharding import part_of, whole

if TYPE_CHECKING:
    from darkroom.train.trainer import Trainer

State = tuple[dict[str, Tensor], dict[str, Any]]  # tensors, and values for JSON


def collect(trainer: "Trainer") -> State:
    """All state that the rest of the training depends on; all processes must call it."""
    tensors = {f"network/{name}": whole(tensor) for name, tensor in trainer.network.state_dict().items()}
    tensors |= {f"best/{name}": whole(tensor) for name, tensor in trainer.best.items()}
    if trainer.average:
        tensors |= {f"average/{name}": whole(tensor) for name, tensor in trainer.average.state_dict().items()}
    for number, member in enumerate(trainer.optimisers.members):
        for index, entries in member.state_dict()["state"].items():
            tensors |= {f"optimiser/{number}/{index}/{name}": whole(tensor) for name, tensor in entries.items()}
    tuned, tuning = trainer.tuning.state()
    tensors |= {f"tuning/{name}": tensor for name, tensor in tuned.items()}
    tensors |= {f"objective/{name}": tensor for name, tensor in trainer.objective.state().items()}
    tensors |= {"losses": trainer.losses, "correct": trainer.correct, "gradients": trainer.monitor.sums}
    values = {
        "records": [asdict(record) for record in trainer.records],
        "step": trainer.step,
        "seconds": trainer.seconds,
        "scaler": trainer.scaler.state_dict(),
        "tuning": tuning,
    }
    return tensors, values


def restore(trainer: "Trainer", tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Restore what `collect` returned for a trainer that was built in the same way.

    Raises KeyError, TypeError, ValueError or RuntimeError if it does not fit.
    """

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    def load(prefix: str, module: Any) -> None:
        own = module.state_dict()
        module.load_state_dict({name: part_of(tensor, own[name]) for name, tensor in part(prefix).items()})

    load("network/", trainer.network)
    own = trainer.network.state_dict()
    trainer.best = {name: part_of(tensor, own[name]).to(trainer.device) for name, tensor in part("best/").items()}
    if trainer.average:
        load("average/", trainer.average)
    for number, member in enumerate(trainer.optimisers.members):
        parameters = [parameter for group in member.param_groups for parameter in group["params"]]
        entries: dict[int, dict[str, Tensor]] = {}
        for path, tensor in part(f"optimiser/{number}/").items():
            index, name = path.split("/")
            parameter = parameters[int(index)]
            if tensor.shape == parameter.shape:  # with the memory layout of the parameter, as before
                tensor = torch.empty_like(parameter, dtype=tensor.dtype).copy_(part_of(tensor, parameter))
            entries.setdefault(int(index), {})[name] = tensor
        member.load_state_dict({"state": entries, "param_groups": member.state_dict()["param_groups"]})
    trainer.tuning.restore(part("tuning/"), values["tuning"])
    trainer.objective.restore(part("objective/"))
    trainer.losses, trainer.correct = tensors["losses"].to(trainer.device), tensors["correct"].to(trainer.device)
    trainer.monitor.sums = tensors["gradients"]
    trainer.records = [Record.read(fields) for fields in values["records"]]
    trainer.step, trainer.seconds = values["step"], values["seconds"]
    trainer.scaler.load_state_dict(values["scaler"])
