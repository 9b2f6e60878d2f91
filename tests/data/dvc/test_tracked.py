from pathlib import Path

import pytest

from studperf.config.paths import project_root
from studperf.data.dvc.tracked import find_dvc_file, is_md5, md5_of, read_movable, read_tracked
from studperf.errors import DataError

MD5 = "0123456789abcdef0123456789abcdef"


def write(folder: Path, text: str) -> Path:
    path = folder / "data.dvc"
    path.write_text(text)
    return path


def test_a_dvc_file_names_files_beside_it(tmp_path: Path) -> None:
    (file,) = read_movable(
        write(tmp_path, f"outs:\n- md5: {MD5}\n  size: 8\n  hash: md5\n  path: data/table.csv\n")
    )
    assert (file.path, file.md5, file.size) == (tmp_path.resolve() / "data" / "table.csv", MD5, 8)


def test_the_projects_own_dvc_file_names_the_real_table(real_csv: Path) -> None:
    (file,) = read_movable(project_root() / "data.dvc")
    assert (file.md5, file.size) == (md5_of(real_csv), real_csv.stat().st_size)


@pytest.mark.parametrize(
    ("text", "message"),
    {
        "no YAML": ("outs: [", "is not a file that DVC wrote"),
        "no path": (f"outs:\n- md5: {MD5}\n", "is not a file that DVC wrote: 'path'"),
        "a list": ("- 1", "is not a file that DVC wrote"),
        "nothing": ("outs: []", "tracks nothing"),
        "a folder": (
            f"outs:\n- md5: {MD5}.dir\n  path: data\n",
            "tracks the folder data/; use dvc pull",
        ),
        "a path for an md5": ("outs:\n- md5: ../../../../etc/passwd\n  path: a.csv\n", "is no md5"),
        "a way out": (f"outs:\n- md5: {MD5}\n  path: ../a.csv\n", "lies outside"),
        "an absolute path": (f"outs:\n- md5: {MD5}\n  path: /etc/passwd\n", "lies outside"),
    }.values(),
    ids=["yaml", "path", "list", "nothing", "folder", "md5", "up", "absolute"],
)
def test_what_can_not_be_moved_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_movable(write(tmp_path, text))


def test_a_tracked_folder_is_no_fault_for_who_only_reads(tmp_path: Path) -> None:
    assert (
        read_tracked(write(tmp_path, f"outs:\n- md5: {MD5}.dir\n  path: data\n"))[0].path
        == tmp_path.resolve() / "data"
    )


def test_the_dvc_file_is_found_from_a_folder_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "outs: []")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert find_dvc_file() == path
    with pytest.raises(DataError, match="no such file; name the"):
        find_dvc_file("other.dvc")


@pytest.mark.parametrize("text", ["", MD5[:-1], MD5.upper(), f"{MD5}0", MD5[:-1] + "g"])
def test_what_is_no_md5_is_not_taken_for_one(text: str) -> None:
    assert not is_md5(text)
    assert is_md5(MD5)


def test_a_table_in_a_linked_folder_is_the_tracked_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/a.csv").write_text("a\n1\n")
    (tmp_path / "project").mkdir()
    (tmp_path / "project/data").symlink_to(tmp_path / "disk")
    dvc_file = tmp_path / "project/data.dvc"
    dvc_file.write_text(f"outs:\n- md5: {MD5}\n  path: data/a.csv\n")
    (file,) = read_movable(dvc_file)
    assert file.path == tmp_path / "project/data/a.csv"
