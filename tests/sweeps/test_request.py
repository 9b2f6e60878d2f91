import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from studperf.config.check import check_sweeper
from studperf.config.load import accept_overrides, compose
from studperf.config.paths import project_root
from studperf.errors import ConfigError
from studperf.sweeps.compose import Composer
from studperf.sweeps.request import Order, find_study_faults, read_order
from studperf.sweeps.space import Word
from studperf.sweeps.study import Plan, build_pruner, build_sampler

SWEEPS = sorted((project_root() / "sweeps").glob("*.yaml"))
GROUPS = [
    (kind, file.stem)
    for kind in ("sampler", "pruner")
    for file in sorted((project_root() / f"conf/hydra/sweeper/{kind}").glob("*.yaml"))
]


def order_of(*words: str) -> Order:
    """As the command line reaches the sweeper."""
    words = tuple(accept_overrides(words))
    hydra = (
        compose(words, return_hydra_config=True).hydra
        if not any("(" in word for word in words)
        else None
    )
    hydra = hydra or compose([w for w in words if "(" not in w], return_hydra_config=True).hydra
    task = [word for word in words if not word.lstrip("+").startswith("hydra")]
    return read_order(
        task,
        OmegaConf.to_container(hydra.sweeper, resolve=True),
        name=hydra.runtime.choices.get("sweeps"),
    )


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_every_shipped_sweep_can_begin_and_sees_val_alone(file: Path) -> None:
    order = order_of(f"sweeps={file.stem}")
    assert order.name == file.stem
    assert order.base.score_on == "val"
    assert "Source" in file.read_text() or "et al." in file.read_text() or file.stem == "models"


