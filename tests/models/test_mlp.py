"""The multilayer perceptron."""

import torch

from studperf.data.encode import FeatureSpec
from studperf.models.mlp import MLP


def test_a_single_width_is_one_hidden_layer() -> None:
    features = FeatureSpec(n_numbers=3, cardinalities=(4,))
    models = []
    for d_hidden in (8, (8,)):
        torch.manual_seed(0)
        models.append(MLP(features, d_hidden=d_hidden, dropout=0.1, activation="relu", linear_skip=True))
    one, same = (model.state_dict() for model in models)
    assert one.keys() == same.keys()
    assert all(torch.equal(one[key], same[key]) for key in one)
