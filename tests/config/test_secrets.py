from pathlib import Path

import pytest

from studperf.config import load_overrides
from studperf.errors import ConfigError

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
        ConfigError, match=r"tracking\.wandb\.name: holds the value of WANDB_API_KEY"
    ):
        load_overrides(["tracking.wandb.name=${oc.env:WANDB_API_KEY}"])


def test_what_is_no_key_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "mlp")
    assert load_overrides(["model=mlp", "tracking.wandb.name=mlp"]).tracking.wandb.name == "mlp"
