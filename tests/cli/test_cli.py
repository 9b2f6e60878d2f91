"""What every command does at its door: exit codes, words instead of tracebacks, nothing begun that will be refused."""

import errno
import functools
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.table import Table

import studperf
from studperf.cli.command import is_on, read_keys
from studperf.cli.hydra import run_hydra
from studperf.cli.process import make_console, print_error, print_warning, run_command
from studperf.config import paths
from studperf.config.load import compose, load
from studperf.config.run import RunConfig
from studperf.errors import (
    ConfigError,
    DataError,
    Interrupted,
    LeakError,
    RunError,
    StudperfError,
    listing,
)

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))
GROUPS = sorted({file.parent.name for file in (ROOT / "conf").glob("*/*.yaml")} | {"sweeps"})

Run = Callable[..., list[RunConfig]]


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Starts `python -m studperf.train` in an empty folder."""

    def start_command(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "studperf.train", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return start_command


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of `conf/` and `sweeps/` to change at will."""
    folder = tmp_path / "checkout"
    for name in ("conf", "sweeps"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True)
    monkeypatch.setattr(paths, "PACKAGE", folder / "src" / "studperf")
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs the words of a `studperf.train` command line in this process, with a task that only notes what it is given.

    What was noted is in `run.seen` too, for command lines that are refused.
    """
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    seen: list[RunConfig] = []

    def task(cfg: Any) -> None:
        seen.append(load(cfg))

    def run_words(*words: str) -> list[RunConfig]:
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        run_hydra(task)
        return seen

    run_words.seen = seen  # type: ignore[attr-defined]
    return run_words  # type: ignore[return-value]


@pytest.fixture
def end(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a function as a command and gives the exit code."""
    monkeypatch.setenv("STUDPERF_DEBUG", "0")

    def end_of(command: Callable[[], int | None], *words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["command.py", *words])
        with pytest.raises(SystemExit) as caught:
            run_command(command)
        return caught.value.code

    return end_of


def failing(error: BaseException) -> Callable[[], int | None]:
    def command() -> int | None:
        raise error

    return command


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_is_told_in_a_line(
    end: Callable[..., int], capsys: pytest.CaptureFixture[str], number: int
) -> None:
    assert end(failing(OSError(number, os.strerror(number), "runs/x/record.json"))) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: runs/x/record.json: {os.strerror(number)}. Make room, or")
    assert told.count("\n") == 1


def test_another_fault_of_the_system_keeps_its_traceback(
    end: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert end(failing(OSError(errno.EIO, os.strerror(errno.EIO)))) == 1
    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last):")
    assert "Input/output error" in told


