"""The commands as functions without arguments, for the scripts condiff-train … and train.py …

A command is imported when it runs, so that its help does not import torch.
"""

import sys
from collections.abc import Callable
from importlib import import_module

from condiff.commands.help import help_text


def _command(name: str) -> Callable[[], None]:
    def run() -> None:
        if {"-h", "--help"} & set(sys.argv[1:]):
            print(help_text(name))
        else:
            import_module(f"condiff.commands.{name}").main()

    return run


train, sample, evaluate, reconstruct, likelihood, ema, prepare, export, app = map(
    _command, ("train", "sample", "evaluate", "reconstruct", "likelihood", "ema", "prepare", "export", "app")
)
