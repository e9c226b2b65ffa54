"""Tests the alerts and the dashboard in cluster/ with Prometheus's own tool, promtool.

The path of promtool is in MULAN_PROMTOOL (.ci/run), or it is installed. No Grafana is run, since no package registry
has it: that it accepts the dashboard is tested only as far as its JSON model is documented.
"""

import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mulan.telemetry.gauges import GAUGES

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "cluster" / "prometheus-alerts.yaml"
DASHBOARD = ROOT / "cluster" / "grafana-dashboard.json"
README = ROOT / "cluster" / "README.md"

Panel = dict[str, Any]


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def panels(dashboard: dict[str, Any]) -> list[Panel]:
    """Returns the panels with data, which are all but the titles of rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def targets(panels: list[Panel]) -> Iterator[tuple[Panel, dict[str, str]]]:
    for panel in panels:
        for target in panel["targets"]:
            yield panel, target


def gauges_in(expression: str) -> set[str]:
    return set(re.findall(r"\bray_(mulan_\w+)", expression))


def test_the_dashboard_shows_every_gauge_and_no_other(panels: list[Panel]) -> None:
    shown = set().union(*(gauges_in(target["expr"]) for _, target in targets(panels)))
    assert shown == set(GAUGES)


def test_alerts_use_gauges_that_are_published_and_rules_that_are_recorded(rules: list[dict[str, Any]]) -> None:
    recorded: set[str] = set()
    for rule in rules:
        assert gauges_in(rule["expr"]) <= set(GAUGES)
        used = set(re.findall(r"\brun:[\w:]+", rule["expr"]))
        assert used <= recorded | {rule.get("record")}
        recorded.add(rule.get("record", ""))


def test_panels_have_ids_of_their_own_and_do_not_overlap(dashboard: dict[str, Any]) -> None:
    every = dashboard["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    places = [panel["gridPos"] for panel in every]
    cells = [
        cell
        for at in places
        for cell in itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))
    ]
    assert len(set(cells)) == len(cells)
    assert {x for x, _ in cells} == set(range(24))  # the width of a dashboard
    assert [at["y"] for at in places] == sorted(at["y"] for at in places)


def test_panels_say_what_they_show(panels: list[Panel]) -> None:
    for panel in panels:
        assert panel["description"].endswith(".") and panel["title"]
        assert "unit" in panel["fieldConfig"]["defaults"] or panel["type"] == "state-timeline"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        assert all("{{run}}" in target["legendFormat"] for target in panel["targets"])


def test_data_sources_and_runs_are_chosen_by_variables(dashboard: dict[str, Any], panels: list[Panel]) -> None:
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert {name: variable["type"] for name, variable in variables.items()} == {
        "datasource": "datasource",
        "run": "query",
    }
    assert gauges_in(variables["run"]["query"]["query"]) == {"mulan_step"}
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert all(part["datasource"] == chosen for pair in targets(panels) for part in pair)
    for _, target in targets(panels):
        selectors = re.findall(r"(?:ray_mulan_\w+|ALERTS)(\{.*?\})?", target["expr"])
        assert selectors and all('run=~"$run"' in selector for selector in selectors)


def test_every_alert_has_a_severity_and_its_row_in_the_readme(rules: list[dict[str, Any]]) -> None:
    alerts = [rule for rule in rules if "alert" in rule]
    assert re.findall(r"^\| `(Mulan\w+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE) == [
        alert["alert"] for alert in alerts
    ]
    for alert in alerts:
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert set(alert["annotations"]) == {"summary", "description"}
        assert "{{ $labels.run }}" in alert["annotations"]["summary"]
        assert alert["annotations"]["description"].endswith("See Alerts in cluster/README.md.")


def promtool(*arguments: str | Path) -> None:
    """Runs promtool, and fails with what it prints; skips if there is none."""
    program = os.environ.get("MULAN_PROMTOOL") or shutil.which("promtool")
    if not program:
        pytest.skip("MULAN_PROMTOOL does not name Prometheus's promtool, and none is installed")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.processes  # expressions and alerts are evaluated by Prometheus itself
def test_prometheus_accepts_the_alerts() -> None:
    promtool("check", "rules", ALERTS)


@pytest.mark.processes  # a command for the shell
def test_the_command_of_the_readme_makes_a_rule_of_the_prometheus_operator() -> None:
    (command,) = re.findall(
        r"^  (\(printf .*?) \| kubectl apply", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    rule = yaml.safe_load(subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, check=True).stdout)
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text(encoding="utf-8"))


@pytest.mark.processes
def test_each_alert_fires_when_it_should_and_in_no_other_case(rules: list[dict[str, Any]]) -> None:
    cases = Path(__file__).with_name("prometheus-alerts.test.yaml")
    named = re.findall(r'alertname="(\w+)"', cases.read_text(encoding="utf-8"))
    assert {rule["alert"] for rule in rules if "alert" in rule} == set(named)
    promtool("test", "rules", cases)


@pytest.mark.processes
def test_every_expression_of_the_dashboard_has_a_value_for_each_legend(panels: list[Panel], tmp_path: Path) -> None:
    """Every gauge has two series of the run, as after a restart, and one of a run that is not chosen."""
    series = []
    for name, gauge in GAUGES.items():
        for run, worker in (("a", "1"), ("a", "2"), ("other", "3")):
            own = {"run": run, "WorkerId": worker, "Component": "core_worker"} | (
                {gauge.label: f"any-{gauge.label}"} if gauge.label else {}
            )
            value = 200 if name == "mulan_collapsed_steps" else 0.25  # one alert fires
            series.append({"series": f"ray_{name}{selector(own)}", "values": f"{value}x20"})
    legends = {"alertname": "MulanCollapsed", "run": "a"} | {
        gauge.label: f"any-{gauge.label}" for gauge in GAUGES.values() if gauge.label
    }
    expected = []
    for _, target in targets(panels):
        labels = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
        expected.append(
            {
                "expr": f"count by ({', '.join(labels)}) ({target['expr'].replace('$run', 'a|b')})",
                "eval_time": "20m",
                "exp_samples": [{"labels": selector({label: legends[label] for label in labels}), "value": 1}],
            }
        )
    assert len(expected) > len(GAUGES)
    case = {"interval": "1m", "input_series": series, "promql_expr_test": expected}
    file = tmp_path / "dashboard.test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [case]}))
    promtool("test", "rules", file)


def selector(labels: dict[str, str]) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