@pytest.mark.parametrize(("columns", "width"), [(None, 120), ("200", 200)])
def test_tables_in_a_log_are_as_wide_as_columns_says(
    monkeypatch: pytest.MonkeyPatch, columns: str | None, width: int
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert make_console().width == width


def test_a_refused_configuration_ends_with_2_and_a_message_without_traceback(
    start: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = start("trainer.max_epoch=5", "batch_size=0")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: The configuration was refused (2 faults):",
        "  - batch_size: must be greater than 0, got 0",
        "  - trainer.max_epoch: unknown; the nearest valid name is 'max_epochs'",
    ]
    assert list(tmp_path.iterdir()) == []


def test_debug_adds_the_traceback(start: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = start("sead=1", "--debug")
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.rstrip().endswith("sead: unknown; the nearest valid name is 'seed'")


def test_cfg_job_prints_the_configuration_as_yaml_from_any_folder(
    start: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = start("--cfg", "job", "model=linear", "seed=7")
    assert (done.returncode, done.stderr) == (0, "")
    assert load(yaml.safe_load(done.stdout)) == load(compose(["model=linear", "seed=7"]))
    assert list(tmp_path.iterdir()) == []


def test_help_shows_commands_and_keys(
    start: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = start("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for part in (
        "python -m studperf.train",
        " -m ",
        "resume=",
        "--debug",
        "--cfg job",
        "max_epochs: ",
    ):
        assert part in done.stdout
    lines = done.stdout.splitlines()
    shown = {
        line.split(":")[0]: line for line in lines if ": " in line and not line.startswith(" ")
    }
    for file in sorted((ROOT / "conf").glob("*/*.yaml")):
        assert file.stem in shown[file.parent.name]
    assert set(GROUPS) <= shown.keys()


def test_a_bad_value_of_a_sweep_is_refused_before_any_run(
    start: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = start("-m", "optimizer.lr=1e-3,fast", "model=mlp,mlpp")
    assert done.returncode == 2
    assert "optimizer.lr: must be a valid number" in done.stderr
    assert "model=mlpp: there is no model of this name" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_read_enough_is_no_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "studperf.train", "--cfg", "job"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()  # type: ignore[union-attr]
        told = process.stderr.read()  # type: ignore[union-attr]
    assert (process.returncode, told) == (0, "")


@pytest.mark.slow
def test_a_run_from_another_folder_lies_there(
    start: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = start(
        "model=linear",
        "trainer=smoke",
        "data=simulated",
        "data.source.simulate.rows=600",
        "progress=false",
        "threads=1",
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "record.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StudperfError("no"), 2),
        (ConfigError("no"), 2),
        (DataError("no"), 2),
        (LeakError("no"), 2),
        (RunError("no"), 2),
        (Interrupted("no"), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_error_of_the_user_is_told_in_words(
    end: Callable[..., int], capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    assert end(failing(error)) == code
    assert capsys.readouterr().err == "error: no\n"


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (1, 1)])
def test_a_command_ends_with_what_it_returns(
    end: Callable[..., int], result: int | None, code: int
) -> None:
    assert end(lambda: result) == code


def test_ctrl_c_ends_with_130(end: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert end(failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err.casefold().startswith("error: interrupted")


def test_a_fault_of_ours_keeps_its_traceback_but_no_secret(
    end: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    address = "postgresql://me:SECRET@host/runs"
    assert end(failing(ZeroDivisionError(f"can't reach {address}"))) == 1
    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last):")
    assert "ZeroDivisionError: can't reach postgresql://" in told
    assert "SECRET" not in told


def test_debug_is_taken_off_the_words_and_adds_the_traceback(
    end: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words: list[str] = []

    def command() -> None:
        words.extend(sys.argv[1:])
        raise ConfigError("no")

    assert end(command, "--debug", "seed=1") == 2
    assert words == ["seed=1"]
    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last)")
    assert told.endswith("error: no\n")


def test_the_variable_adds_the_traceback(
    end: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDPERF_DEBUG", "1")
    assert end(failing(ConfigError("no"))) == 2
    assert capsys.readouterr().err.startswith("Traceback (most recent call last)")


def test_one_fault_and_several_are_counted() -> None:
    assert listing("Refused", ["a"]) == "Refused (1 fault):\n  - a"
    assert listing("Refused", ["a", "b"]) == "Refused (2 faults):\n  - a\n  - b"


def test_a_good_command_line_is_run_as_it_says(run: Run) -> None:
    (seen,) = run("seed=3", "model=linear")
    assert (seen.seed, seen.model_name) == (3, "linear")


def test_a_fault_is_told_before_the_task_is_entered(run: Run) -> None:
    with pytest.raises(ConfigError, match="batch_size: must be greater than 0"):
        run("batch_size=0")
    assert run.seen == []  # type: ignore[attr-defined]


def keys_below(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in node.items() if isinstance(node, dict) else ():
        yield (*path, key)
        yield from keys_below(value, (*path, key))


@pytest.mark.parametrize(
    ("file", "path"),
    [
        pytest.param(file, path, id=f"{file.stem}-{'.'.join(path)}")
        for file in SWEEPS
        for path in keys_below(yaml.safe_load(file.read_text())["hydra"])
    ],
)
def test_a_misspelt_key_of_a_sweep_file_is_refused_before_any_run(
    run: Run, checkout: Path, file: Path, path: tuple[str, ...]
) -> None:
    content = yaml.safe_load(file.read_text())
    node = functools.reduce(lambda inner, key: inner[key], path[:-1], content["hydra"])
    typo = path[-1][:-2] + path[-1][-1]
    node[typo] = node.pop(path[-1])
    (checkout / "sweeps" / file.name).write_text(
        "# @package _global_\n" + yaml.safe_dump(content, sort_keys=False)
    )
    with pytest.raises(ConfigError) as caught:
        run("-m", f"sweeps={file.stem}")
    assert typo in str(caught.value)
    if "." in path[-1]:
        assert repr(path[-1].rsplit(".", 1)[-1]) in str(caught.value)
    assert run.seen == []  # type: ignore[attr-defined]


def test_a_bad_value_in_a_sweep_file_is_refused_before_any_run(run: Run, checkout: Path) -> None:
    params = "hydra: {mode: MULTIRUN, sweeper: {params: {optimizer.lr: '1e-3,fast', model: 'mlp,mlpp'}}}\n"
    (checkout / "sweeps" / "mine.yaml").write_text("# @package _global_\n" + params)
    with pytest.raises(ConfigError) as caught:
        run("-m", "sweeps=mine")
    assert "optimizer.lr: must be a valid number" in str(caught.value)
    assert "model=mlpp: there is no model of this name" in str(caught.value)
    assert run.seen == []  # type: ignore[attr-defined]


def test_a_configuration_is_shown_by_the_words_that_would_run_it(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data.features=[age]", "trainer.limit_train_batches=2"]
    (ran,) = run(*words)
    run("--cfg", "job", *words)
    assert load(yaml.safe_load(capsys.readouterr().out)) == ran


def test_a_word_after_a_flag_is_no_override(run: Run) -> None:
    with pytest.raises(ConfigError) as caught:
        run("--cfg", "job", "sead=1")
    assert "sead" in str(caught.value)
    assert "job:" not in str(caught.value)


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("name", ["evaluate", "compare", "data.__main__"])
def test_every_command_shows_its_help(
    end: Callable[..., int], capsys: pytest.CaptureFixture[str], name: str, flag: str
) -> None:
    command = importlib.import_module(f"studperf.{name}")
    assert end(command.main, flag) == 0
    told = capsys.readouterr()
    assert f"python -m studperf.{name.removesuffix('.__main__')}" in told.out
    assert told.err == ""


def test_the_package_names_all_its_commands(
    end: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    entry = importlib.import_module("studperf.__main__")
    assert end(entry.main) == 0
    listed = re.findall(r"^  studperf (\w+) ", capsys.readouterr().out, flags=re.MULTILINE)
    assert listed == list(entry._COMMANDS)

    folder = Path(studperf.__file__).parent
    modules = {path.stem for path in folder.glob("*.py") if "_USAGE = " in path.read_text("utf-8")}
    rooms = {path.parent.name for path in folder.glob("*/__main__.py")}
    commands = {name.removeprefix("studperf.") for name in entry._COMMANDS.values()}
    assert commands == (modules | rooms | {"train"}) - {"__main__"}


def test_the_package_prints_its_version_and_names_the_command_that_was_meant(
    end: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module("studperf.__main__").main
    assert end(main, "--version") == 0
    assert capsys.readouterr().out == f"studperf {studperf.__version__}\n"
    assert end(main, "trian", "seed=1") == 2
    assert capsys.readouterr().err.startswith(
        "error: trian: unknown; the nearest valid name is 'train'"
    )


@pytest.mark.parametrize("start", [["-m", "studperf"], ["-m", "studperf.{}"]], ids=["one", "dot"])
def test_a_command_of_the_script_is_the_module_of_its_name(start: list[str]) -> None:
    words = ["compare", "runs/NOTHING"]
    if "{}" in start[1]:
        words = words[1:]
    command = [sys.executable, start[0], start[1].format("compare"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: runs/NOTHING: ")


def test_the_script_composes_as_the_module_does() -> None:
    words = ["--cfg", "job", "model=linear", "seed=3"]
    outputs = []
    for module in (["studperf", "train"], ["studperf.train"]):
        command = [sys.executable, "-m", *module, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert "seed: 3" in outputs[0]


ROOMS = ("bundle", "cloud", "data", "export", "report", "serving", "sweeps", "tracking")


@pytest.mark.parametrize(
    "name", ["evaluate", "compare", "reproduce", *(f"{room}.__main__" for room in ROOMS)]
)
def test_no_command_passes_over_a_flag_that_it_does_not_know(
    end: Callable[..., int], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert end(importlib.import_module(f"studperf.{name}").main, "list", "--debgu") == 2
    assert (
        capsys.readouterr().err == "error: --debgu: unknown; the nearest valid name is '--debug'\n"
    )


FLAGS = {  # of training: the words, the message
    "a misspelt flag": (
        ["--multirn"],
        "--multirn: unknown; the nearest valid name is '--multirun'",
    ),
    "a part of a flag": (["--mult"], "--mult: unknown; the nearest valid name is '--multirun'"),
    "a letter": (["-x"], "-x: unknown; --help shows what there is"),
    "a misspelt key": (
        ["--modl"],
        "--modl: is no flag; a key of the configuration has no dashes: model=...",
    ),
    "a key": (
        ["--optimizer.lr=3"],
        "--optimizer.lr: is no flag; a key of the configuration has no dashes: optimizer.lr=...",
    ),
    "no value": (["--cfg"], "argument --cfg/-c: expected one argument"),
    "a value too few": (["-m", "--package"], "argument --package/-p: expected one argument"),
    "another value": (["--cfg", "jbo"], "argument --cfg/-c: invalid choice: 'jbo'"),
    "another value of -i": (["--info=nothing"], "argument --info/-i: invalid choice: 'nothing'"),
    "what Hydra tries out": (["--experimental-rerun", "x"], "--experimental-rerun: unknown"),
}


@pytest.mark.parametrize(("words", "message"), FLAGS.values(), ids=FLAGS.keys())
def test_a_wrong_flag_is_refused_in_a_sentence(
    run: Run, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        run(*words)
    assert str(caught.value).startswith(message)
    assert capsys.readouterr().err == ""
    assert run.seen == []  # type: ignore[attr-defined]


def test_a_misspelt_flag_of_a_single_command_is_refused_with_it(
    end: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        end(importlib.import_module("studperf.data.__main__").main, "report", "--againts", "HEAD")
        == 2
    )
    assert "the nearest valid name is '--against'" in capsys.readouterr().err


def test_every_mistake_of_the_keys_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        read_keys(["rnu=a", "run=b", "run=c", "out=", "open"], ["run", "out", "open"])
    assert str(caught.value) == (
        "rnu: unknown; the nearest valid name is 'run'; run: is given twice, as b and c; "
        "out: has no value; say out=...; open: has no value; say open=..."
    )


@pytest.mark.parametrize(
    ("words", "expected"), [([], False), (["force=true"], True), (["force=false"], False)]
)
def test_a_switch_is_true_or_false(words: list[str], expected: bool) -> None:  # noqa: FBT001
    assert is_on(read_keys(words, ["force"]), "force") is expected


def test_a_switch_that_is_neither_is_refused() -> None:
    with pytest.raises(ConfigError, match="force: must be true or false, got 'yes'"):
        is_on({"force": "yes"}, "force")


@pytest.mark.parametrize(
    ("words", "code"),
    {
        "help": ("--help", 0),
        "a refusal": ("batch_size=0", 2),
        "a fault of Hydra's flags": ("--cfg=nothing", 2),
    }.values(),
    ids=["help", "a refusal", "flags"],
)
def test_ending_at_once_keeps_the_exit_code(
    start: Callable[..., subprocess.CompletedProcess[str]], words: str, code: int
) -> None:
    assert start(words).returncode == code


ENDING = """
import atexit, sys
from studperf.cli.process import end_at_once, importing, run_command
end_at_once()
class Loud:
    def __del__(self): sys.stdout.write("taken apart\\n")
loud = Loud()
atexit.register(lambda: sys.stdout.write("handler\\n"))
def command():
    with importing():
        import decimal
    sys.stdout.write("command\\n")
    {last}
run_command(command)
"""


@pytest.mark.parametrize(
    ("last", "code", "error"),
    {
        "done": ("return 0", 0, ""),
        "a user's fault": (
            "from studperf.errors import DataError; raise DataError('bad table')",
            2,
            "error: bad table",
        ),
        "a fault of ours": ("raise ZeroDivisionError('ours')", 1, "ZeroDivisionError: ours"),
        "a message of Python's own exit": ("sys.exit('left')", 1, "left"),
    }.values(),
    ids=["done", "users", "ours", "sys.exit"],
)
def test_a_process_ends_after_its_handlers_and_takes_nothing_apart(
    last: str, code: int, error: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDING.format(last=last)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert done.stdout == "command\nhandler\n"
    assert (done.stderr.splitlines() or [""])[-1] == error


def test_garbage_is_looked_for_again_once_packages_are_imported() -> None:
    script = (
        "import gc, sys\nfrom studperf.cli.process import importing\n"
        "with importing():\n    was = gc.isenabled()\n    import decimal\n"
        "n_frozen = gc.get_freeze_count()\n"
        "made_since = [[] for _ in range(10_000)]\n"
        "with importing():\n    import decimal\n"
        "n_more = gc.get_freeze_count() - n_frozen\n"  # below 0 where something frozen was let go
        "sys.stdout.write(f'{was} {gc.isenabled()} {n_frozen > 0} {n_more < len(made_since)}')"
    )
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith("COV")
    }  # coverage imports in the middle of a block
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=plain
    )
    assert done.stdout == "False True True True"


STRANGE = "t[bold].csv [/] :smile: \x1b[31mred\x07\u202e\u2028"


def test_what_comes_from_outside_is_never_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console()
    table = Table(title=STRANGE)
    table.add_column(STRANGE)
    table.add_row(STRANGE)
    console.print(STRANGE, soft_wrap=True)
    console.print(table)
    with console.status(STRANGE):
        pass
    print_error(STRANGE)
    print_warning(STRANGE)
    out, error = capsys.readouterr()
    shown = r"t[bold].csv [/] :smile: \x1b[31mred\x07\u202e\u2028"
    assert out.count(shown) == 4
    assert error == f"error: {shown}\nwarning: {shown}\n"
