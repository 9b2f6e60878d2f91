"""A training script as popular Lightning-Hydra templates have it: everything is imported at the top and built from YAML.

python train.py data.path=TABLE.csv data.batch_size=256 trainer.max_epochs=30
"""

from __future__ import annotations

import logging
import sys

import hydra
import lightning as L  # noqa: N812 - as everyone writes it
import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from omegaconf import DictConfig

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> dict[str, torch.Tensor]:
    """Fits, then tests with the best checkpoint."""
    if cfg.get("seed"):
        L.seed_everything(cfg.seed, workers=True)
    log.info("Instantiating datamodule <%s>", cfg.data._target_)
    datamodule: LightningDataModule = hydra.utils.instantiate(cfg.data)
    log.info("Instantiating model <%s>", cfg.model._target_)
    model: LightningModule = hydra.utils.instantiate(cfg.model)
    callbacks: list[Callback] = [hydra.utils.instantiate(node) for node in cfg.callbacks.values()]
    log.info("Instantiating trainer <%s>", cfg.trainer._target_)
    trainer: Trainer = hydra.utils.instantiate(cfg.trainer, callbacks=callbacks, logger=False)
    trainer.fit(model=model, datamodule=datamodule)
    metrics = dict(trainer.callback_metrics)
    trainer.test(model=model, datamodule=datamodule, ckpt_path="best", weights_only=True)
    return {**metrics, **trainer.callback_metrics}


@hydra.main(version_base="1.3", config_path="configs", config_name="train.yaml")
def main(cfg: DictConfig) -> None:
    """The command."""
    # studperf's environment holds gcsfs for DVC, and ModelCheckpoint would import it (0.4 s); a template's own does not hold it.
    sys.modules["gcsfs"] = None  # type: ignore[assignment]
    torch.set_num_threads(1)
    train(cfg)


if __name__ == "__main__":
    main()
