from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from kit.plain_rows import read_source
from studperf.config.dataset import Dataset
from studperf.config.load import load_overrides
from studperf.data.encode import Encoder
from studperf.data.infer import infer, to_yaml
from studperf.data.schema import check_table
from studperf.data.split import split_table
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
    assert {name: columns[name]["kind"] for name in ("listed", "sold", "note")} == dict.fromkeys(
        ("listed", "sold", "note"), "unused"
    )
    assert (
        columns["listed"]["why"]
        == columns["sold"]["why"]
        == "dates; a number made of them, such as days since the first, can be a feature"
    )
    assert columns["plant"] == {"kind": "category", "unseen": "other", "rare": 3}
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


def kinds_of(path: Path, target: str = "price") -> dict[str, str]:
    return {name: column["kind"] for name, column in infer(path, target).columns.items()}


def test_category_of_many_levels_is_kept_and_checks(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    table = make_table(3000).drop(columns=["car_id", "remark"])
    town = rng.choice(187, 3000)
    rare = rng.choice(4000, 3000)
    effect = rng.normal(0, 3000, 187)
    table["price"] = (table["price"] + effect[town]).round().astype(int)
    table["town"], table["street"] = [f"T{i}" for i in town], [f"S{i}" for i in rare]
    plain = drafted(table, tmp_path / "cars.csv")
    assert plain["columns"]["town"] == {"kind": "category", "unseen": "other", "rare": 5}
    # Of 4,000 streets hardly one has three cars: nothing could be learnt of them.
    assert plain["columns"]["street"]["kind"] == "unused"
    dataset = Dataset.model_validate(plain)
    raw, _ = read_source(dataset)
    assert len(check_table(raw, dataset)) == 3000


def test_so_many_levels_are_kept_and_not_more(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    table = make_table(40_000)[["fuel", "price"]]
    table["town"] = [f"T{i}" for i in (3000 * rng.random(40_000) ** 2).astype(int)]
    rare = drafted(table, tmp_path / "cars.csv")["columns"]["town"]["rare"]
    counts = table["town"].value_counts()
    assert 150 <= (0.8 * counts >= rare).sum() <= 250, "in the training rows"


def coded_table() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    n_rows = 2000
    table = make_table(n_rows)[["fuel"]]
    plant = rng.choice(np.arange(1000, 4000, 75), n_rows)
    effect = dict(zip(np.unique(plant), rng.normal(0, 2000, 40), strict=True))
    age, month = rng.integers(0, 15, n_rows), rng.integers(1, 13, n_rows)
    season = 3000 * np.sin(2 * np.pi * month / 12)
    price = 20_000 - 500 * age + season + [effect[code] for code in plant]
    return table.assign(
        v7=plant,
        zip=rng.choice([98101, 98109, 98122], n_rows),
        age=age,
        month=month,
        doors=rng.choice([3, 5], n_rows),
        price=(price + rng.normal(0, 500, n_rows)).round().astype(int),
    )


def test_codes_are_told_from_amounts_by_values_and_then_by_name(tmp_path: Path) -> None:
    coded_table().to_csv(tmp_path / "cars.csv", index=False)
    draft = infer(tmp_path / "cars.csv", "price")
    kinds = {name: column["kind"] for name, column in draft.columns.items()}
    assert kinds == {
        "fuel": "category",
        "v7": "category",
        "zip": "category",
        "age": "number",
        "month": "number",
        "doors": "number",
    }
    assert draft.questions.keys() == {"v7", "zip"}
    assert "not in their order" in draft.questions["v7"].text
    line = next(line for line in to_yaml(draft).splitlines() if line.startswith("  v7:"))
    assert "# a guess: codes? It has 40 different whole numbers" in line
    assert "else write {kind: number, typical: [1000, 3925], step: 1}" in line


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("gaps", lambda rng: np.sort(rng.choice(900, 300, replace=False))),
        ("shuffled", lambda rng: rng.permutation(900)[:300]),
        ("steps", lambda _: np.arange(300) * 10_000 + 5),
        ("customer_id", lambda rng: rng.choice(10**9, 300, replace=False)),
        ("KundenNr", lambda rng: rng.choice(10**9, 300, replace=False)),
    ],
)
def test_row_numbers_and_ids_are_known_and_asked_about(
    name: str, values: Callable[[np.random.Generator], np.ndarray], tmp_path: Path
) -> None:
    table = make_table()[["fuel", "price"]].assign(**{name: values(np.random.default_rng(6))})
    table.to_csv(tmp_path / "cars.csv", index=False)
    draft = infer(tmp_path / "cars.csv", "price")
    assert draft.columns[name] == {"kind": "id"}
    assert draft.questions[name].otherwise["kind"] == "number"


