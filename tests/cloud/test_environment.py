"""A machine's place among those of its job, and how lightning hears of it."""

import json
from typing import Any

import pytest

from studperf.cloud.container.environment import VertexEnvironment
from studperf.cloud.container.machines import Replica
from studperf.config.load import load_overrides
from studperf.errors import CloudError, ConfigError
from studperf.train.network.fit import build_trainer
from studperf.train.run import find_environment

CLUSTER = {
    "workerpool0": ["a:2222"],
    "workerpool1": ["b:2222", "c:2222"],
    "workerpool2": [],
    "workerpool10": ["d:2222"],
}


def spec(kind: str, index: int, cluster: object = CLUSTER) -> dict[str, str]:
    return {
        "CLUSTER_SPEC": json.dumps(
            {"cluster": cluster, "environment": "cloud", "task": {"type": kind, "index": index}}
        )
    }


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> VertexEnvironment:
    """The third of four, on which variables for other launchers are set as well."""
    for name in (
        "RANK",
        "GROUP_RANK",
        "NODE_RANK",
        "WORLD_SIZE",
        "MASTER_PORT",
        "TORCHELASTIC_RUN_ID",
    ):
        monkeypatch.setenv(name, "7")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("CLUSTER_SPEC", spec("workerpool1", 1)["CLUSTER_SPEC"])
    return VertexEnvironment()


@pytest.mark.parametrize(
    ("kind", "index", "rank"),
    [("workerpool0", 0, 0), ("workerpool1", 0, 1), ("workerpool1", 1, 2), ("workerpool10", 0, 3)],
)
def test_ranks_are_counted_over_all_pools(kind: str, index: int, rank: int) -> None:
    replica = Replica.read(spec(kind, index))
    assert (replica.rank, replica.n, replica.address) == (rank, 4, "a:2222")
    assert replica.is_primary is (rank == 0)


def test_a_machine_alone_needs_no_spec() -> None:
    assert Replica.read({}) == Replica(0, 1, "")


BROKEN = {
    "no JSON": ({"CLUSTER_SPEC": "{"}, "JSONDecodeError"),
    "no object": ({"CLUSTER_SPEC": "[]"}, "TypeError"),
    "no task": ({"CLUSTER_SPEC": json.dumps({"cluster": CLUSTER})}, "KeyError: 'task'"),
    "no pools": (spec("workerpool0", 0, []), "AttributeError"),
    "a pool of another name": (spec("chief", 0, {"chief": ["a:1"]}), "ValueError"),
    "a pool that is not there": (
        spec("workerpool3", 0),
        "the cluster has no machine 0 of workerpool3",
    ),
    "a machine that is not there": (
        spec("workerpool1", 2),
        "the cluster has no machine 2 of workerpool1",
    ),
    "a machine before the first": (
        spec("workerpool1", -1),
        "the cluster has no machine -1 of workerpool1",
    ),
    "no primary": (
        spec("workerpool1", 0, {"workerpool0": [], "workerpool1": ["b:2222"]}),
        "workerpool0, .* is empty",
    ),
}


@pytest.mark.parametrize(("environment", "what"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_spec_is_refused_with_what_was_expected(
    environment: dict[str, str], what: str
) -> None:
    with pytest.raises(CloudError, match=what) as caught:
        Replica.read(environment)
    assert 'Expected {"cluster": {"workerpool0": ["HOST:PORT"]' in str(caught.value)
    assert "unset it" in str(caught.value)


@pytest.mark.parametrize("address", ["a", "a:", ":2222", "a:port"])
def test_the_primary_needs_a_host_and_a_port(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = {"workerpool0": [address], "workerpool1": ["b:2222"]}
    monkeypatch.setenv("CLUSTER_SPEC", spec("workerpool1", 0, cluster)["CLUSTER_SPEC"])
    with pytest.raises(CloudError, match=f"must be HOST:PORT, got '{address}'"):
        VertexEnvironment()


@pytest.mark.parametrize(
    ("words", "cluster", "kind"),
    [
        ([], CLUSTER, type(None)),
        (["trainer=ddp", "+trainer.num_nodes=1"], CLUSTER, type(None)),
        (["trainer=ddp", "+trainer.num_nodes=4"], CLUSTER, VertexEnvironment),
        (["trainer=ddp", "+trainer.num_nodes=2"], None, type(None)),
    ],
    ids=["one machine", "one by its number", "four machines", "not on Vertex AI"],
)
def test_only_a_run_of_several_machines_looks_for_others(
    words: list[str], cluster: object, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLUSTER_SPEC", raising=False)
    if cluster is not None:
        monkeypatch.setenv("CLUSTER_SPEC", spec("workerpool0", 0, cluster)["CLUSTER_SPEC"])
    assert type(find_environment(load_overrides(words))) is kind


def test_what_is_set_for_other_launchers_counts_for_nothing(machine: VertexEnvironment) -> None:
    assert (machine.node_rank(), machine.main_address, machine.main_port) == (2, "a", 2222)
    assert not machine.creates_processes_externally


def trainer_of(machine: VertexEnvironment, *words: str) -> Any:
    config = load_overrides(["trainer=ddp", "trainer.accelerator=cpu", *words])
    return build_trainer(config, [], machine)


@pytest.mark.parametrize(
    "local_rank", [None, "1"], ids=["the machine's first process", "one that lightning started"]
)
def test_each_process_of_a_machine_has_a_rank_of_its_own(
    machine: VertexEnvironment, monkeypatch: pytest.MonkeyPatch, local_rank: str | None
) -> None:
    if local_rank:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    trainer = trainer_of(machine, "trainer.devices=2", "+trainer.num_nodes=4")
    assert (trainer.world_size, trainer.global_rank) == (8, 4 + int(local_rank or 0))
    assert not trainer.is_global_zero


def test_a_run_for_another_number_of_machines_does_not_wait_for_them(
    machine: VertexEnvironment,
) -> None:
    launcher = trainer_of(machine, "trainer.devices=1", "+trainer.num_nodes=2").strategy.launcher
    with pytest.raises(ConfigError, match=r"trainer.num_nodes=2: the job has 4 machines"):
        launcher.launch(pytest.fail)
