import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from studperf.config.study import Conditional
from studperf.sweeps.space import Choice, Numbers, Space, Word, read, read_space, write

FORMS = {
    "a choice of numbers": ("choice(64,128)", Choice(("64", "128")), [64, 128]),
    "a choice of words": ("choice(silu,relu)", Choice(("silu", "relu")), ["silu", "relu"]),
    "a choice of lists": (
        "choice([64,32],[128],[])",
        Choice(("[64,32]", "[128]", "[]")),
        [[64, 32], [128], []],
    ),
    "a choice of mappings": (
        "choice({a:1},{b:2})",
        Choice(("{a:1}", "{b:2}")),
        [{"a": 1}, {"b": 2}],
    ),
    "a choice of booleans": ("choice(true,false)", Choice(("true", "false")), [True, False]),
    "a choice with a comma in a text": ("choice('x,y',z)", Choice(("x\\,y", "z")), ["x,y", "z"]),
    "a choice with a space in a text": ("choice('x y',z)", Choice(("x\\ y", "z")), ["x y", "z"]),
    "a choice of one": ("choice(5)", Choice(("5",)), [5]),
    "a choice turned to integers": ("int(choice(1.5,2))", Choice(("1", "2")), [1, 2]),
    "a list of values": ("1e-3,3e-3", Choice(("0.001", "0.003")), [0.001, 0.003]),
    "a list with null": ("null,0.1", Choice(("null", "0.1")), [None, 0.1]),
    "the word None stays a word": ("choice(None,b)", Choice(("None", "b")), ["None", "b"]),
    "a sorted list": ("sort(3,1,2)", Choice(("1", "2", "3")), [1, 2, 3]),
    "an interval": ("interval(0,0.5)", Numbers(0.0, 0.5), None),
    "an interval of whole numbers": (
        "int(interval(1,100))",
        Numbers(1, 100, is_int=True),
        list(range(1, 101)),
    ),
    "a logarithmic interval": (
        "tag(log,interval(1e-4,1e-1))",
        Numbers(1e-4, 1e-1, is_log=True),
        None,
    ),
    "a logarithmic interval of whole numbers": (
        "tag(log,int(interval(8,256)))",
        Numbers(8, 256, is_log=True, is_int=True),
        None,
    ),
    "a range": ("range(1,10,2)", Numbers(1, 9, step=2, is_int=True), [1, 3, 5, 7, 9]),
    "a range from 0": ("range(4)", Numbers(0, 3, step=1, is_int=True), [0, 1, 2, 3]),
    "a falling range": ("range(10,1,-3)", Numbers(4, 10, step=3, is_int=True), [4, 7, 10]),
    "a range of fractions": (
        "range(0,1,0.25)",
        Numbers(0.0, 0.75, step=0.25),
        [0.0, 0.25, 0.5, 0.75],
    ),
    "a range turned to fractions": (
        "float(range(1,4))",
        Numbers(1.0, 3.0, step=1.0),
        [1.0, 2.0, 3.0],
    ),
    "a range of one": ("range(1,2)", Choice(("1",)), [1]),
}


def space_of(text: str) -> Space:
    reading = read_space([f"key={text}"], {}, [])
    assert reading.faults == []
    return reading.space


@pytest.mark.parametrize(("text", "domain", "values"), FORMS.values(), ids=FORMS.keys())
def test_every_form_of_the_grammar_becomes_its_domain(
    text: str, domain: object, values: list | None
) -> None:
    (dimension,) = space_of(text).dimensions
    assert dimension.domain == domain
    grid = domain.grid()
    assert (None if grid is None else [read(write(value)) for value in grid]) == values


@pytest.mark.parametrize("text", [text for text, _, _ in FORMS.values()], ids=FORMS.keys())
def test_what_is_drawn_round_trips_through_hydra(text: str) -> None:
    space = space_of(text)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    parser = OverridesParser.create()
    for _ in range(20):
        trial = study.ask()
        (word,) = space.suggest(trial)
        parsed = parser.parse_override(str(word))
        assert not parsed.is_sweep_override()
        assert parsed.value() == word.value
        assert type(parsed.value()) is type(word.value)
        (dimension,) = space.dimensions
        assert trial.distributions["key"] == dimension.domain.distribution()
        study.tell(trial, 0.0)


