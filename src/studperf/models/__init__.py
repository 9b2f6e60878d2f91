"""Models, one architecture a file.

The contract of a model: `Model(features: FeatureSpec, *, ...)` with `forward(x_num, x_cat)`, where

- `x_num`: (B, F) float32, encoded numbers and flags; F may be 0,
- `x_cat`: (B, C) int64, codes below the column's cardinality; C may be 0,
- the result: (B,), or (B, K) for an ensemble of K members, standardised target.

Letters are the same in every file: B rows, F numeric features, C categorical columns, D embedding
width, K ensemble members. A model knows nothing of units, losses or optimizers. The types of its
hyperparameters, ranges included, are the annotations of its constructor: the configuration is
checked against them. A model `wide` is added by two files, `models/wide.py` and
`conf/model/wide.yaml`.
"""
