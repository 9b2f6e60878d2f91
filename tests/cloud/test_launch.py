"""From a command line to a job, up to the door: nothing here is sent."""

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from studperf.cloud.container.quoting import unpack
from studperf.cloud.estimate import n_workers
from studperf.cloud.inputs import Code, warnings_about
from studperf.cloud.launch import plan_job, show
from studperf.config.cloud import Vertex
from studperf.config.load import load_overrides
from studperf.errors import CloudError, ConfigError
from studperf.sweeps.estimate import Estimate

SIMULATED = ("data=simulated", "cloud=vertex")
Train = Callable[..., subprocess.CompletedProcess[str]]


ACCOUNT = "me@my-project.iam.gserviceaccount.com"
HEAVY = {"torch", "lightning", "pandas", "optuna", "requests", "google.auth", "google.oauth2"}


@pytest.fixture
def train(tmp_path: Path) -> Train:
    def start(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "studperf.train", *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60
        )

    return start


def test_a_dry_run_prints_the_job_with_its_price_and_sends_nothing(train: Train) -> None:
    done = train("model=mlp", "cloud.dry_run=true", *SIMULATED)
    assert done.returncode == 0, done.stderr
    assert "an hour" in done.stdout
    assert "Ceiling:  5.00 USD" in done.stdout
    body = json.loads(done.stdout[done.stdout.index("{") : done.stdout.rindex("}") + 1])
    assert body["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"][-2:] == [
        "model=mlp",
        "data=simulated",
    ]
    assert "Nothing was sent" in done.stdout


