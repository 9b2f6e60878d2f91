"""Alert policies and the budget, held against the shape that Google documents, and their runbooks."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from studperf.config.paths import project_root

FOLDER = project_root() / "docs" / "operations"
POLICIES = sorted(FOLDER.glob("*.yaml"))
THRESHOLD_KEYS = {
    *("filter", "denominatorFilter", "aggregations", "denominatorAggregations"),
    *("comparison", "thresholdValue", "duration", "trigger"),
}


def load(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", POLICIES, ids=[path.stem for path in POLICIES])
def test_a_policy_has_the_documented_shape(path: Path) -> None:
    policy = load(path)
    assert policy.keys() <= {
        "displayName",
        "severity",
        "combiner",
        "conditions",
        "alertStrategy",
        "documentation",
        "userLabels",
    }
    assert policy["combiner"] in ("OR", "AND")
    assert policy["severity"] in ("CRITICAL", "ERROR", "WARNING")
    for condition in policy["conditions"]:
        kinds = condition.keys() - {"displayName"}
        assert kinds in ({"conditionThreshold"}, {"conditionMatchedLog"})
        if "conditionMatchedLog" in condition:  # Google demands a limit for those
            assert re.fullmatch(r"\d+s", policy["alertStrategy"]["notificationRateLimit"]["period"])
            continue
        threshold = condition["conditionThreshold"]
        assert threshold.keys() <= THRESHOLD_KEYS
        assert threshold["comparison"] == "COMPARISON_GT"
        assert int(threshold["duration"].removesuffix("s")) % 60 == 0
        for aggregation in [
            *threshold["aggregations"],
            *threshold.get("denominatorAggregations", []),
        ]:
            assert int(aggregation["alignmentPeriod"].removesuffix("s")) >= 60
            assert aggregation["perSeriesAligner"].startswith("ALIGN_")
            assert aggregation["crossSeriesReducer"].startswith("REDUCE_")


@pytest.mark.parametrize("path", POLICIES, ids=[path.stem for path in POLICIES])
def test_a_policy_names_its_runbook_and_the_runbook_names_it(path: Path) -> None:
    runbook = path.with_suffix(".md")
    assert f"docs/operations/{runbook.name}" in load(path)["documentation"]["content"]
    text = runbook.read_text(encoding="utf-8")
    assert f"[{path.name}]({path.name})" in text
    assert "**What to do:**" in text
    assert f"operations/{path.name}" in (FOLDER.parent / "operations.md").read_text(
        encoding="utf-8"
    )


def test_a_threshold_is_the_one_that_its_words_say() -> None:
    errors, slow = (
        load(FOLDER / f"{name}.yaml")["conditions"][0]
        for name in ("serving-errors", "serving-slow")
    )
    assert (
        f"{errors['conditionThreshold']['thresholdValue']:.0%}".replace("%", " %")
        in errors["displayName"]
    )
    assert (
        f"{int(errors['conditionThreshold']['duration'][:-1]) // 60} minutes"
        in errors["displayName"]
    )
    assert slow["conditionThreshold"]["thresholdValue"] == 1000  # milliseconds: a second
    assert (
        f"{int(slow['conditionThreshold']['duration'][:-1]) // 60} minutes" in slow["displayName"]
    )


def test_a_budget_tells_before_and_when_it_is_spent() -> None:
    budget = json.loads((FOLDER / "budget.json").read_text(encoding="utf-8"))
    assert budget.keys() <= {
        "displayName",
        "budgetFilter",
        "amount",
        "thresholdRules",
        "notificationsRule",
    }
    assert int(budget["amount"]["specifiedAmount"]["units"]) > 0
    shares = [rule["thresholdPercent"] for rule in budget["thresholdRules"]]
    assert shares == sorted(shares)
    assert shares[0] < 1 <= shares[-1]
    assert {rule["spendBasis"] for rule in budget["thresholdRules"]} <= {
        "CURRENT_SPEND",
        "FORECASTED_SPEND",
    }
    assert "[budget.json](budget.json)" in (FOLDER / "budget.md").read_text(encoding="utf-8")
