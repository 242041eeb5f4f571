"""Keep PyTorch's compiler out of processes that compile nothing: its import takes a second.

At its first call, a function that PyTorch excludes from compilation imports the compiler to say so: any optimiser does.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import torch

_NAME = "torch._dynamo"


class _Standin(ModuleType):
    """Stands for the compiler as long as nothing is to be compiled; anything else imports the compiler itself."""

    @staticmethod
    def disable(function: Callable, *_: object, **__: object) -> Callable:
        """The function as it is: without the compiler, nothing compiles it."""
        return function

    @staticmethod
    def graph_break() -> None:
        """Do nothing, as outside of a compilation; optimisers call it in every step."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # of every module, for whoever looks at all of them
            raise AttributeError(name)
        if sys.modules[_NAME] is self:
            del sys.modules[_NAME]
        return getattr(import_module(_NAME), name)


def defer_compiler() -> None:
    """Import PyTorch's compiler only when it is used, in this process, unless it is imported already."""
    if _NAME not in sys.modules:
        sys.modules[_NAME] = torch._dynamo = _Standin(_NAME)
