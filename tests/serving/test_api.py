import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from studperf.bundle import Bundle
from studperf.serving import api
from studperf.serving.predictor import MAX_ROWS, Predictor, RequestError

Rows = list[dict[str, Any]]
Ask = Callable[..., tuple[int, Any, dict[str, str]]]


def test_predictions_are_those_of_the_bundle(ask: Ask, rows: Rows, bundle_folder: Path) -> None:
    status, answer, _ = ask("POST", "/predict", {"rows": rows})
    expected = Bundle.open(bundle_folder).predict(
        {name: [row[name] for row in rows] for name in rows[0]}
    )
    assert status == 200
    assert expected.low is not None
    assert [p["predicted"] for p in answer["predictions"]] == list(expected.predicted)
    assert [p["low"] for p in answer["predictions"]] == list(expected.low)
    assert (answer["target"], answer["unit"], answer["level"]) == ("final_score", "points", 0.9)


def test_a_value_that_may_be_missing_may_be_null_or_left_out(ask: Ask, rows: Rows) -> None:
    without = {name: value for name, value in rows[0].items() if name not in ("age", "gender")}
    answers = [
        ask("POST", "/predict", {"rows": [row]})
        for row in (without, {**without, "age": None, "gender": None})
    ]
    assert [status for status, _, _ in answers] == [200, 200]
    assert answers[0][1]["predictions"] == answers[1][1]["predictions"]


def test_extrapolation_is_warned_of(ask: Ask, rows: Rows) -> None:
    status, answer, _ = ask("POST", "/predict", {"rows": [{**rows[0], "study_hours_per_day": 23}]})
    assert status == 200
    assert "study_hours_per_day: 1 value outside of the training range" in answer["warnings"][0]


BAD_CELLS = {
    "a missing column": ({"sleep_hours": ...}, ["rows.0.sleep_hours: is missing"]),
    "an unknown column": ({"iq": 3}, ["rows.0.iq: is unknown"]),
    "a number as text": ({"sleep_hours": "7"}, ["rows.0.sleep_hours: must be a number"]),
    "a flag as text": ({"uses_ai": "yes"}, ["rows.0.uses_ai: must be true, false, 0 or 1"]),
    "a list": ({"gender": ["Male"]}, ["rows.0.gender: must be text"]),
    "text without an end": ({"gender": "M" * 201}, ["rows.0.gender: is longer than 200 characters"]),
    "an unknown level": ({"gender": "M"}, ["gender: unknown level in 1 row: 'M' (row 1); known: Female, Male, Other"]),
    "an impossible number": ({"sleep_hours": 25}, ["sleep_hours: 1 value outside of 0 to 24 hours: '25' (row 1)"]),
}  # fmt: skip


@pytest.mark.parametrize(("change", "faults"), BAD_CELLS.values(), ids=BAD_CELLS.keys())
def test_a_cell_that_the_model_was_not_made_for_is_named(
    ask: Ask, rows: Rows, change: dict[str, Any], faults: list[str]
) -> None:
    row = {name: value for name, value in {**rows[0], **change}.items() if value is not ...}
    status, answer, _ = ask("POST", "/predict", {"rows": [row]})
    assert status == 422
    assert answer == {"error": "the request can't be answered", "faults": faults}


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_finite_number_is_refused(ask: Ask, rows: Rows, word: str) -> None:
    text = (
        str({"rows": [{**rows[0], "sleep_hours": 7}]})
        .replace("'", '"')
        .replace('"sleep_hours": 7', f'"sleep_hours": {word}')
    )
    status, answer, _ = ask("POST", "/predict", text.encode())
    assert status == 422
    assert answer["faults"] == ["rows.0.sleep_hours: must be a finite number"]


