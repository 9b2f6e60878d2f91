"""Signatures are read from source text; Python's own view of the same constructors is the peer."""

import inspect
import subprocess
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from studperf.config.code import signature
from studperf.config.code.signature import (
    Signature,
    TargetNotFoundError,
    check_node,
    read_signature,
)

ROOT = Path(__file__).resolve().parents[3]
TARGETS = sorted(
    {
        yaml.safe_load(file.read_text())["_target_"]
        for file in (ROOT / "conf" / "model").glob("*.yaml")
    }
)

Plant = Callable[[dict[str, str]], None]


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """Writes modules that Python can find. Each begins with an error, so that importing one fails the test."""
    cached = (signature.read_signature, signature.module_file)

    def write(files: dict[str, str]) -> None:
        for name, text in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text('raise RuntimeError("imported")\n' + textwrap.dedent(text))

    for function in cached:
        function.cache_clear()
    monkeypatch.syspath_prepend(tmp_path)
    yield write
    for function in cached:
        function.cache_clear()


@pytest.fixture
def read(plant: Plant) -> Callable[[str], Signature]:
    """The signature of `Wide` in a module of this text."""

    def read_text(text: str) -> Signature:
        plant({"planted.py": text})
        return read_signature("planted.Wide")

    return read_text


def faults_of(node: dict[str, Any], *given: str) -> list[str]:
    return [str(fault) for fault in check_node(node, "model", given=frozenset(given))[1]]


def as_python_sees(constructor: Callable[..., Any]) -> tuple[list[str], set[str], bool]:
    parameters = list(inspect.signature(constructor).parameters.values())
    kinds = {p.kind for p in parameters}
    named = [p for p in parameters if p.kind not in {p.VAR_KEYWORD, p.VAR_POSITIONAL}]
    return (
        [p.name for p in named],
        {p.name for p in named if p.default is p.empty},
        inspect.Parameter.VAR_KEYWORD in kinds,
    )


def as_read(found: Signature) -> tuple[list[str], set[str], bool]:
    return list(found.annotations), set(found.required), found.is_open


@pytest.mark.parametrize("target", TARGETS)
def test_signatures_of_our_models_are_those_that_python_sees(target: str) -> None:
    module, _, name = target.rpartition(".")
    constructor = getattr(__import__(module, fromlist=[name]), name)
    found = read_signature(target)
    assert as_read(found) == as_python_sees(constructor)
    hints = typing.get_type_hints(constructor.__init__, include_extras=True)
    for argument in set(found.annotations) - {"features"}:
        assert found.annotations[argument] == hints[argument]


@pytest.mark.parametrize(
    "name", ["Trainer", "callbacks.EarlyStopping", "callbacks.ModelCheckpoint", "loggers.CSVLogger"]
)
def test_signatures_of_lightning_are_those_that_python_sees(name: str) -> None:
    import lightning.pytorch as pl

    constructor: Any = pl
    for part in name.split("."):
        constructor = getattr(constructor, part)
    assert as_read(read_signature(f"lightning.pytorch.{name}")) == as_python_sees(constructor)


