from collections.abc import Callable
from pathlib import Path

import pytest
from lightning.pytorch import Callback

from studperf.cli.process import run_command
from studperf.config.load import load_overrides
from studperf.config.run import RunConfig
from studperf.config.secrets import find_secrets, mask, secret_words
from studperf.errors import ConfigError
from studperf.record.record import RunRecord
from studperf.train.run import run

KEY = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("word", "name"),
    [
        pytest.param(f"tracking.wandb.name={KEY}", "tracking.wandb.name", id="the key itself"),
        pytest.param(
            f"tracking.wandb.tags=[a,x{KEY}y]", "tracking.wandb.tags", id="the key within"
        ),
        pytest.param(
            f"data.source.path=https://user:{KEY}@host/t.csv",
            "data.source.path",
            id="the key in an address",
        ),
        pytest.param(f"+no.such.key={KEY}", "no.such.key", id="under a name that there is not"),
        pytest.param(
            "hydra.job.env_set.WANDB_API_KEY=other",
            "hydra.job.env_set.WANDB_API_KEY",
            id="a key for hydra to set",
        ),
        pytest.param(
            f"+hydra.job.env_set={{OTHER_KEY: {KEY[::-1]}}}",
            "hydra.job.env_set",
            id="a mapping for hydra to set",
        ),
        pytest.param(
            f"hydra.sweeper.storage=postgresql+psycopg://me:{KEY[::-1]}@host/db",
            "hydra.sweeper.storage",
            id="a database's password",
        ),
        pytest.param(
            "+hydra.job.env_set.db_password=x",
            "hydra.job.env_set.db_password",
            id="a password for hydra to set",
        ),
    ],
)
def test_a_key_on_the_command_line_is_refused_without_repeating_it(
    word: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with pytest.raises(ConfigError, match=name) as caught:
        load_overrides([word, "model=nonesuch"])
    assert KEY not in str(caught.value)
    assert KEY[::-1] not in str(caught.value)


SECRET = "Zx9qLm42VtR8"  # noqa: S105 - of nobody


@pytest.mark.parametrize(
    "word",
    [
        "data.source.path=https://user:SECRET@host/t.csv",
        "data.source.path=https://SECRET@host/t.csv",
        "data.source.path=https://host/t.csv?sig=SECRET",
        "data.source.path=https://host/t.csv?a=1&X-Amz-Signature=SECRET",
        "data.source.path=https://host/t.csv?access_token=SECRET",
        "data.source.path=gs://bucket/t.csv?key=SECRET",
        "data.source.path=abfs://box@account.dfs.core.windows.net/t?sv=2020&sig=SECRET",
        "+data.source.storage_options={key: AKIA1, secret: SECRET}",
        "+data.source.storage_options={account_key: SECRET}",
        "+data.source.storage_options.secret=SECRET",
        "+data.source.headers.Authorization=Basic SECRET",
        "runs=s3://key:SECRET@bucket",
        "runs=https://me:pa/SECRET@host",
        "+password=SECRET",
        "+client-secret=SECRET",
        "model.api_key=SECRET",
        "+hydra.launcher.token=SECRET",
        "+hydra.launcher.additional_parameters={password: 'SECRET'}",
        "hydra.job.name=token:SECRET",
        "hydra.sweep.dir=ftp://SECRET@host/x",
        "hydra.job.env_set.DATABASE_URL=postgres://me:SECRET@host/db",
        "+hydra.job.env_set={PGPASSWORD: SECRET}",
        "tracking.wandb.name='host=h user=me password=SECRET'",
        "tracking.wandb.group='DefaultEndpointsProtocol=https;AccountKey=SECRET=='",
        "tracking.wandb.tags=[a,'token=SECRET']",
        "tracking.wandb.name=eyJhbGciOiJI.eyJzdWIiOiIx.SECRET",
        "tracking.wandb.name=ghp_0123456789SECRET",
        "cloud.image=https://me:SECRET@registry/x",
        "cloud.secrets.WANDB_API_KEY=https://me:SECRET@host",
        "https://me:SECRET@host",
        "~runs=https://me:SECRET@host",
    ],
)
def test_what_looks_like_a_secret_is_refused_without_repeating_it(word: str) -> None:
    with pytest.raises(ConfigError, match="The configuration was refused") as caught:
        load_overrides([word.replace("SECRET", SECRET), "model=nonesuch"])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "word",
    [
        "model.d_token=192",
        "model.d_token=choice(64,128)",
        "model.d_token=64,128",
        "cloud.secrets.WANDB_API_KEY=wandb-key",
        "cloud.secrets={WANDB_API_KEY: wandb-key}",
        "data.columns.token.kind=unused",
        "+data.columns.password={kind: id}",
        "data.features=[token,secret]",
        "data.target.column=password",
        "data.source.missing=[pwd]",
        "data.source.path=abfs://box@account.dfs.core.windows.net/t.csv",
        "data.source.path=data/token/t.csv",
        "hydra.sweeper.storage=postgresql+psycopg://me@host/db",
        "optimizer.lr=tag(log,interval(1e-4,1e-2))",
        "tracking.wandb.tags=[token,signature]",
        "tracking.wandb.name=sassy",
        "runs=runs/a=b",
    ],
)
def test_what_only_sounds_like_a_secret_is_taken(word: str) -> None:
    assert secret_words([word]) == []