@pytest.mark.parametrize(
    ("column", "digits", "fault"),
    [
        ("sleep_hours", 309, "rows.0.sleep_hours: must be a finite number"),
        ("sleep_hours", 4300, "rows.0.sleep_hours: must be a finite number"),
        ("sleep_hours", 4301, "the body: holds a number of thousands of digits"),
        ("uses_ai", 309, "rows.0.uses_ai: must be true, false, 0 or 1"),
        ("gender", 309, "rows.0.gender: must be text"),
    ],
)
@pytest.mark.parametrize("sign", ["", "-"], ids=["plus", "minus"])
def test_an_integer_beyond_all_floats_is_refused_in_words(
    ask: Ask, rows: Rows, column: str, digits: int, sign: str, fault: str
) -> None:
    row = json.dumps({**rows[0], column: "HERE"})
    text = row.replace('"HERE"', sign + "9" * digits)
    status, answer, _ = ask("POST", "/predict", f'{{"rows": [{text}]}}'.encode())
    assert (status, answer["faults"]) == (422, [fault])


def test_values_too_large_to_compute_with_are_refused_by_row(
    bundle_folder: Path, rows: Rows
) -> None:
    bundle = Bundle.open(bundle_folder)
    columns = [column.model_copy(update={"range": None}) for column in bundle.schema.columns]
    schema = bundle.schema.model_copy(update={"columns": tuple(columns)})
    boundless = Predictor.of(replace(bundle, schema=schema))
    far = {**rows[1], "sleep_hours": 1e300}
    with pytest.raises(RequestError, match="row 2: the values are too large to compute") as refused:
        boundless.answer(json.dumps({"rows": [rows[0], far, rows[2]]}).encode())
    assert len(refused.value.faults) == 1


VALUES = (
    *("1e400", "-1e400", "1e308", "5e-324", "-0.0", "NaN", "Infinity", "01", "1.", "1e99999999999"),
    *("9" * digits for digits in (16, 20, 39, 308, 309, 400, 4300, 4301, 9000)),
    *('""', '"\\u0000"', '"\\ud800"', '"\\udfff\\ud800"', '"\n"', '"\u2028"', f'"{"9" * 400}"'),
    *("true", "null", "[]", "{}", '{"a": [1]}', "[" * 300 + "]" * 300, "[" * 9000, '{"a":' * 5000),
)


@pytest.mark.parametrize("seed", range(4))
def test_no_body_is_answered_by_a_fault_of_ours(ask: Ask, rows: Rows, seed: int) -> None:
    random = Random(seed)  # noqa: S311 - picks cases
    statuses = set()
    for _ in range(100):
        cells = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in rows[0].items()]
        for _ in range(random.randint(1, 3)):
            name = random.choice([*rows[0], "", "c0", "model_config", "\u2028"])
            cell = f"{json.dumps(name)}: {random.choice(VALUES)}"
            cells.insert(random.randrange(len(cells)), cell)  # often a key that is there twice
            cells.pop(random.randrange(len(cells)))
        text = bytearray(f'{{"rows": [{{{", ".join(cells)}}}]}}'.encode())
        if random.random() < 0.2:
            text[random.randrange(len(text))] = random.randrange(256)
        statuses.add(ask("POST", "/predict", bytes(text))[0])
    assert statuses <= {200, 422}
    assert 422 in statuses


@pytest.mark.parametrize(
    ("body", "fault"),
    {
        "no JSON": (b"rows", "the body: is not JSON"),
        "nothing": (b"", "the body: is not JSON"),
        "no rows": ({"rows": []}, "rows: holds no row"),
        "another key": ({"rows": [], "debug": True}, "debug: is unknown"),
        "a list": ([b"[]"], "the body: input should be an object"),
        "no record": ({"rows": [3]}, "rows.0: input should be an object"),
        "a deep hole": ([b"[" * 100_000], "the body: is not JSON"),
        "no text": ([b'{"rows": "\xff"}'], "the body: is not JSON"),
    }.values(),
    ids=["json", "empty", "rows", "key", "list", "record", "deep", "bytes"],
)
def test_a_body_of_another_shape_is_refused(ask: Ask, body: Any, fault: str) -> None:
    status, answer, _ = ask("POST", "/predict", body)
    assert (status, answer["faults"][-1]) == (422, fault)


