"""The choice of what fits a run's model: lightning for a network, rounds for one that is grown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch import Callback

from studperf.config.code.grown import is_grown
from studperf.config.run import RunConfig
from studperf.data.encode import FeatureSpec
from studperf.train.best import load_best
from studperf.train.learner import Learner, Model
from studperf.train.network.fit import LightningLearner
from studperf.train.network.module import build_module
from studperf.train.trees import TreesLearner, build_trees


def choose_learner(
    config: RunConfig,
    callbacks: Sequence[Callback] = (),
    environment: ClusterEnvironment | None = None,
) -> Learner[Any]:
    """Return what fits the model of a configuration.

    Raises:
        ConfigError: the trainer's arguments were refused.
        TypeError: there are callbacks of lightning's for a model that it does not train.
    """
    if not is_grown(config.model):
        return LightningLearner(config, callbacks, environment)
    if callbacks:
        raise TypeError("lightning's callbacks are for networks; follow= is for every model")
    return TreesLearner(config)


def read_model(config: RunConfig, features: FeatureSpec, folder: Path) -> tuple[Model, str]:
    """Return a run's model with its best weights, and their sha256.

    Raises:
        RunError: the checkpoint is missing, damaged, or of another model.
    """
    # Mean and deviation of the target are among the weights.
    target = np.zeros(2)
    model: Model
    if is_grown(config.model):
        model = build_trees(config, features, target)
    else:
        model = build_module(config, features, target)
    return model, load_best(model, folder)
