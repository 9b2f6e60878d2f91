"""Put on PYTHONPATH of a job's machines: each process of a run tells the hash of the weights that it ended with."""

import builtins
import os
import sys
from typing import Any

_import = builtins.__import__


def import_and_spy(*args: Any, **kwargs: Any) -> Any:
    module = _import(*args, **kwargs)
    fit = sys.modules.get("studperf.train.network.fit")
    if fit is not None and hasattr(fit, "_run_trainer") and not hasattr(fit, "_is_spied"):
        fit._is_spied = True
        best = sys.modules["studperf.train.best"]
        run = fit._run_trainer

        def run_and_tell(trainer: Any, module: Any, *more: Any) -> None:
            run(trainer, module, *more)
            sys.stdout.write(
                f"rank {trainer.global_rank} of {trainer.world_size} ends with {best.weights_sha256(module.state_dict())}\n"
            )

        fit._run_trainer = run_and_tell
    return module


# Who collects doctests imports this file too.
if os.environ.get("STUDPERF_SPY"):
    builtins.__import__ = import_and_spy
