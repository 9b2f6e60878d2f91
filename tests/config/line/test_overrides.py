"""What Hydra would report one at a time, accept or put in its own words is refused at once, with the nearest name."""

from pathlib import Path

import pytest

from studperf.config.line.overrides import read_line
from studperf.config.load import _hydra, accept_overrides, load_overrides
from studperf.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = {
    file.parent.name: file.stem
    for file in sorted([*ROOT.glob("conf/*/*.yaml"), *ROOT.glob("sweeps/*.yaml")])
}


def refusal(*words: str) -> list[str]:
    """The faults that a refused command line is told."""
    with pytest.raises(ConfigError) as caught:
        accept_overrides(words)
    head, *faults = str(caught.value).splitlines()
    assert head == f"The configuration was refused ({len(faults)} fault{'s' * (len(faults) != 1)}):"
    return [fault.removeprefix("  - ") for fault in faults]


@pytest.mark.parametrize(
    "words",
    [
        [],
        [
            "seed=3",
            "model=tabm",
            "optimizer.lr=3e-3",
            "trainer.max_epochs=2",
            "model.d_embedding=8",
            "runs=some/where",
        ],
        [
            "+trainer.limit_train_batches=2",
            "++seed=1",
            "~trainer.deterministic",
            "data.source.path=null",
            "+data.features=[age, gender]",
        ],
        ["model=linear,mlp", "optimizer.lr=choice(1e-3,1e-2)", "seed=range(0,2)"],
        ["sweeps=mlp", "runs=some/where"],
    ],
    ids=["nothing", "values", "added and taken away", "sweeps", "a sweep file"],
)
def test_a_good_command_line_passes(words: list[str]) -> None:
    assert len(accept_overrides(words)) == len(words)


def test_every_value_of_a_sweep_is_tried() -> None:
    assert refusal("optimizer.lr=1e-3,fast,-1", "model=mlp,mlpp", "model.dropout=0.1,1.7") == [
        "optimizer.lr: must be a valid number, got 'fast'",
        "optimizer.lr: must be greater than 0, got -1",
        "model=mlpp: there is no model of this name; unknown; the nearest valid name is 'mlp'",
        "model.dropout: must be less than 1, got 1.7",
    ]


def test_values_of_a_sweep_are_composed_once_each_beside_the_first_of_the_others() -> None:
    seen = []
    with _hydra():
        line = read_line(
            ["seed=0,1", "batch_size=8,16"],
            check=lambda cfg: seen.append((cfg.seed, cfg.batch_size)) or [],
        )
    assert line.faults == []
    assert seen == [(0, 8), (1, 8), (0, 16)]


def test_a_sweep_of_lists_is_taken_apart_between_the_lists() -> None:
    assert refusal("model.d_hidden=[8],[16,x],[0]") == [
        "model.d_hidden: must be a valid integer, got 'x'",
        "model.d_hidden: must be greater than 0, got 0",
    ]


def test_a_fault_that_every_value_of_a_sweep_shares_is_told_once() -> None:
    assert refusal("seed=0,1", "+sead=1") == ["sead: unknown; the nearest valid name is 'seed'"]


def test_a_sweep_over_models_is_refused_where_one_has_no_such_argument() -> None:
    assert refusal("model=mlp,linear", "model.dropout=0.1") == ["model.dropout: unknown"]


def test_a_misspelt_key_is_refused_with_any_sign() -> None:
    assert refusal("seeed=1", "+sead=1", "++sed=1") == [
        f"{typo}: unknown; the nearest valid name is 'seed'" for typo in ("seeed", "sead", "sed")
    ]


def test_a_misspelt_option_is_refused_in_every_group() -> None:
    faults = refusal(*(f"{group}={option}x" for group, option in OPTIONS.items()))
    for (group, option), fault in zip(OPTIONS.items(), faults, strict=True):
        assert fault.startswith(f"{group}={option}x: there is no {group} of this name; unknown; ")
        assert repr(option) in fault or f"valid: {option}" in fault