def test_rank_that_the_target_follows_is_kept_and_asked_about(tmp_path: Path) -> None:
    table = make_table()[["fuel", "price"]]
    noise = np.random.default_rng(11).normal(0, 2000, 300)
    table["rank"] = (table["price"] + noise).rank().astype(int)
    table.to_csv(tmp_path / "cars.csv", index=False)
    draft = infer(tmp_path / "cars.csv", "price")
    assert draft.columns["rank"]["kind"] == "number"
    assert draft.questions["rank"].otherwise == {"kind": "id"}


def test_sorted_measure_is_no_row_number(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    table = make_table()[["fuel", "price"]]
    table["mileage"] = np.sort(rng.choice(200_000, 300, replace=False))
    table.to_csv(tmp_path / "cars.csv", index=False)
    assert kinds_of(tmp_path / "cars.csv")["mileage"] == "number"


def in_europe(values: np.ndarray, digits: int = 2) -> list[str]:
    return [f"{value:,.{digits}f}".translate(str.maketrans(",.", ".,")) for value in values]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decimal_commas_and_thousands_are_found(tmp_path: Path, delimiter: str) -> None:
    rng = np.random.default_rng(8)
    table = make_table()[["fuel"]].assign(
        weight=in_europe(rng.normal(1400, 200, 300), 1),
        price=in_europe(rng.normal(20_000, 900, 300)),
    )
    plain = drafted(table, tmp_path / "cars.csv", sep=delimiter)
    assert plain["source"]["decimal"] == ","
    assert plain["source"]["thousands"] == "."
    assert plain["columns"]["weight"]["kind"] == "number"
    assert plain["columns"]["weight"]["typical"][0] > 500
    dataset = Dataset.model_validate(plain)
    frame = check_table(read_source(dataset)[0], dataset).frame
    assert frame["price"].mean() == pytest.approx(20_000, rel=0.01)


def test_thousands_between_commas_are_no_decimals(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    table = make_table()[["fuel", "price"]].assign(
        mileage=[f"{value:,}" for value in rng.integers(1000, 90_000, 300)]
    )
    plain = drafted(table, tmp_path / "cars.csv")
    assert plain["source"]["thousands"] == ","
    assert plain["columns"]["mileage"]["typical"][1] > 80_000


def test_commas_that_could_mean_either_are_asked_about(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    table = make_table()[["fuel", "price"]].assign(
        length=[f"{value:.3f}".replace(".", ",") for value in rng.uniform(2, 5, 300)]
    )
    table.to_csv(tmp_path / "cars.csv", index=False, sep=";")
    draft = infer(tmp_path / "cars.csv", "price")
    assert draft.columns["length"]["kind"] == "number"
    assert "read with a decimal comma" in draft.questions["length"].text


@pytest.mark.parametrize(
    "form",
    [
        "%Y-%m-%d",
        "%Y-%m-%dT%H:%M:%SZ",
        "%Y-%m-%d %H:%M:%S.%f+02:00",
        "%Y/%m/%d",
        "%d.%m.%Y %H:%M",
        "%m/%d/%Y %I:%M %p",
        "%b %d, %Y",
        "%B %d %Y",
        "%d %b %Y",
        "%d-%b-%y",
        "%a, %d %b %Y %H:%M:%S GMT",
        "%Y.%m.%d",
        "%d. März %Y",
    ],
)
def test_spellings_of_dates_are_known(form: str, tmp_path: Path) -> None:
    days = pd.Timestamp("2019-01-01") + pd.to_timedelta(np.arange(300) * 31, unit="h")
    table = make_table()[["fuel", "price"]].assign(day=days.strftime(form))
    column = drafted(table, tmp_path / "cars.csv")["columns"]["day"]
    assert column["kind"] == "unused"
    assert column["why"].startswith("dates")


@pytest.mark.parametrize("cells", [["12 apples"], ["A 12, 20"], ["1/2"], ["3-4"], ["B-2012"]])
def test_other_texts_are_no_dates(cells: list[str], tmp_path: Path) -> None:
    table = make_table()[["fuel", "price"]].assign(text=np.resize([*cells, "x"], 300))
    table.loc[::10, "text"] = cells[0]
    assert "dates" not in str(drafted(table, tmp_path / "cars.csv")["columns"]["text"])


def test_numbers_that_can_not_be_computed_with_are_left_out_in_words(tmp_path: Path) -> None:
    table = make_table()[["fuel", "price"]].assign(
        far=[f"{i}e300" for i in range(300)], inf=["1e400", *map(str, range(299))]
    )
    columns = drafted(table, tmp_path / "cars.csv")["columns"]
    assert "beyond 1e+30" in columns["far"]["why"]
    assert (
        "1 values are infinite, or larger than any number can be (row 1)" in columns["inf"]["why"]
    )


def test_long_cells_are_no_levels(tmp_path: Path) -> None:
    table = make_table()[["fuel", "price"]].assign(note="short")
    table.loc[5, "note"] = "word " * 200_000
    column = drafted(table, tmp_path / "cars.csv")["columns"]["note"]
    assert column["why"] == "long texts, of up to 1,000,000 characters"


def test_nested_parquet_columns_are_read_as_text(tmp_path: Path) -> None:
    table = pa.Table.from_pandas(make_table()[["fuel", "price"]])
    table = table.append_column("tags", pa.array([[i % 3] for i in range(300)]))
    pq.write_table(table, tmp_path / "cars.parquet")
    columns = infer(tmp_path / "cars.parquet", "price").columns
    assert columns["tags"] == {"kind": "category", "levels": ["[0]", "[1]", "[2]"]}


def test_few_numbers_with_a_word_among_them_are_levels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cylinders = rng.choice(["3", "4", "6", "8"], 93).astype(object)
    cylinders[40] = "rotary"
    frame = pd.DataFrame({"cylinders": cylinders, "price": rng.normal(20, 5, 93)})
    frame.to_csv(tmp_path / "cars.csv", index=False)

    column = infer(tmp_path / "cars.csv", "price").columns["cylinders"]
    assert column["kind"] == "category"
    assert column["levels"] == ["3", "4", "6", "8", "rotary"]


def test_levels_that_are_all_as_frequent_are_not_all_rare(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    country = np.repeat([f"country {i}" for i in range(210)], 54)
    frame = pd.DataFrame({"country": country, "y": rng.normal(size=len(country))})
    frame.to_csv(tmp_path / "panel.csv", index=False)

    draft = infer(tmp_path / "panel.csv", "y")
    dataset = Dataset.model_validate(draft.as_plain())
    table = check_table(read_source(dataset)[0], dataset)
    train = table.rows(split_table(table).train)
    (country,) = Encoder.fit(train, load_overrides([]).encode).categories
    assert len(country.levels) > 50


@pytest.mark.parametrize(("word", "kind"), [("Lot", "category"), ("EUR", "unused")])
def test_word_before_a_number_makes_a_name_unless_it_is_a_currency(
    word: str, kind: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    lots = [f"{word} {number}" for number in rng.integers(0, 200, 2000)]
    y = rng.normal(size=2000)
    pd.DataFrame({"lot": lots, "x": y + rng.normal(size=2000), "y": y}).to_csv(
        tmp_path / "t.csv", index=False
    )
    assert infer(tmp_path / "t.csv", "y").columns["lot"]["kind"] == kind