def test_a_secret_in_a_yaml_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "conf" / "data"
    folder.mkdir(parents=True)
    lines = ["defaults: [students]", f"name: token={SECRET}"]
    lines += ["source:", f"  path: https://me:{SECRET}@host/t.csv"]
    (folder / "own.yaml").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_overrides(["data=own"])
    assert "data.source.path: holds an address with a password or a token" in str(caught.value)
    assert "data.name: holds a password, a token or a signature" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_level_that_looks_like_a_secret_is_data() -> None:
    plain = {"data": {"columns": {"gender": {"levels": [f"https://me:{SECRET}@host"]}}}}
    assert list(find_secrets(plain)) == []


@pytest.mark.parametrize(
    "variable", ["AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "PGPASSWORD", "DATABASE_URL"]
)
def test_the_value_of_a_secret_variable_is_known_wherever_it_stands(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = f"postgresql://me:{SECRET}@host/db" if variable.endswith("URL") else SECRET
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"{variable}, and a run's configuration") as caught:
        load_overrides([f"tracking.wandb.name=x{SECRET}y"])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:p@ss@host/db fails", "postgresql://***@host/db fails"),
        ("https://ghp_x@host/a?sig=S&b=1", "https://***@host/a?sig=***&b=1"),
        (
            "connection failed: host=h password=S user=me",
            "connection failed: host=h password=*** user=me",
        ),
        ("{'secret': 'S', 'n': 1}", "{'secret': '***', 'n': 1}"),
        ("Authorization: Bearer S", "Authorization: Bearer ***"),
        (
            "abfs://box@account/x, http://localhost:8080/a@b",
            "abfs://box@account/x, http://localhost:8080/a@b",
        ),
        ("token: unknown level 'a'", "token: unknown level 'a'"),
        ("set WANDB_API_KEY=... before", "set WANDB_API_KEY=... before"),
    ],
)
def test_secrets_are_starred_in_messages(text: str, shown: str) -> None:
    assert mask(text) == shown


def test_an_error_of_a_library_is_shown_without_its_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def command() -> None:
        raise RuntimeError(f"can't reach https://me:{SECRET}@host/x?sig={SECRET}")

    monkeypatch.setattr("sys.argv", ["command"])
    with pytest.raises(SystemExit) as left:
        run_command(command)
    said = capsys.readouterr().err
    assert left.value.code == 1
    assert "can't reach https://***@host/x?sig=***" in said
    assert "Traceback" in said
    assert SECRET not in said


def test_a_run_that_fails_keeps_no_secret_of_the_error(
    small_config: Callable[..., RunConfig],
) -> None:
    class Fails(Callback):
        def on_train_epoch_end(self, *_: object) -> None:
            raise RuntimeError(f"can't reach https://me:{SECRET}@host")

    config = small_config("model=linear")
    with pytest.raises(RuntimeError):
        run(config, callbacks=[Fails()])
    folder = next(Path(config.runs).iterdir())
    assert "can't reach https://***@host" in (RunRecord.load(folder).error or "")
    held = [
        path.name
        for path in folder.rglob("*")
        if path.is_file() and SECRET in path.read_text(errors="ignore")
    ]
    assert held == []


def test_a_key_that_wandb_login_left_is_known_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(
        ConfigError,
        match=r"tracking\.wandb\.name: holds the value of the key for api\.wandb\.ai in netrc",
    ) as caught:
        load_overrides([f"tracking.wandb.name={KEY}"])
    assert KEY not in str(caught.value)
    (tmp_path / "netrc").write_text("not a netrc file")
    assert load_overrides([f"tracking.wandb.name={KEY}"]).tracking.wandb.name == KEY


def test_a_key_in_a_composed_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with pytest.raises(
        ConfigError,
        match=r"tracking\.wandb\.name: \$\{oc.env:WANDB_API_KEY\}: an environment variable",
    ):
        load_overrides(["tracking.wandb.name=${oc.env:WANDB_API_KEY}"])


def test_what_is_no_key_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "mlp")
    assert load_overrides(["model=mlp", "tracking.wandb.name=mlp"]).tracking.wandb.name == "mlp"