def test_a_misspelt_option_hides_no_other_fault() -> None:
    assert refusal("model=mlpp", "seed=x", "nonsense") == [
        "nonsense: is not of the form key=value (quote it if the shell takes parts of it away)",
        "model=mlpp: there is no model of this name; unknown; the nearest valid name is 'mlp'",
        "seed: must be a valid integer, got 'x'",
    ]


def test_words_that_are_no_overrides_are_refused_each() -> None:
    words = ["model.dropout", "foo bar=3", "seed=[1", "seed={a", "a b", "model.=3", "3=3"]
    assert refusal(*words) == [
        f"{word}: is not of the form key=value (quote it if the shell takes parts of it away)"
        for word in words
    ]


@pytest.mark.parametrize("word", ["model=null", "model=3", "model=true"])
def test_an_option_that_is_no_name_is_refused_in_words(word: str) -> None:
    (fault,) = refusal(word)
    assert fault.casefold().startswith(word)


def test_a_word_without_a_key_is_refused() -> None:
    assert refusal("=3", "+=3", "~", "", "seed=x") == [
        "=3: the key is missing before '='",
        "+=3: the key is missing before '='",
        "~: names no key",
        "'': names no key",
        "seed: must be a valid integer, got 'x'",
    ]


def test_a_word_that_cannot_be_composed_hides_no_other_fault() -> None:
    faults = refusal("hydra.nonsense=1", "data.split=[0.9,0.9,0.1]", "+sead=1", "batch_size=0")
    for key in (
        "hydra.nonsense",
        "data.split",
        "sead: unknown; the nearest valid name is 'seed'",
        "batch_size: must be greater than 0",
    ):
        assert any(key in fault for fault in faults)


def test_a_deletion_of_what_is_not_there_is_refused() -> None:
    (fault,) = refusal("~model.colour")
    assert "model.colour" in fault


def test_an_interval_is_left_to_the_sweeper_of_studies() -> None:
    words = accept_overrides(["hydra/sweeper=optuna", "optimizer.lr=interval(1e-4,1e-2)"])
    assert words[1].lstrip("+") == "optimizer.lr=interval(1e-4,1e-2)"


def test_an_interval_without_a_study_is_refused_with_the_way_to_one() -> None:
    assert refusal("optimizer.lr=interval(1e-4,1e-2)", "batch_size=0") == [
        "optimizer.lr: an interval is varied by a study alone; add -m hydra/sweeper=optuna",
        "batch_size: must be greater than 0, got 0",
    ]


def test_a_study_s_key_without_a_study_is_refused_with_the_way_to_one() -> None:
    why = "is for a study; add -m sweeps=NAME, or -m hydra/sweeper=optuna"
    assert refusal("hydra.sweeper.n_trials=3", "batch_size=0") == [
        f"hydra.sweeper.n_trials: {why}",
        "batch_size: must be greater than 0, got 0",
    ]
    assert refusal("hydra.sweeper.foo=1") == [f"hydra.sweeper.foo: {why}"]
    assert refusal("hydra/sweeper=basic", "seed=0,1", "hydra.sweeper.n_trials=3") == [
        f"hydra.sweeper.n_trials: {why}"
    ]
    assert accept_overrides(["seed=0,1", "+hydra.sweeper.max_batch_size=1"])


def test_a_file_of_one_s_own_may_choose_the_sweeper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "conf" / "trainer" / "mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(
        "# @package _global_\ndefaults: [default@trainer, override /hydra/sweeper: optuna]\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    assert accept_overrides(["trainer=mine", "hydra.sweeper.n_trials=2", "seed=choice(1,2)"])


CALLS = {
    "an empty choice": ("choice()", "empty choice is not legal, got choice()"),
    "one end": ("interval(1)", "missing a required argument: 'end', got interval(1)"),
    "a misspelt function": (
        "intervall(1,2)",
        "intervall: unknown; the nearest valid name is 'interval'; got intervall(1,2)",
    ),
    "an open bracket": ("choice(1,2", "can't be read, do its brackets match? got choice(1,2"),
    "null among others": (
        "choice(null,1)",
        "choice(...) takes no null in Hydra; list the values without it: null,1",
    ),
    "an empty range": ("range(3,3)", "the range is empty, got range(3,3)"),
    "a range without steps": ("range(0,3,0)", "a range's step must not be 0, got range(0,3,0)"),
}


