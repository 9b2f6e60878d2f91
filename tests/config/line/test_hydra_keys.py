"""Each of Hydra's own keys is heeded, or refused with the key that does its work here; none is accepted and then ignored."""

from pathlib import Path

import pytest
from hydra.conf import HydraConf
from omegaconf import OmegaConf

from studperf.config.load import accept_command, compose
from studperf.errors import ConfigError

HEEDED = {"mode", "sweep", "sweeper", "launcher", "callbacks", "job"}
REFUSED = {
    "hydra.run.dir=X": "runs=FOLDER",
    "hydra.sweep.subdir=X": "runs=FOLDER",
    "hydra.output_subdir=.hydra": "record.json",
    "hydra.verbose=true": "log.txt",
    "hydra.verbose=[a,b]": "log.txt",
    "hydra.job.chdir=true": "runs=FOLDER",
    "hydra.job.name=x": "tracking.wandb.name",
    "hydra.job.id=3": "Hydra itself",
    "hydra.job.num=3": "Hydra itself",
    "hydra.job.override_dirname=x": "Hydra itself",
    "hydra.job.config.override_dirname.kv_sep=x": "overrides.yaml",
    "hydra.job.env_copy=[A]": "to disk",
    "hydra.searchpath=[file://x]": "--config-dir",
    "hydra.runtime.cwd=/": "Hydra itself",
    "hydra.overrides.task=[a]": "Hydra itself",
    "hydra.help.header=x": "--help",
    "hydra.hydra_help.template=x": "--hydra-help",
    "hydra/job_logging=default": "log.txt",
    "hydra/hydra_logging=default": "log.txt",
    "hydra.foo=1": "--hydra-help",
    "hydra=null": "--hydra-help",
    "~hydra/launcher": "can't be taken away",
    "hydra/launcher=joblib": "add -m",
    "hydra/sweeper=optuna": "add -m",
    "hydra.sweep.dir=x": "add -m",
}


def refusal(*words: str, is_multirun: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        accept_command(words, is_multirun=is_multirun)
    return str(caught.value)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(("word", "way_out"), REFUSED.items(), ids=REFUSED.keys())
def test_a_key_that_would_change_nothing_is_refused_with_the_way_out(
    word: str, way_out: str
) -> None:
    assert way_out in refusal(word)


def test_every_key_of_hydra_is_known_as_heeded_or_refused() -> None:
    named = {
        word.lstrip("~").replace("/", ".").split("=")[0].split(".")[1]
        for word in REFUSED
        if "." in word or "/" in word
    }
    ours = set(OmegaConf.structured(HydraConf)) - {"defaults"}
    assert ours <= HEEDED | named


@pytest.mark.parametrize(
    "words",
    [
        ["hydra.verbose=false"],
        ["hydra.mode=RUN"],
        ["hydra.job.env_set.A=1"],
        ["hydra.job.chdir=false"],
    ],
    ids=str,
)
def test_a_key_that_says_what_is_so_or_is_heeded_passes(words: list[str]) -> None:
    assert accept_command(words, is_multirun=False)


def test_mode_that_contradicts_the_flag_or_the_study_is_refused() -> None:
    assert "RUN contradicts -m" in refusal("hydra.mode=RUN", "seed=0,1", is_multirun=True)
    assert "leaves out the study" in refusal("sweeps=mlp", "hydra.mode=RUN")


def test_folder_of_a_multirun_is_not_taken_for_a_study() -> None:
    told = refusal("sweeps=mlp", "hydra.sweep.dir=x", is_multirun=True)
    assert "runs=FOLDER hydra.sweeper.study=NAME" in told
    assert accept_command(["seed=0,1", "hydra.sweep.dir=x"], is_multirun=True)


def test_a_plain_multirun_gets_the_sweeper_that_hands_results_back() -> None:
    for words in (["seed=0,1"], ["seed=0,1", "hydra/sweeper=basic"]):
        accepted = accept_command(words, is_multirun=True)
        assert accepted == ["seed=0,1", "hydra/sweeper=multirun"]


def test_a_key_of_hydra_in_a_file_of_ones_own_is_refused_as_well(here: Path) -> None:
    file = here / "conf" / "experiment" / "loud.yaml"
    file.write_text("# @package _global_\nhydra:\n  verbose: true\n")
    assert "hydra.verbose: changes nothing" in refusal("experiment=loud")


@pytest.mark.parametrize("word", ["experiment=first", "+experiment=first"])
def test_an_experiment_of_ones_own_is_taken_with_and_without_a_plus(here: Path, word: str) -> None:
    (here / "conf" / "experiment" / "first.yaml").write_text("# @package _global_\nseed: 7\n")
    accepted = accept_command([word], is_multirun=False)
    assert accepted[0] == "+experiment=first"
    assert compose(accepted[:1]).seed == 7


def test_an_experiment_that_is_not_there_is_told_by_what_to_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = refusal("+experiment=first")
    assert "./conf/experiment/NAME.yaml" in told
    assert "# @package _global_" in told


def test_an_experiment_without_its_header_is_told_the_line(here: Path) -> None:
    (here / "conf" / "experiment" / "bare.yaml").write_text("seed: 7\n")
    assert "must begin with the line: # @package _global_" in refusal("experiment=bare")


def test_all_experiments_of_a_folder_are_one_multirun(here: Path) -> None:
    for name in ("one", "two"):
        (here / "conf" / "experiment" / f"{name}.yaml").write_text("# @package _global_\nseed: 7\n")
    accepted = accept_command(["experiment=glob(*)"], is_multirun=True)
    assert accepted[0] == "+experiment=one,two"


def test_two_studies_on_one_line_are_refused() -> None:
    for words in (["sweeps=mlp,tabm"], ["sweeps=mlp", "sweeps=tabm"], ["model=mlp", "model=tabm"]):
        assert "is given twice" in refusal(*words, is_multirun=True) or "one study" in refusal(
            *words, is_multirun=True
        )


def test_no_study_said_aloud_is_no_fault() -> None:
    assert accept_command(["sweeps=null", "seed=3"], is_multirun=False)[0] == "seed=3"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("seed=range(0,1000000000)", "holds 1,000,000,000 values"),
        ("seed=range(0,inf)", "must be finite"),
        ("hydra.sweeper.max_batch_size=0", "at least 1"),
        ("hydra/launcher=joblib,basic", "takes one value"),
    ],
)
def test_what_would_hang_or_break_hydra_is_refused(word: str, says: str) -> None:
    assert says in refusal(word, "batch_size=8,16", is_multirun=True)
