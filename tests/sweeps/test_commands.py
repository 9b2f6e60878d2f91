"""`python -m studperf.sweeps`, as it is typed; what it shows of a study is seen in test_study_command.py."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from studperf.errors import ConfigError
from studperf.sweeps.__main__ import main
from studperf.sweeps.storage import JOURNAL
from studperf.sweeps.study import Plan, Study
from studperf.sweeps.view.archive import Saved, find_study, repeat_command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["list", "foo"],
            "list takes no study, got foo; to see one: python -m studperf.sweeps show foo",
        ),
        (["list", "runs=nowhere"], "runs=nowhere: there is no such folder"),
        (["show", "mlp", "runs=nowhere"], "runs=nowhere: there is no such folder"),
        (["list", "rnus=."], "rnus: unknown; the nearest valid name is 'runs'"),
        (["list", "runs=.", "runs=runs"], "runs: is given twice, as . and runs"),
        (
            ["show", "mlp", "extra"],
            "name one study, got 2: mlp extra; say: python -m studperf.sweeps show STUDY",
        ),
        (["delete"], "name one study; say: python -m studperf.sweeps delete STUDY"),
        (["shwo", "mlp"], "shwo: unknown; the nearest valid name is 'show'"),
    ],
)
def test_words_that_mean_nothing_are_refused(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sweeps", *words])
    with pytest.raises(ConfigError) as caught:
        main()
    assert str(caught.value) == message


def test_a_place_without_studies_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sweeps", "list"])
    main()
    assert capsys.readouterr().out == "There are no studies here.\n"


def test_a_study_whose_file_is_gone_says_so(tmp_path: Path) -> None:
    study = optuna.create_study()
    study.add_trial(optuna.create_trial(value=1.0, user_attrs={"words": ["optimizer.lr=0.1"]}))
    saved = Saved("old", tmp_path, study, study.trials, {"fixed": ["sweeps=gone", "model=mlp"]})
    with pytest.raises(
        ConfigError,
        match=r"^old: what it began with, sweeps=gone model=mlp, can't be composed any more: .*sweeps/gone",
    ):
        repeat_command(saved)


def test_a_trial_whose_worker_is_gone_is_not_called_running(make_plan: Callable[..., Plan]) -> None:
    study = Study(make_plan(n_trials=2))
    study.take()
    assert counts_of(study) == {"running": 1}
    study.liveness._lock.release()  # as the system does for one that is killed
    assert counts_of(study) == {"to be put back": 1}


def test_of_a_copied_study_nothing_is_known_of_its_workers(
    make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    study = Study(make_plan(n_trials=2))
    study.take()
    copied = tmp_path / "copied" / study.plan.name
    copied.mkdir(parents=True)
    shutil.copy(study.plan.folder / JOURNAL, copied)
    assert find_study(str(copied), Path()).counts["running"] == 1


def test_marks_that_may_not_be_opened_hide_no_study(
    make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(make_plan(n_trials=2))
    study.take()

    def refuse(self: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("studperf.sweeps.storage.FileLock.acquire", refuse)
    monkeypatch.setattr("studperf.sweeps.storage._JournalLock.acquire", lambda self: True)
    monkeypatch.setattr("studperf.sweeps.storage._JournalLock.release", lambda self: None)
    assert find_study(str(study.plan.folder), Path()).counts["running"] == 1


def counts_of(study: Study) -> dict[str, int]:
    return {kind: n for kind, n in find_study(str(study.plan.folder), Path()).counts.items() if n}