REFUSED = {
    "an empty choice": ("choice()", "empty choice"),
    "an empty range": ("range(3,3)", "the range is empty"),
    "ends in the wrong order": ("interval(5,1)", "the lower end must come first"),
    "equal ends": ("interval(1,1)", "the lower end must come first"),
    "a logarithm of 0": ("tag(log,interval(0,1))", "must begin above 0"),
    "an end without end": ("interval(0,inf)", "must be finite"),
    "one end": ("interval(1)", "missing"),
    "null in choice": ("choice(null,0.1)", "list the values without it: null,0.1"),
    "another tag": (
        "tag(lg,interval(1,2))",
        "tag lg: unknown; the nearest valid name is 'log', got tag(lg,interval(1,2))",
    ),
    "a value twice": ("choice(1,2,1)", "stands there twice"),
    "no grammar at all": ("choice(1,", "got choice(1,"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_mistaken_form_is_a_fault_with_its_place(text: str, message: str) -> None:
    (fault,) = read_space([], {"optimizer.lr": text}, []).faults
    assert fault.where == "params.optimizer.lr"
    assert message in fault.what


def test_children_are_drawn_only_where_their_condition_holds() -> None:
    blocks = [
        Conditional(
            when={"model": "tabm"}, params={"model.n_blocks": "range(1,4)", "model.n_members": 8}
        ),
        Conditional(when={"model": "mlp"}, params={"model.n_blocks": "range(5,7)"}),
    ]
    space = read_space([], {"model": "choice(linear,mlp,tabm)"}, blocks).space
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    seen = set()
    for _ in range(60):
        words = {word.key: word.value for word in space.suggest(study.ask())}
        seen.add((words["model"], tuple(words)))
        if words["model"] == "tabm":
            assert words["model.n_blocks"] in {1, 2, 3}
        if words["model"] == "mlp":
            assert words["model.n_blocks"] in {5, 6}
    assert seen == {
        ("linear", ("model",)),
        ("mlp", ("model", "model.n_blocks")),
        ("tabm", ("model", "model.n_blocks", "model.n_members")),
    }


def test_a_fixed_word_takes_the_place_of_what_the_file_varies() -> None:
    space = read_space(
        ["optimizer.lr=1e-3", "seed=4"],
        {"optimizer.lr": "interval(0,1)", "model.dropout": "interval(0,0.5)"},
        [],
    ).space
    assert [d.key for d in space.dimensions] == ["model.dropout"]
    assert space.fixed == (Word("optimizer.lr", "1e-3"), Word("seed", "4"))


def test_a_fixed_choice_decides_about_its_children() -> None:
    blocks = [
        Conditional(when={"model": name}, params={"model.dropout": "interval(0,0.5)"})
        for name in ("mlp", "tabm")
    ]
    space = read_space(["model=mlp"], {"model": "choice(linear,mlp,tabm)"}, blocks).space
    drawn = optuna.create_study().ask()
    assert [word.key for word in space.suggest(drawn)] == ["model.dropout"]
    assert list(drawn.params) == ["model.dropout@mlp"]


def test_a_fixed_child_is_set_only_in_its_branch() -> None:
    blocks = [Conditional(when={"model": "tabm"}, params={"model.n_blocks": "range(1,4)"})]
    space = read_space(["model.n_blocks=2"], {"model": "choice(linear,tabm)"}, blocks).space
    grid = {
        line["model"]: [str(w) for w in space.suggest(optuna.trial.FixedTrial(line))]
        for line in space.grid()
    }
    assert grid == {"linear": ["model=linear"], "tabm": ["model=tabm", "model.n_blocks=2"]}


def test_a_choice_narrowed_on_the_command_line_leaves_the_other_branches_out() -> None:
    blocks = [
        Conditional(when={"model": name}, params={"k": "range(1,4)"}) for name in ("mlp", "tabm")
    ]
    reading = read_space(["model=choice(linear,mlp)"], {"model": "choice(linear,mlp,tabm)"}, blocks)
    assert reading.faults == []
    assert [d.name for d in reading.space.dimensions] == ["model", "k@mlp"]


CONDITIONS = {
    "an unknown parent": ({"modle": "tabm"}, "the nearest valid name is 'model'"),
    "a value that never comes": (
        {"model": "tabn"},
        "model is never 'tabn'; unknown; the nearest valid name is 'tabm'",
    ),
    "a parent that is a number": ({"lr": "1"}, "a condition needs a choice"),
}


@pytest.mark.parametrize(("when", "message"), CONDITIONS.values(), ids=CONDITIONS.keys())
def test_a_condition_that_can_never_hold_is_a_fault(when: dict[str, str], message: str) -> None:
    params = {"model": "choice(mlp,tabm)", "lr": "interval(0,1)"}
    (fault,) = read_space([], params, [Conditional(when=when, params={"a": "range(3)"})]).faults
    assert message in fault.what


def test_a_grid_has_every_combination_of_its_branches_once() -> None:
    blocks = [Conditional(when={"model": "tabm"}, params={"k": "range(1,4)"})]
    space = read_space([], {"model": "choice(linear,tabm)", "lr": "0.1,0.2"}, blocks).space
    lines = space.grid()
    assert len(lines) == len({tuple(line.items()) for line in lines}) == 2 + 2 * 3


def test_an_interval_has_no_grid() -> None:
    with pytest.raises(ValueError, match="a grid needs choice"):
        space_of("interval(0,1)").grid()


def test_probes_reach_both_ends_of_every_domain() -> None:
    blocks = [Conditional(when={"model": "tabm"}, params={"k": "range(1,4)"})]
    space = read_space([], {"model": "choice(linear,tabm)", "lr": "interval(0,1)"}, blocks).space
    seen = {str(word) for words in space.probes() for word in words}
    assert seen == {"model=linear", "model=tabm", "lr=0.0", "lr=1.0", "k=1", "k=3"}


@pytest.mark.parametrize("value", [None, True, False, 0.1, 1e-10, 3, "word"])
def test_a_written_value_is_read_back(value: object) -> None:
    assert read(write(value)) == value
