"""Plain Optuna around `train.run`, in one process, with a journal on disk: what its documentation leads one to write.

python optuna_loop.py JOURNAL TRIALS IS_TRIAL WORD ...

IS_TRIAL is 1 for runs that keep the prepared rows and end with their predictions for val, as our studies ask for them; 0 for whole ones.
"""

from __future__ import annotations

import sys

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from studperf import train
from studperf.config import load_overrides


def main(journal: str, n_trials: str, is_trial: str, *words: str) -> None:
    """A study of one parameter space: benchmarks/sweeps.py has the same in Hydra's grammar."""

    def objective(trial: optuna.Trial) -> float:
        drawn = [
            f"optimizer.lr={trial.suggest_float('optimizer.lr', 1e-4, 3e-2, log=True)}",
            f"optimizer.weight_decay={trial.suggest_float('optimizer.weight_decay', 1e-6, 1e-1, log=True)}",
            f"model.dropout={trial.suggest_float('model.dropout', 0.1, 0.5)}",
            f"scheduler.warmup={trial.suggest_float('scheduler.warmup', 0.0, 0.3)}",
        ]
        record = train.run(load_overrides([*words, *drawn]), overrides=[*words, *drawn], is_trial=is_trial == "1")
        if record.best_value is None:
            raise RuntimeError("the run has no best epoch")
        return record.best_value

    study = optuna.create_study(
        study_name="mlp",
        storage=JournalStorage(JournalFileBackend(journal)),
        sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=10, multivariate=True, group=True, constant_liar=True),
        pruner=optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    study.optimize(objective, n_trials=int(n_trials))
    sys.stdout.write(f"best {study.best_value:.4f}: {study.best_params}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
