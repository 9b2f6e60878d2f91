"""Some hundred command lines that can't be meant: each is refused in words, soon, and none ends in a traceback."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

DOOR = Path(__file__).parents[1] / "kit" / "door.py"
BEGAN = 99
KEYS = (
    *("seed", "batch_size", "threads", "repeat", "engine", "export", "score_on", "runs", "resume"),
    *("optimizer.lr", "optimizer.name", "loss.delta", "scheduler.warmup", "monitor.patience"),
    *("trainer.max_epochs", "trainer.precision", "model.dropout", "model.d_hidden", "encode"),
    *("data.source.path", "data.source.encoding", "data.features", "data.split", "tracking"),
    *(
        "hydra.run.dir",
        "hydra.sweep.dir",
        "hydra.verbose",
        "hydra.job.chdir",
        "hydra.output_subdir",
    ),
    *("hydra.mode", "hydra.launcher.n_jobs", "hydra.sweeper.n_jobs", "hydra.sweeper.objectives"),
    *("hydra/launcher", "hydra/sweeper", "hydra/job_logging", "model", "data", "sweeps", "cloud"),
)
VALUES = (
    *(
        "",
        "null",
        "\uff11\uff12",
        "-1",
        "1e400",
        "99999999999999999999999",
        "nan",
        "[]",
        "{}",
        "[nope]",
    ),
    *("'", '"', "${oc.env:NO_SUCH_VARIABLE}", "${nope}", "~nosuchuser/x", "/dev/zero", "a b", "ü"),
    *("interval(-1,1)", "range(0,inf)", "choice()", "glob(*)", "tag(log,interval(0,1))", "a,b"),
)
OTHERS = (
    ("evaluate", "run={}"),
    ("evaluate", "run=nowhere", "data.source.encoding={}"),
    ("reproduce", "run={}"),
    ("reproduce", "run=nowhere", "runs={}"),
    ("report", "run={}"),
    ("report", "runs=.", "out={}"),
    ("compare", "{}"),
    ("export", "run={}"),
    ("bundle", "show", "{}"),
    ("bundle", "predict", "{}", "rows.csv"),
    ("serving", "nowhere", "port={}"),
    ("sweeps", "show", "{}"),
    ("sweeps", "list", "runs={}"),
    ("data", "infer", "{}", "target=a"),
    ("data", "check", "data.source.path={}"),
    ("data", "simulate", "rows={}", "out=a.csv"),
    ("tracking", "sync", "{}"),
    ("tracking", "dashboard", "dump", "project={}"),
)


def draw_lines(n_lines: int, seed: int) -> list[list[str]]:
    """Draw command lines of all commands from a seed."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    lines = []
    for i in range(n_lines):
        if i % 3 == 0:
            command, *words = chance.choice(OTHERS)
            value = chance.choice(VALUES)
            lines.append([f"studperf.{command}", *(word.format(value) for word in words)])
            continue
        words = [
            f"{key}={chance.choice(VALUES)}"
            for key in chance.sample(KEYS, chance.choice((1, 1, 2)))
        ]
        flags = ["-m"] if chance.random() < 0.4 else []
        study = ["hydra/sweeper=optuna"] if flags and chance.random() < 0.3 else []
        lines.append(["studperf.train", *flags, *study, *words])
    return lines


def answer(lines: list[list[str]], folder: Path) -> list[dict[str, object]]:
    """What the lines are answered, in an empty folder and with an empty home."""
    (folder / "lines.json").write_text(json.dumps(lines), encoding="utf-8")
    (folder / "home").mkdir()
    (folder / "here").mkdir()
    command = [sys.executable, str(DOOR), str(folder / "lines.json"), str(folder / "answers.json")]
    environment = {**os.environ, "HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder / "here", env=environment, check=True)
    answers: list[dict[str, object]] = json.loads((folder / "answers.json").read_text())
    return answers


@pytest.mark.slow
def test_drawn_command_lines_end_without_a_traceback_and_without_a_hang(tmp_path: Path) -> None:
    answers = answer(draw_lines(60, seed=16), tmp_path)
    assert [a["line"] for a in answers if "Traceback (most recent" in str(a["text"])] == []
    assert [a["line"] for a in answers if a["code"] == -9] == []
    assert {a["code"] for a in answers} <= {0, 1, 2, BEGAN}
    refused = [a for a in answers if a["code"] == 2]
    assert len(refused) > 30
    assert all("error: " in str(a["text"]) for a in refused)
