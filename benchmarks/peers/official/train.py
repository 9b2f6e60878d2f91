"""`train.run` under Hydra's own entry, returning what hydra-optuna-sweeper minimises. Its environment is made by benchmarks/sweeps.py.

python train.py -m hydra.searchpath=[file://CONF] hydra/sweeper=official KEY=VALUE ...
"""

from __future__ import annotations

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from studperf.config.load import load, register_resolvers
from studperf.config.paths import config_dir
from studperf.train.run import run

register_resolvers()


@hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")
def main(cfg: DictConfig) -> float | None:
    """A trial."""
    return run(
        load(cfg), overrides=list(HydraConfig.get().overrides.task), is_trial=True
    ).best_value


if __name__ == "__main__":
    main()
