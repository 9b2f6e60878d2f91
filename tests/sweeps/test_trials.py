"""Optuna's trials as plain values."""

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from studperf.sweeps.view.trials import view_trials

SPACE = {
    "lr": CategoricalDistribution(["1e-3", "0.01"]),
    "name": CategoricalDistribution(["sgd", "true"]),
    "dropout@mlp": FloatDistribution(0, 1),
}


def test_a_trials_values_words_and_error_are_kept() -> None:
    study = optuna.create_study()
    params = {"lr": "1e-3", "name": "true", "dropout@mlp": 0.5}
    study.add_trial(create_trial(value=5.0, params=params, distributions=SPACE))
    study.add_trial(
        create_trial(
            state=TrialState.FAIL,
            user_attrs={"error": "boom", "words": ["a=1"], "worker": "w", "retry_of": 0},
        )
    )
    view = view_trials(study.trials, ["val/rmse"], ["minimize"])
    first, second = view.trials
    # A number drawn as a word has a place on an axis; a word that YAML reads as no number has not.
    assert first.settings == {"lr": 0.001, "name": "true", "dropout@mlp": 0.5}
    assert first.words == ("lr=1e-3", "name=true", "dropout=0.5")
    assert (first.state, first.values, view.ranked, view.leading) == (
        "complete",
        (5.0,),
        [first],
        [first],
    )
    assert (second.error, second.words, second.worker, second.retry_of) == (
        "boom",
        ("a=1",),
        "w",
        0,
    )
    assert second.values == ()


def test_of_several_objectives_those_lead_that_no_other_beats() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    study.add_trials([create_trial(values=pair) for pair in ((1.0, 1.0), (2.0, 2.0), (3.0, 1.5))])
    view = view_trials(study.trials, ["a", "b"], ["minimize", "maximize"])
    assert {trial.number for trial in view.leading} == {0, 1}