def test_more_rows_than_the_limit_are_refused_and_as_many_are_not(ask: Ask, rows: Rows) -> None:
    assert ask("POST", "/predict", {"rows": [rows[0]] * MAX_ROWS})[0] == 200
    status, answer, _ = ask("POST", "/predict", {"rows": [rows[0]] * (MAX_ROWS + 1)})
    assert (status, answer["faults"]) == (422, [f"rows: holds more than {MAX_ROWS} rows"])


def test_a_flood_of_faults_is_told_in_part(ask: Ask) -> None:
    _, answer, _ = ask("POST", "/predict", {"rows": [{}] * 100})
    assert len(answer["faults"]) == 21
    assert answer["faults"][-1].startswith("and ")


LARGE = [b"x" * (1 << 18)] * 5


@pytest.mark.parametrize(
    "told", [{"content_length": str(2 << 20)}, {}], ids=["by its header", "by its bytes"]
)
def test_a_body_larger_than_the_limit_is_refused(ask: Ask, told: dict[str, str]) -> None:
    status, answer, headers = ask("POST", "/predict", LARGE, **told)
    assert (status, answer["error"], headers["connection"]) == (
        413,
        "the body is larger than 1048576 bytes; send fewer rows at a time",
        "close",
    )


def test_a_body_that_does_not_arrive_is_given_up(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "BODY_S", 0.1)
    started = time.monotonic()
    assert ask("POST", "/predict", [b"{", "silence"])[0] == 408
    assert ask("POST", "/predict", [b"{", "gone"])[0] == 400
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/predict", {"content_type": "text/csv"}, 415),
        ("POST", "/predict", {"content_encoding": "gzip"}, 415),
        ("GET", "/predict", {}, 405),
        ("GET", "/docs", {}, 404),
    ],
)
def test_another_door_is_shut(
    ask: Ask, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    assert ask(method, path, b"", **headers)[0] == status


def test_health_and_schema_tell_which_run_answers(ask: Ask, bundle_folder: Path) -> None:
    name = bundle_folder.parent.name
    assert ask("GET", "/health")[:2] == (200, {"status": "ok", "run": name})
    status, told, _ = ask("GET", "/schema")
    assert status == 200
    assert told["answered_by"]["run"] == name
    assert {"name": "sleep_hours", "kind": "number"}.items() <= next(
        c for c in told["schema"]["columns"] if c["name"] == "sleep_hours"
    ).items()


def test_a_fault_of_ours_shows_nothing_of_the_inside(
    ask: Ask, rows: Rows, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(Predictor, "answer", fail)
    with caplog.at_level(logging.ERROR):
        answer = ask("POST", "/predict", {"rows": rows})
    assert answer[:2] == (500, {"error": "a fault of the server; it was logged", "faults": []})
    assert "/secret/path" in caplog.text


def test_names_that_python_keeps_for_itself_are_names_of_columns_too(
    bundle_folder: Path, rows: Rows
) -> None:
    bundle = Bundle.open(bundle_folder)
    schema = bundle.schema.model_copy(
        update={
            "columns": tuple(
                c.model_copy(update={"name": "model_config"}) if c.name == "age" else c
                for c in bundle.schema.columns
            )
        }
    )
    request = Predictor.of(
        Bundle(bundle.folder, bundle.manifest, schema, bundle.metrics, bundle.session)
    ).request
    row = {("model_config" if name == "age" else name): value for name, value in rows[0].items()}
    assert (
        request.model_validate({"rows": [row]}).model_dump(by_alias=True)["rows"][0]["model_config"]
        == rows[0]["age"]
    )


def test_each_row_gets_its_own_prediction(ask: Ask, rows: Rows) -> None:
    together = ask("POST", "/predict", {"rows": rows})[1]["predictions"]
    alone = [ask("POST", "/predict", {"rows": [row]})[1]["predictions"][0] for row in rows]
    np.testing.assert_allclose(
        [p["predicted"] for p in together], [p["predicted"] for p in alone], rtol=1e-6
    )