@pytest.mark.parametrize(("value", "message"), CALLS.values(), ids=CALLS.keys())
def test_a_mistake_in_the_grammar_of_sweeps_is_told_as_such(value: str, message: str) -> None:
    assert refusal(f"batch_size={value}", "sead=1") == [
        f"batch_size: {message}",
        "sead: unknown; the nearest valid name is 'seed'",
    ]


def test_values_that_only_composition_fills_in_are_checked() -> None:
    assert refusal("batch_size=${seed}", "seed=0") == ["batch_size: must be greater than 0, got 0"]


def test_a_valid_key_that_the_yaml_does_not_hold_needs_no_plus() -> None:
    loaded = load_overrides(["trainer.limit_train_batches=2", "data.features=[age]"])
    assert loaded.trainer["limit_train_batches"] == 2
    assert loaded.data.feature_names == ("age",)


def test_an_optional_key_can_be_taken_away() -> None:
    assert "deterministic" not in load_overrides(["~trainer.deterministic"]).trainer


@pytest.mark.parametrize(
    "path", ["my dir/ü.csv", "it's.csv", "a=b.csv", "file(1).csv", r"C:\tables\x.csv"]
)
def test_a_path_needs_no_quotes_beyond_the_shells(path: str) -> None:
    assert load_overrides([f"data.source.path={path}"]).data.source.path == path


@pytest.mark.parametrize(
    "words",
    [
        ("+seed=3",),
        ("+model=linear",),
        ("++model=linear",),
        ("model=mlp", "+model=linear"),
        ("data.columns={x:{kind:number}}",),
    ],
    ids=" ".join,
)
def test_what_hydra_refuses_is_refused_where_it_is_not_asked_first(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="The configuration was refused"):
        load_overrides(words)


@pytest.mark.parametrize("plus", ["", "++"])
def test_a_table_asked_for_by_name_must_be_there(plus: str) -> None:
    assert load_overrides([f"{plus}data.source.path=/nope.csv"]).data.source.otherwise == "fail"
    assert load_overrides([f"{plus}data.source.path=null"]).data.source.otherwise != "fail"


@pytest.mark.parametrize("name", ["2020", "null", "größe"])
def test_option_is_found_whatever_its_name_looks_like(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "conf" / "data"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert f"data={name}: there is no data of this name" in refusal(f"data={name}")[0]

    (folder / f"{name}.yaml").write_text((ROOT / "conf/data/students.yaml").read_text())
    assert load_overrides([f"data={name}"]).data.name == "students"
    assert accept_overrides([f"data={name}"]) == [f"data='{name}'"]


def test_options_that_look_like_numbers_can_be_gone_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "conf" / "data"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in ("2020", "2021"):
        (folder / f"{name}.yaml").write_text((ROOT / "conf/data/students.yaml").read_text())
    assert accept_overrides(["data=2020,2021,students"]) == ["data='2020','2021',students"]


@pytest.mark.parametrize(("key", "most"), [("repeat", 10_000), ("threads", 1024)])
def test_more_than_can_be_meant_is_refused(key: str, most: int) -> None:
    assert f"{key}: must be" in refusal(f"{key}={most + 1}")[0]
    assert accept_overrides([f"{key}={most}"]) == [f"{key}={most}"]


@pytest.mark.parametrize("key", ["project", "bucket"])
def test_variable_of_a_wrong_form_is_not_repeated(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", "zQ7_planted_Vx93")
    faults = refusal("cloud=vertex", f"cloud.{key}=${{oc.env:PLANTED}}")
    assert any(fault.startswith(f"cloud.{key}: must be") for fault in faults)
    assert not any("zQ7" in fault for fault in faults)
