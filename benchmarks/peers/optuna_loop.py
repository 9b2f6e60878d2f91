"""Plain Optuna around `train.run`, in one process, with a journal on disk: what its documentation leads one to write.

python optuna_loop.py JOURNAL TRIALS HOW WORD ...

HOW is `whole` for runs as a single one is; `trial` for such as our studies ask for, which keep the prepared rows and end with their
predictions for val; `once` for these with a configuration that is composed once and then changed, as a reader of our code would do it.
"""

from __future__ import annotations

import copy
import sys

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from studperf.config.load import load, load_overrides
from studperf.train.run import run


def main(journal: str, n_trials: str, how: str, *words: str) -> None:
    """A study of one parameter space: benchmarks/sweeps.py has the same in Hydra's grammar."""
    base = load_overrides(words).model_dump(mode="json")

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("optimizer.lr", 1e-4, 3e-2, log=True)
        weight_decay = trial.suggest_float("optimizer.weight_decay", 1e-6, 1e-1, log=True)
        dropout = trial.suggest_float("model.dropout", 0.1, 0.5)
        warmup = trial.suggest_float("scheduler.warmup", 0.0, 0.3)
        drawn = [
            f"optimizer.lr={lr}",
            f"optimizer.weight_decay={weight_decay}",
            f"model.dropout={dropout}",
            f"scheduler.warmup={warmup}",
        ]
        if how == "once":
            config = copy.deepcopy(base)
            config["optimizer"] |= {"lr": lr, "weight_decay": weight_decay}
            config["model"] |= {"dropout": dropout}
            config["scheduler"] |= {"warmup": warmup}
            checked = load(config)
        else:
            checked = load_overrides([*words, *drawn])
        record = run(checked, overrides=[*words, *drawn], is_trial=how != "whole")
        if record.best_value is None:
            raise RuntimeError("the run has no best epoch")
        return record.best_value

    study = optuna.create_study(
        study_name="mlp",
        storage=JournalStorage(JournalFileBackend(journal)),
        sampler=optuna.samplers.TPESampler(
            seed=0, n_startup_trials=10, multivariate=True, group=True, constant_liar=True
        ),
        pruner=optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    study.optimize(objective, n_trials=int(n_trials))
    sys.stdout.write(f"best {study.best_value:.4f}: {study.best_params}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