def test_the_nearest_argument_of_the_trainer_is_named_without_importing_anything_heavy() -> None:
    script = """
        import sys
        from studperf.config.load import load_overrides
        from studperf.errors import ConfigError
        try:
            load_overrides(["trainer.max_epoch=5"])
        except ConfigError as error:
            sys.stdout.write(str(error))
        heavy = {"torch", "lightning", "pandas", "sklearn", "scipy", "matplotlib", "tabm", "wandb", "optuna"} & set(sys.modules)
        sys.stdout.write(f"\\nheavy: {sorted(heavy)}")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1:] == [
        "  - trainer.max_epoch: unknown; the nearest valid name is 'max_epochs'",
        "heavy: []",
    ]


def test_required_arguments_are_those_without_a_default(read: Callable[[str], Signature]) -> None:
    found = read("""
        class Wide:
            def __init__(self, features, /, depth: int, width: int = 3, *, rate: float, skip: bool = True) -> None: ...
    """)
    assert list(found.annotations) == ["features", "depth", "width", "rate", "skip"]
    assert found.required == {"features", "depth", "rate"}
    assert not found.is_open


def test_an_inherited_constructor_is_found(read: Callable[[str], Signature]) -> None:
    found = read("""
        class Base:
            def __init__(self, depth: int) -> None: ...

        class Wide(Base):
            pass
    """)
    assert found == Signature({"depth": int}, frozenset({"depth"}))


def test_a_base_without_a_constructor_is_passed_over(read: Callable[[str], Signature]) -> None:
    found = read("""
        class Mixin:
            def describe(self) -> str: ...

        class Base:
            def __init__(self, depth: int) -> None: ...

        class Wide(Mixin, Base):
            pass
    """)
    assert found == Signature({"depth": int}, frozenset({"depth"}))


def test_the_nearest_constructor_of_the_ancestors_counts(read: Callable[[str], Signature]) -> None:
    found = read("""
        class Grandparent:
            def __init__(self, depth: int) -> None: ...

        class Parent(Grandparent):
            def __init__(self, width: int) -> None: ...

        class Wide(Parent):
            pass
    """)
    assert list(found.annotations) == ["width"]


def test_a_class_whose_base_cannot_be_read_stays_open(read: Callable[[str], Signature]) -> None:
    assert read("class Wide(made_by(something)): ...").is_open


def test_a_constructor_of_another_module_is_inherited(plant: Plant) -> None:
    plant(
        {
            "base_room.py": "class Base:\n    def __init__(self, depth: int) -> None: ...\n",
            "wide_room.py": "from base_room import Base as Ground\n\nclass Wide(Ground): ...\n",
        }
    )
    assert list(read_signature("wide_room.Wide").annotations) == ["depth"]


def test_relative_imports_are_followed(plant: Plant) -> None:
    constructor = "    def __init__(self, {}: int) -> None: ...\n"
    plant(
        {
            "house/__init__.py": "from .rooms import Wide\nfrom .rooms.inner import Narrow as Slim\n",
            "house/ground.py": "class Ground:\n" + constructor.format("depth"),
            "house/rooms/__init__.py": "from .wide import Wide\n",
            "house/rooms/wide.py": "from ..ground import Ground\n\nclass Wide(Ground): ...\n",
            "house/rooms/inner.py": "from . import Wide\nfrom .. import ground\n\nclass Narrow(Wide):\n"
            + constructor.format("width"),
            "house/rooms/third.py": "from . import Wide\n\nclass Third(Wide): ...\n",
        }
    )
    assert list(read_signature("house.Wide").annotations) == ["depth"]
    assert list(read_signature("house.rooms.third.Third").annotations) == ["depth"]
    assert list(read_signature("house.Slim").annotations) == ["width"]


def test_a_class_with_open_keywords_takes_any_name_but_checks_the_ones_it_states(
    read: Callable[[str], Signature],
) -> None:
    assert read("""
        class Wide:
            def __init__(self, depth: int, **kwargs) -> None: ...
    """).is_open
    assert faults_of({"_target_": "planted.Wide", "depth": "deep", "colour": "red"}) == [
        "model.depth: must be a valid integer, unable to parse string as an integer, got 'deep'"
    ]


def test_a_function_is_a_target_too(plant: Plant) -> None:
    plant({"planted.py": "def build(features, depth: int = 3): ...\n"})
    assert read_signature("planted.build") == Signature(
        {"features": None, "depth": int}, frozenset({"features"})
    )
    assert faults_of({"_target_": "planted.build", "dpth": 1}, "features") == [
        "model.dpth: unknown; the nearest valid name is 'depth'"
    ]


READABLE = {
    "PositiveInt": (1, 0),
    "NonNegativeInt": (0, -1),
    "PositiveFloat": (0.1, 0),
    "NonNegativeFloat": (0, -0.1),
    "Probability": (0.5, 1),
    "Fraction": (0.5, 0),
    "int": (1, "one"),
    "float": (1.5, "one"),
    "str": ("one", 1),
    "bool": (True, "perhaps"),
    "Optional[int]": (None, "one"),
    "int | None": (None, "one"),
    "t.Optional[int]": (None, "one"),
    "typing.Optional[int]": (None, "one"),
    "Union[int, str]": ("one", [1]),
    "Optional[Union[int, float]]": (None, "one"),
    "int | str | None": ("one", [1]),
    "Literal['a', 'b']": ("a", "c"),
    "Literal['a'] | None": (None, "c"),
    "Literal[1, 2]": (1, 3),
    "typing.Literal['a', 'b']": ("a", "c"),
    "list[int]": ([1, 2], [1, "two"]),
    "List[int]": ([1, 2], 1),
    "dict[str, int]": ({"a": 1}, {"a": "one"}),
    "tuple[int, ...]": ([1, 2, 3], [1, "two"]),
    "tuple[PositiveInt, ...]": ([1, 2, 3], [1, 0]),
    "tuple[int, int]": ([1, 2], [1, 2, 3]),
    "tuple[PositiveInt, ...] | None": (None, [0]),
    "'int'": (1, "one"),
    "'Optional[int]'": (None, "one"),
    "list['int']": ([1], ["one"]),
}


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [(a, good, bad) for a, (good, bad) in READABLE.items()],
    ids=READABLE.keys(),
)
def test_a_value_is_checked_against_its_annotation(
    read: Callable[[str], Signature], annotation: str, good: object, bad: object
) -> None:
    read(f"class Wide:\n    def __init__(self, size: {annotation}) -> None: ...\n")
    assert faults_of({"_target_": "planted.Wide", "size": good}) == []
    (fault,) = faults_of({"_target_": "planted.Wide", "size": bad})
    assert fault.startswith("model.size: must be ")


@pytest.mark.parametrize(
    "annotation",
    [
        "Tensor",
        "torch.Tensor",
        "int | Tensor",
        "Optional[Tensor]",
        "Callable[[int], int]",
        "Sequence[int]",
        "type[int]",
        "Annotated[int, Field(gt=0)]",
        "Annotated[int, 'rows of a batch']",
        "Annotated[int, 3]",
        "typing.Annotated[int, 3]",
        "'two words'",
        "''",
        "int if wide else str",
    ],
)
def test_an_annotation_that_cannot_be_read_checks_the_name_only(
    read: Callable[[str], Signature], annotation: str
) -> None:
    read(f"class Wide:\n    def __init__(self, size: {annotation}) -> None: ...\n")
    assert faults_of({"_target_": "planted.Wide", "size": object()}) == []
    assert faults_of({"_target_": "planted.Wide", "sise": 1}) == [
        "model.sise: unknown; the nearest valid name is 'size'",
        "model.size: is missing: planted.Wide needs it",
    ]


def test_an_argument_without_annotation_takes_any_value(read: Callable[[str], Signature]) -> None:
    read("class Wide:\n    def __init__(self, size) -> None: ...\n")
    assert faults_of({"_target_": "planted.Wide", "size": "anything"}) == []


def test_all_faults_of_a_node_are_listed() -> None:
    node = {
        "_target_": "studperf.models.mlp.MLP",
        "features": 1,
        "d_hiden": [64],
        "dropout": 2,
        "activation": "relu",
        "linear_skip": 5,
    }
    assert faults_of(node, "features") == [
        "model.features: is set by studperf itself; drop it",
        "model.d_hiden: unknown; the nearest valid name is 'd_hidden'",
        "model.dropout: must be less than 1, got 2",
        "model.linear_skip: must be a valid boolean, unable to interpret input, got 5",
        "model.d_hidden: is missing: studperf.models.mlp.MLP needs it",
    ]


def test_an_argument_that_we_pass_is_never_offered_as_the_nearest() -> None:
    node = {"_target_": "studperf.models.linear.Linear", "feature": 1}
    assert "'features'" not in "".join(faults_of(node, "features"))


def test_a_node_without_a_target_is_refused_with_the_misspelt_one() -> None:
    (fault,) = faults_of({"_taget_": "studperf.models.mlp.MLP"})
    assert "_taget_" in fault
    assert "'_target_'" in fault


def test_a_node_that_lacks_its_target_is_not_said_to_have_an_unknown_key() -> None:
    assert faults_of({"dropout": 0.1}) == ["model: names no class to build: _target_ is missing"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("studperf.models.mlp.Mlp", "'studperf.models.mlp' defines no 'Mlp'; unknown"),
        (
            "studperf.models.mlp.MLPs",
            "'studperf.models.mlp' defines no 'MLPs'; unknown; the nearest valid name is 'MLP'",
        ),
        (
            "studperf.models.mpl.MLP",
            "there is no module 'studperf.models.mpl'; unknown; the nearest valid name is 'mlp'",
        ),
        ("studperf.models.mlp.MLP.forward", "there is no module 'studperf.models.mlp.MLP'"),
        ("lightning.pytorch.Trainr", "'lightning.pytorch' defines no 'Trainr'"),
        ("os.system", "there is no module 'os'"),
        ("builtins.print", "there is no module 'builtins'"),
        ("sys.exit", "there is no module 'sys'"),
        ("nowhere.at.All", "there is no module 'nowhere.at'"),
        ("MLP", "there is no module"),
        ("", "there is no module"),
        (".", "there is no module"),
        ("..MLP", "there is no module"),
        ("studperf.", "'studperf' defines no ''"),
    ],
)
def test_a_target_that_is_not_there_is_told_with_the_nearest_one(target: str, message: str) -> None:
    with pytest.raises(TargetNotFoundError) as caught:
        read_signature(target)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("target", ["lightning.pytorch.Trainr"])
def test_the_nearest_name_may_be_one_that_a_package_passes_on(target: str) -> None:
    with pytest.raises(TargetNotFoundError, match="the nearest valid name is 'Trainer'"):
        read_signature(target)


def test_a_module_that_is_no_python_is_refused_with_its_place(plant: Plant) -> None:
    plant({"planted.py": "class Wide(:\n"})
    with pytest.raises(TargetNotFoundError, match=r"planted\.py.*2"):
        read_signature("planted.Wide")


def test_checking_a_node_imports_nothing(plant: Plant) -> None:
    plant({"planted.py": "class Wide:\n    def __init__(self, size: int) -> None: ...\n"})
    assert faults_of({"_target_": "planted.Wide", "size": 1}) == []
    assert "planted" not in sys.modules
