import subprocess
import sys

CODE = """
import sys, torch
from torch import nn
from darkroom.models import registry
from darkroom.train import flops

def imported():
    return hasattr(sys.modules["torch._dynamo"], "__file__")

network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
assert flops.count(network, (4, 4, 1))[0] == 2 * (2 * 2 * 2 * 9 + 8 * 2)
for optimiser in (torch.optim.AdamW(network.parameters()), torch.optim.SGD(network.parameters())):
    network(torch.ones(2, 1, 4, 4)).sum().backward()
    optimiser.step()
    optimiser.state_dict()
assert not imported()
assert torch.compile(lambda value: value + 1, backend="eager")(torch.ones(())) == 2
assert imported() and torch._dynamo is sys.modules["torch._dynamo"]
"""


def test_the_compiler_is_imported_when_it_is_used_and_not_before():
    subprocess.run([sys.executable, "-c", CODE], check=True)
