"""The mean, ridge regression and gradient boosting, fitted to the training rows."""