def test_the_sweep_that_the_docs_show_can_be_read() -> None:
    (shown,) = re.findall(
        r"```yaml\n(.*?)```",
        (project_root() / "docs/sweeps.md").read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    defaults = compose(
        ["hydra/sweeper=optuna", "hydra/sweeper/pruner=hyperband"], return_hydra_config=True
    ).hydra.sweeper
    settings = OmegaConf.to_container(defaults) | OmegaConf.to_container(
        OmegaConf.create(shown).hydra.sweeper
    )
    order = read_order([], settings, name="shown")
    assert len(order.space.dimensions) == 5


@pytest.mark.parametrize(("kind", "name"), GROUPS)
def test_every_shipped_sampler_and_pruner_can_be_built(
    kind: str, name: str, make_plan: Callable[..., Plan]
) -> None:
    node = OmegaConf.to_container(
        compose(
            ["hydra/sweeper=optuna", f"hydra/sweeper/{kind}={name}"], return_hydra_config=True
        ).hydra.sweeper
    )
    plan = make_plan(params={"x": "1,2"}, **{kind: node[kind]})
    built = build_sampler(plan, 0) if kind == "sampler" else build_pruner(plan)
    assert type(built).__name__ == node[kind]["_target_"].rsplit(".", 1)[-1] or name == "grid"


def test_a_command_line_alone_is_a_study_and_its_name_tells_its_space() -> None:
    words = [
        "hydra/sweeper=optuna",
        "optimizer.lr=tag(log,interval(1e-4,1e-1))",
        "model.dropout=choice(0.1,0.2)",
    ]
    order = order_of(*words)
    assert [d.key for d in order.space.dimensions] == ["optimizer.lr", "model.dropout"]
    assert order.name.startswith("mlp-")
    assert order_of(*words).name == order.name != order_of(words[0], words[1]).name


REFUSED = {
    "an unknown setting": (
        {"n_trails": 3},
        "hydra.sweeper.n_trails: unknown; the nearest valid name is 'n_trials'",
    ),
    "no trials": ({"n_trials": 0}, "hydra.sweeper.n_trials: must be greater than 0, got 0"),
    "an unknown objective": (
        {"objectives": ["val/rsme"]},
        "hydra.sweeper.objectives.0: must be 'val/loss', 'val/rmse'",
    ),
    "a name that is no folder's": (
        {"study": "a b/"},
        "hydra.sweeper.study: must be made of letters, digits and . _ + - alone, and begin",
    ),
    "a name that leads elsewhere": (
        {"study": ".."},
        "hydra.sweeper.study: must be made of letters",
    ),
    "an unknown sampler": ({"sampler": {"_target_": "optuna.samplers.TPESamplr"}}, "TPESampler"),
    "an unknown option of a sampler": (
        {"sampler": {"_target_": "optuna.samplers.TPESampler", "n_startup": 1}},
        "sampler.n_startup: unknown; the nearest valid name is 'n_startup_trials'",
    ),
    "an unknown pruner": ({"pruner": {"_target_": "optuna.pruners.MedianPrunr"}}, "MedianPruner"),
    "an empty choice": ({"params": {"seed": "choice()"}}, "hydra.sweeper.params.seed: "),
    "ends in the wrong order": (
        {"params": {"optimizer.lr": "interval(2,1)"}},
        "hydra.sweeper.params.optimizer.lr: the lower end must come",
    ),
    "a key that is not there": (
        {"params": {"optimizer.lrr": "interval(1,2)"}},
        "optimizer.lrr: unknown; the nearest valid name is 'lr'",
    ),
    "a value out of range": (
        {"params": {"model.dropout": "interval(0,1.5)"}},
        "model.dropout: must be less than 1, got 1.5",
    ),
    "a model that is not there": ({"params": {"model": "choice(mlp,tabn)"}}, "tabn"),
    "a child of another model": (
        {
            "params": {"model": "choice(linear,mlp)"},
            "conditional": [{"when": {"model": "linear"}, "params": {"model.dropout": "0.1,0.2"}}],
        },
        "model.dropout: unknown",
    ),
    "an unknown key of a block": (
        {"conditional": [{"wen": {"model": "mlp"}, "params": {}}]},
        "hydra.sweeper.conditional.0.wen: unknown",
    ),
    "a grid over an interval": (
        {
            "sampler": {"_target_": "optuna.samplers.GridSampler"},
            "params": {"optimizer.lr": "interval(1,2)"},
        },
        "a grid needs choice(...) or range(...)",
    ),
    "nothing to vary": ({"params": {}}, "nothing is varied"),
    "a storage of another kind": (
        {"max_failures": 2.0},
        "hydra.sweeper.max_failures: must be less than or equal to 1",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_mistaken_sweep_is_refused_before_the_first_trial(
    change: dict[str, object], message: str
) -> None:
    node = OmegaConf.to_container(
        compose(["hydra/sweeper=optuna"], return_hydra_config=True).hydra.sweeper, resolve=True
    )
    with pytest.raises(ConfigError) as refusal:
        read_order([], {**node, "params": {"optimizer.lr": "interval(0.1,0.2)"}, **change})
    assert message in str(refusal.value)


def test_a_number_is_a_name_of_a_study() -> None:
    assert order_of("sweeps=mlp", "hydra.sweeper.study=2026").name == "2026"


def test_a_list_of_unknown_objectives_is_not_also_told_to_be_too_short() -> None:
    node = OmegaConf.to_container(
        compose(["hydra/sweeper=optuna"], return_hydra_config=True).hydra.sweeper, resolve=True
    )
    (fault,) = check_sweeper({**node, "objectives": ["val/rsme"]})[0]
    assert fault.where == "hydra.sweeper.objectives.0"
    (fault,) = check_sweeper({**node, "objectives": []})[0]
    assert str(fault) == "hydra.sweeper.objectives: must be at least 1 of them, got []"


def test_all_faults_of_a_sweep_are_told_at_once() -> None:
    node = OmegaConf.to_container(
        compose(["hydra/sweeper=optuna"], return_hydra_config=True).hydra.sweeper, resolve=True
    )
    params = {
        "optimizer.lrr": "interval(1,2)",
        "model.dropout": "interval(0,1.5)",
        "batch_size": "0,64",
    }
    with pytest.raises(ConfigError, match=r"\(3 faults\)"):
        read_order([], {**node, "params": params})


def test_a_fault_of_the_only_key_that_varies_is_not_also_told_as_nothing_varied() -> None:
    with pytest.raises(ConfigError) as refusal:
        order_of("hydra/sweeper=optuna", "optimizer.lr=interval(1,0)")
    assert str(refusal.value).splitlines() == [
        "The sweep was refused (1 fault):",
        "  - optimizer.lr: the lower end must come first, got interval(1,0)",
    ]


def test_faults_of_the_space_its_ends_and_its_settings_are_told_together() -> None:
    words = [
        "optimizer.lr=interval(1,0)",
        "model.dropout=interval(0,1.5)",
        "hydra.sweeper.n_trails=3",
    ]
    with pytest.raises(ConfigError) as refusal:
        order_of("hydra/sweeper=optuna", *words)
    assert [line.split(": ")[0] for line in str(refusal.value).splitlines()[1:]] == [
        "  - hydra.sweeper.n_trails",
        "  - optimizer.lr",
        "  - model.dropout",
    ]


@pytest.mark.parametrize("sweep", ["hydra/sweeper=optuna", "sweeps=models"])
@pytest.mark.parametrize(
    "option", [(), ("hydra/sweeper/pruner=medium",)], ids=["", "a group of the sweeper too"]
)
def test_faults_of_a_study_are_told_with_those_of_the_other_words(
    sweep: str, option: tuple[str, ...]
) -> None:
    words = [
        sweep,
        *option,
        "model=mlp,mlpp",
        "+foo=1",
        "optimizer.lr=interval(1,0)",
        "hydra.sweeper.n_trials=0",
    ]
    with pytest.raises(ConfigError) as refusal:
        accept_overrides(words, check_study=find_study_faults)
    places = {
        line.removeprefix("  - ").split(": ")[0] for line in str(refusal.value).splitlines()[1:]
    }
    assert places == {*option, "model=mlpp", "foo", "optimizer.lr", "hydra.sweeper.n_trials"}


def test_a_sweep_on_several_devices_is_refused() -> None:
    with pytest.raises(ConfigError, match="a trial trains on one device"):
        order_of("sweeps=mlp", "trainer=ddp")


def test_more_workers_than_a_machine_holds_are_refused() -> None:
    with pytest.raises(ConfigError, match="n_jobs: 999 would start as many processes"):
        order_of("sweeps=mlp", "hydra.sweeper.n_jobs=999")


def test_the_configuration_of_a_trial_is_what_hydra_composes() -> None:
    words = [
        Word("model", "tabm"),
        Word("model.n_blocks", "3"),
        Word("optimizer.lr", "0.003"),
        Word("data.allow_leaks", "[passed]"),
    ]
    ours = Composer([Word("batch_size", "64")]).plain(words)
    theirs = OmegaConf.to_container(
        compose(
            [
                "batch_size=64",
                "score_on=val",
                "progress=false",
                *map(str, words[:-1]),
                f"++{words[-1]}",
            ]
        ),
        resolve=True,
    )
    assert ours == theirs


def test_a_trial_can_be_repeated_without_the_sweep() -> None:
    order = order_of("sweeps=models", "batch_size=64")
    words = [
        Word("model", "mlp"),
        Word("optimizer.lr", "0.003"),
        Word("model.d_hidden", "[64,32,16]"),
        Word("model.dropout", "0.25"),
    ]
    repeat = order.composer.repeat(words)
    assert not any("sweeps" in word for word in repeat)
    again = OmegaConf.to_container(
        compose([*repeat, "score_on=val", "progress=false"]), resolve=True
    )
    assert again == order.composer.plain(words)


def test_a_run_without_a_sweep_imports_no_optuna() -> None:
    script = "import sys, hydra_plugins.studperf_sweeper, studperf.train; sys.exit('optuna' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_settings_are_checked_before_anything_heavy_is_imported() -> None:
    assert check_sweeper({})[1] is None