@pytest.mark.parametrize("words", [[], ["-m", "sweeps=mlp"]], ids=["run", "study"])
def test_nothing_heavy_is_imported_for_the_description_of_a_job(
    words: list[str], tmp_path: Path
) -> None:
    script = f"""
import sys
from studperf.cloud.launch import plan_job
plan_job({words[:1]}, ["data=simulated", "cloud=vertex", *{words[1:]}])
sys.stderr.write(" ".join(sorted({HEAVY} & set(sys.modules))))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stderr == ""


def test_every_fault_is_told_before_anything_is_sent(train: Train) -> None:
    done = train("cloud=vertex", "model.dropout=1.7", "cloud.machin=x", "cloud.bucket=my-bucket")
    assert done.returncode == 2
    for fault in ("model.dropout", "nearest valid name is 'machine'", "gs://NAME"):
        assert fault in done.stderr


def test_the_composed_configuration_is_shown_and_not_sent(train: Train) -> None:
    done = train("--cfg", "job", "-p", "cloud", "cloud=vertex")
    assert done.returncode == 0, done.stderr
    assert "name: vertex" in done.stdout


def test_keys_of_a_job_are_refused_without_one(train: Train) -> None:
    done = train("cloud.workers=3")
    assert done.returncode == 2
    assert "only with cloud=vertex" in done.stderr


def test_a_job_that_could_cost_too_much_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the ceiling is 0\.10 USD"):
        plan_job([], [*SIMULATED, "cloud.max_cost=0.1"])


def test_a_gpu_that_is_not_rented_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"n1-standard-4 has no GPU; rent one with cloud\.accelerator="
    ):
        plan_job([], [*SIMULATED, "trainer=gpu"])
    for word in ("cloud.accelerator=NVIDIA_TESLA_T4", "cloud.machine=g2-standard-4"):
        assert plan_job([], [*SIMULATED, "trainer=gpu", word]).body


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "Workers:  1\n"),
        (
            ["cloud.workers=8"],
            "Workers:  8 on one machine, which shares its cores among them; for a machine each they need a database",
        ),
        (["hydra.sweeper.n_jobs=2"], "Workers:  2 on one machine"),
        (
            [
                "cloud.workers=8",
                "cloud.secrets.STUDPERF_STORAGE=url",
                f"cloud.service_account={ACCOUNT}",
            ],
            "Workers:  8 on one study, by the",
        ),
    ],
    ids=["one", "eight", "of the sweeper", "a database"],
)
def test_where_workers_run_is_told(words: list[str], line: str) -> None:
    out = io.StringIO()
    show(plan_job(["-m"], ["sweeps=mlp", *SIMULATED, *words]), Console(file=out, width=300))
    assert line in out.getvalue()


def test_words_arrive_as_they_were_typed() -> None:
    typed = ["tracking.wandb.name='$(HOME) 100% ü'", "model.d_hidden=[64,32]", "data=simulated"]
    args = plan_job([], [*typed, "cloud=vertex"]).body["jobSpec"]["workerPoolSpecs"][0][
        "containerSpec"
    ]["args"]
    assert [unpack(arg) for arg in args[args.index("--") + 1 :]] == typed


def test_a_table_that_is_not_here_is_never_simulated_there() -> None:
    with pytest.raises(CloudError, match="simulates no table in its place"):
        plan_job([], ["cloud=vertex", "data.source.path=nowhere.csv"])


def test_the_table_goes_by_its_md5(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_bytes(b"a,b\n1,2\n")
    plan = plan_job([], ["cloud=vertex", f"data.source.path={path}"])
    md5 = hashlib.md5(b"a,b\n1,2\n", usedforsecurity=False).hexdigest()
    assert plan.body["labels"]["data-md5"] == md5
    args = plan.body["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"]
    assert {f"--table=gs://BUCKET/data/{md5}", f"--table-md5={md5}", f"--table-path={path}"} <= set(
        args
    )


def test_flags_that_change_where_the_configuration_comes_from_are_refused() -> None:
    with pytest.raises(ConfigError, match="--config-dir: does not go with"):
        plan_job(["--config-dir", "x"], list(SIMULATED))


def test_the_runs_of_a_command_go_to_one_place() -> None:
    with pytest.raises(ConfigError, match="cloud=vertex,local: one place for all runs"):
        plan_job(["-m"], ["data=simulated", "cloud=vertex,local"])


def test_a_number_of_accelerators_that_no_machine_takes_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be 1, 2, 4, 8 or 16"):
        plan_job([], [*SIMULATED, "cloud.accelerator=NVIDIA_TESLA_T4", "cloud.n_accelerators=3"])


def test_a_run_that_lies_here_is_not_resumed_there() -> None:
    with pytest.raises(ConfigError, match="resume="):
        plan_job([], [*SIMULATED, "resume=runs/x"])


IMAGE = "europe-west1-docker.pkg.dev/p/r/train"


@pytest.mark.parametrize(
    ("code", "image", "warning"),
    [
        (None, None, "no git checkout"),
        (Code("abcdef1234567", is_dirty=True), None, "not committed"),
        (Code("abcdef1234567", is_dirty=False), f"{IMAGE}:latest", "not the commit"),
        (Code("abcdef1234567", is_dirty=False), f"{IMAGE}@sha256:{'a' * 64}", "not the commit"),
        (Code("abcdef1234567", is_dirty=False), f"{IMAGE}:ab", "not the commit"),
    ],
    ids=["no git", "dirty", "tag", "digest", "short"],
)
def test_code_that_the_image_may_not_hold_is_warned_of(
    code: Code | None,
    image: str | None,
    warning: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (line,) = warnings_about(code, image)
    assert warning in line


def test_an_image_of_the_clean_commit_is_not_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert warnings_about(Code("abcdef1234567", is_dirty=False), f"{IMAGE}:abcdef1") == []
    (tmp_path / "conf").mkdir()
    assert "not in the image" in warnings_about(Code("abcdef1234567", is_dirty=False), None)[0]


def test_a_study_is_checked_whole_here() -> None:
    with pytest.raises(ConfigError, match="nearest valid name is 'dropout'"):
        plan_job(
            ["-m"], ["data=simulated", "cloud=vertex", "sweeps=mlp", "model.dropuot=interval(0,1)"]
        )
    plan = plan_job(
        ["-m"],
        ["data=simulated", "cloud=vertex", "sweeps=mlp", "cloud.workers=3", "optimizer.lr=1e-3"],
    )
    assert plan.task.study == "mlp"
    args = plan.body["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"]
    assert args[args.index("--") + 1 :] == [
        "-m",
        "data=simulated",
        "sweeps=mlp",
        "optimizer.lr=1e-3",
        "hydra.sweeper.n_jobs=3",
    ]


SECRET = "planted-s3cret/of$this(shell)"  # noqa: S105


@pytest.mark.parametrize(
    "word",
    [
        "hydra.sweeper.storage=postgresql://host/db",
        "tracking.wandb.name=postgresql://me:hunter22@host/db",
        f"tracking.wandb.name='{SECRET}'",
    ],
    ids=["storage", "password", "value of a secret"],
)
def test_no_secret_gets_into_a_request(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDPERF_STORAGE", SECRET)
    with pytest.raises(ConfigError, match="Secret Manager") as refused:
        plan_job(["-m"] if "hydra" in word else [], [*SIMULATED, word])
    assert "hunter22" not in str(refused.value)
    assert SECRET not in str(refused.value)


def test_the_time_of_a_study_is_shared_by_all_workers_but_for_the_winners() -> None:
    order = plan_job(["-m"], ["data=simulated", "cloud=vertex", "sweeps=mlp"]).order
    assert order is not None
    estimate = Estimate(
        start_s=7, run_s=10, winner_s=12, n_trials=50, n_seeds=1, n_refits=15, timeout_s=None
    )
    shared = ("cloud.workers=5", "cloud.service_account=a@b", "cloud.secrets.STUDPERF_STORAGE=db")
    for words, expected in (
        (["cloud.workers=1"], 7 + 500 + 150 + 12),
        (["cloud.workers=5"], 14 + 100 + 150 + 12),
        (shared, 14 + 100 + 150 + 12),
    ):
        assert estimate.total_s(n_workers(order, cloud_of(*words))) == expected


def cloud_of(*words: str) -> Vertex:
    found = load_overrides(["cloud=vertex", *words]).cloud
    assert isinstance(found, Vertex)
    return found


def test_a_table_that_dvc_tracks_need_not_be_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.dvc").write_text(
        "outs:\n- md5: 7c6c21309e648313d43b304646907cf3\n  path: data/my.csv\n"
    )
    words = ["cloud=vertex", f"data.source.path={tmp_path}/data/my.csv"]
    plan = plan_job([], words)
    assert plan.body["labels"]["data-md5"] == "7c6c21309e648313d43b304646907cf3"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "my.csv").write_text("another version")
    with pytest.raises(CloudError, match="expects 7c6c21309e648313d43b304646907cf3"):
        plan_job([], words)
