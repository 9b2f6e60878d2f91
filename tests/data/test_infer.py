from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from studperf.config.dataset import Dataset
from studperf.data.infer import infer, to_yaml
from studperf.data.schema import check_table
from studperf.data.source import read_source
from studperf.errors import DataError


def make_table(n_rows: int = 300, seed: int = 0) -> pd.DataFrame:
    """Cars, not students: other names, missing values in three guises, an integer target."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(1400, 200, n_rows).round(1)
    price = (weight * 12 + rng.normal(0, 900, n_rows)).round().astype(int)
    table = pd.DataFrame(
        {
            "car_id": [f"C{i:04d}" for i in range(n_rows)],
            "weight kg": weight.astype(str),
            "fuel": rng.choice(["petrol", "diesel", "None", "electric"], n_rows),
            "doors": rng.choice(["3", "5"], n_rows),
            "automatic": rng.choice(["yes", "no"], n_rows),
            "owner": rng.choice(["first", "second", ""], n_rows, p=[0.6, 0.3, 0.1]),
            "wheels": "4",
            "remark": [f"text {rng.integers(10**9)}" for _ in range(n_rows)],
            "band": np.where(price > np.quantile(price, 0.7), "high", "low"),
            "price": price,
        }
    )
    table.loc[rng.choice(n_rows, 20, replace=False), "weight kg"] = "NA"
    return table


def drafted(
    table: pd.DataFrame, path: Path, target: str = "price", **options: object
) -> dict[str, object]:
    table.to_csv(path, index=False, **options)
    return yaml.safe_load(to_yaml(infer(path, target)))


def test_every_kind_is_recognised(tmp_path: Path) -> None:
    plain = drafted(make_table(), tmp_path / "cars.csv")
    kinds = {name: column["kind"] for name, column in plain["columns"].items()}
    assert kinds == {
        "car_id": "id",
        "weight kg": "number",
        "fuel": "category",
        "doors": "number",
        "automatic": "flag",
        "owner": "category",
        "wheels": "unused",
        "remark": "id",
        "band": "leak",
    }
    assert plain["columns"]["weight kg"]["fill"] == "median"
    assert plain["columns"]["owner"]["fill"] == "mode"
    assert "None" in plain["columns"]["fuel"]["levels"]
    assert plain["columns"]["wheels"]["why"] == "constant"
    assert plain["source"]["missing"] == ["", "NA"]
    assert plain["name"] == "cars"


def test_the_draft_checks_the_file_it_came_from(tmp_path: Path) -> None:
    plain = drafted(make_table(), tmp_path / "cars.csv")
    dataset = Dataset.model_validate(plain)
    raw, _ = read_source(dataset)
    table = check_table(raw, dataset)
    assert len(table) == 300
    assert table.frame["weight kg"].isna().sum() == 20


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    plain = drafted(make_table(), tmp_path / "cars.csv", sep=delimiter)
    assert plain["source"]["delimiter"] == delimiter


def test_the_encoding_is_found(tmp_path: Path) -> None:
    table = make_table()
    table["fuel"] = table["fuel"].replace("petrol", "Benzin für Autos")
    plain = drafted(table, tmp_path / "cars.csv", encoding="latin-1")
    assert plain["source"]["encoding"] == "latin-1"
    assert "Benzin für Autos" in plain["columns"]["fuel"]["levels"]


def test_parquet_and_gzip_are_read(tmp_path: Path) -> None:
    table = make_table()
    table.to_parquet(tmp_path / "cars.parquet")
    table.to_csv(tmp_path / "cars.csv.gz", index=False)
    for name in ("cars.parquet", "cars.csv.gz"):
        assert infer(tmp_path / name, "price").columns["fuel"]["kind"] == "category"


def test_rows_without_target_are_to_be_left_out(tmp_path: Path) -> None:
    table = make_table()
    table["price"] = table["price"].astype(object)
    table.loc[5, "price"] = ""
    plain = drafted(table, tmp_path / "cars.csv")
    assert plain["drop_missing_target"] is True
    dataset = Dataset.model_validate(plain)
    assert len(check_table(read_source(dataset)[0], dataset)) == 299


def test_counting_numbers_are_an_id_and_others_are_not(tmp_path: Path) -> None:
    table = make_table()[["fuel", "price"]].assign(
        n=range(7, 307), mileage=np.random.default_rng(1).permutation(10**6)[:300]
    )
    kinds = {
        name: column["kind"]
        for name, column in drafted(table, tmp_path / "cars.csv")["columns"].items()
    }
    assert kinds["n"] == "id"
    assert kinds["mileage"] == "number"


@pytest.mark.parametrize(
    ("target", "message"),
    [("cost", "no such column; it has car_id"), ("fuel", "not a column of numbers")],
)
def test_a_target_that_can_not_be_one_is_refused(tmp_path: Path, target: str, message: str) -> None:
    make_table().to_csv(tmp_path / "cars.csv", index=False)
    with pytest.raises(DataError, match=message):
        infer(tmp_path / "cars.csv", target)


def test_a_table_without_features_is_refused(tmp_path: Path) -> None:
    make_table()[["car_id", "wheels", "price"]].to_csv(tmp_path / "cars.csv", index=False)
    with pytest.raises(DataError, match="no column could be a feature"):
        infer(tmp_path / "cars.csv", "price")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        infer(tmp_path / "cars.csv", "price")


def test_the_real_table_is_drafted_with_both_leaks(real_csv: Path) -> None:
    columns = infer(real_csv, "final_score").columns
    assert {name for name, column in columns.items() if column["kind"] == "leak"} == {
        "passed",
        "performance_category",
    }
    assert {name for name, column in columns.items() if column["kind"] == "id"} == {"student_id"}
    assert "None" in columns["ai_tools_used"]["levels"]


def test_dates_codes_and_free_text_are_told_from_numbers_and_ids(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.permutation(300), unit="D")
    table = make_table()[["fuel", "price"]].assign(
        listed=days.strftime("%Y-%m-%d"),
        sold=days.strftime("%d.%m.%Y"),
        area=rng.choice(["00501", "98103", "98104"], 300),
        part=rng.permutation([f"{i:06}" for i in range(300)]),
        plant=[f"{i:05}" for i in rng.choice(range(0, 9000, 45), 300)],
        note=[f"well kept by its owner {i}" for i in range(300)],
    )
    columns = drafted(table, tmp_path / "cars.csv")["columns"]
    assert columns["area"] == {"kind": "category", "levels": ["00501", "98103", "98104"]}
    assert columns["part"] == {"kind": "id"}
    assert {
        name: columns[name]["kind"] for name in ("listed", "sold", "plant", "note")
    } == dict.fromkeys(("listed", "sold", "plant", "note"), "unused")
    assert (
        columns["listed"]["why"]
        == columns["sold"]["why"]
        == "dates; a number made of them, such as days since the first, can be a feature"
    )
    assert "different codes in 300 rows" in columns["plant"]["why"]
    assert columns["note"]["why"] == "free text, different in each row"
    dataset = Dataset.model_validate(drafted(table, tmp_path / "cars.csv"))
    assert set(check_table(read_source(dataset)[0], dataset).frame["area"]) == {
        "00501",
        "98103",
        "98104",
    }


def test_a_path_from_above_holds_in_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_table().to_csv(tmp_path / "cars.csv", index=False)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert infer(Path("../cars.csv"), "price").source["path"] == str(
        tmp_path.resolve() / "cars.csv"
    )
    monkeypatch.chdir(tmp_path)
    assert infer(Path("cars.csv"), "price").source["path"] == "cars.csv"
