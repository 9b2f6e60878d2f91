import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from studperf.config.interpolation import (
    escape,
    find_references,
    guard_environment,
    resolve,
    resolve_sweeper,
)
from studperf.config.load import load_overrides
from studperf.errors import ConfigError
from studperf.sweeps.compose import Composer
from studperf.sweeps.space import Word

VALUE = "value-of-the-planted-variable"
PARTS = ("${", "}", "$", "\\", "{", ":", "oc.env:PLANTED", "runs", "'", '"', " ", "?", "a")


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", VALUE)


@given(st.lists(st.sampled_from(PARTS), max_size=8).map("".join))
def test_what_is_escaped_comes_back_as_it_was(text: str) -> None:
    raw = escape({"data": {"columns": {"c": {"levels": [text]}}}})
    assert find_references(raw) == []
    assert resolve(raw)["data"]["columns"]["c"]["levels"] == [text]


@pytest.mark.parametrize(
    "key",
    [
        "data.columns.gender.levels=[Female,'X']",
        "data.columns.gender.why='X'",
        "data.columns.age.unit='X'",
        "data.target.unit='X'",
        "data.target.column='X'",
        "data.source.missing=['X']",
        "data.allow_leaks=['X']",
        "data.features=['X']",
    ],
)
@pytest.mark.parametrize("text", ["${oc.env:PLANTED}", "${runs}", "a ${.kind} b"])
def test_no_reference_is_followed_where_a_text_of_a_table_stands(key: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_overrides([key.replace("X", text)])
    assert "is text, and would be read as a reference" in str(caught.value)
    assert VALUE not in str(caught.value)


@pytest.mark.parametrize(
    "word",
    [
        "runs=${oc.env:PLANTED}",
        "data.name=${oc.env:PLANTED}",
        "data.source.path=${oc.env:PLANTED}.csv",
        "tracking.wandb.name='a ${oc.decode:${oc.env:PLANTED}}'",
        "tracking.wandb.tags=['${oc.env:PLANTED}']",
        "seed=${oc.env:PLANTED}",
        "model.d_hidden=${oc.env:PLANTED}",
        "data.split.seed=${now:%Y}",
        "runs='${${runs}:PLANTED}'",
    ],
)
def test_no_other_key_may_read_the_environment(word: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(word.partition("=")[0])) as caught:
        load_overrides([word])
    assert VALUE not in str(caught.value)


def test_all_such_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"\(2 faults\)"):
        load_overrides(["runs=${oc.env:PLANTED}", "data.name=${oc.env:PLANTED}"])


def test_keys_that_say_so_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "some-project")
    monkeypatch.delenv("STUDPERF_BUCKET", raising=False)
    cloud = load_overrides(["cloud=vertex"]).cloud
    assert (getattr(cloud, "project", ""), getattr(cloud, "bucket", "")) == ("some-project", None)


def test_no_key_can_refer_to_one_that_reads_the_environment() -> None:
    words = ["cloud=vertex", "cloud.project=${oc.env:PLANTED}", "runs=${cloud.project}"]
    with pytest.raises(ConfigError, match="runs: must be a valid string, got None") as caught:
        load_overrides(words)
    assert VALUE not in str(caught.value)


def test_references_between_keys_go_on_to_work() -> None:
    config = load_overrides(["runs=somewhere/${data.name}", "tracking.wandb.group=${runs}"])
    assert config.runs == "somewhere/students"
    assert config.tracking.wandb.group == "somewhere/students"


def test_a_value_that_is_still_missing_is_named_and_a_level_may_be_question_marks() -> None:
    with pytest.raises(ConfigError, match=r"runs: has no value yet; set it: runs=\.\.\."):
        load_overrides(["runs=???"])
    config = load_overrides(["data.columns.gender.levels=[Female,'???']"])
    assert config.data.columns["gender"].levels == ("Female", "???")


def test_the_address_of_a_storage_is_read_by_the_study_alone() -> None:
    guard_environment()
    text = "${oc.env:PLANTED,null}"
    cfg = OmegaConf.create(
        {"hydra": {"sweeper": {"storage": text, "study": "${hydra.sweeper.storage}"}}}
    )
    assert OmegaConf.to_container(cfg, resolve=True) == {
        "hydra": {"sweeper": {"storage": "***", "study": "***"}}
    }
    assert resolve_sweeper(cfg.hydra.sweeper) == {"storage": VALUE, "study": "***"}


def test_a_configuration_that_is_not_ours_reads_the_environment_as_ever() -> None:
    guard_environment()
    assert OmegaConf.create({"path": "${oc.env:PLANTED}"}).path == VALUE
    assert OmegaConf.create({"path": "${oc.env:NO_SUCH_VARIABLE,3}"}).path == "3"


def test_a_trial_follows_no_reference_of_its_words() -> None:
    composer = Composer([Word("data", "simulated")])
    with pytest.raises(ConfigError, match=r"tracking\.wandb\.name") as caught:
        composer.plain([Word("tracking.wandb.name", "${oc.env:PLANTED}")])
    assert VALUE not in str(caught.value)


def test_words_that_repeat_a_trial_say_what_its_texts_say() -> None:
    words = [Word("data.columns.gender.levels", "[Female,'\\\\\\${oc.env:PLANTED}']")]
    composer = Composer([])
    wanted = composer.plain(words)["data"]["columns"]["gender"]["levels"]
    again = load_overrides(composer.repeat(words))
    assert list(again.data.columns["gender"].levels or ()) == wanted
    assert wanted[1] == "\\${oc.env:PLANTED}"


def test_a_defaults_list_reads_no_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf" / "trainer").mkdir(parents=True)
    (tmp_path / "conf" / "trainer" / "own.yaml").write_text("defaults:\n  - ${oc.env:PLANTED}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_overrides(["trainer=own"])
    assert VALUE not in str(caught.value)
