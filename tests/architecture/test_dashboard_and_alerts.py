"""The dashboard and the alerts ask for metrics that exist, by labels that these have."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import promql_parser
import pytest

from services.persister.rows import KINDS
from shared import metrics
from shared.redis.log import Answer
from tests.architecture.deployment import CHECKOUT, COMPOSE, SERVICES, read_yaml

SCRAPED = {"job", "instance"}
"""Labels that Prometheus itself adds."""
OTHERS = {"up": SCRAPED, "process_resident_memory_bytes": SCRAPED, "ALERTS": {"alertname", "alertstate"}}
"""Metrics of Prometheus and of its client library."""
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}

CLOSED = {"job": set(SERVICES), "answer": set(Answer), "kind": set(KINDS), "alertstate": {"firing"}}
"""Labels whose values the code lists."""

BOARD = json.loads((CHECKOUT / "deploy" / "grafana" / "dashboards" / "tickstream.json").read_text(encoding="utf-8"))
ALERTS = [rule for group in read_yaml("deploy/prometheus/alerts.yml")["groups"] for rule in group["rules"]]


def known() -> dict[str, set[str]]:
    """The labels of each series that can be asked for, by its name."""
    series = dict(OTHERS)
    for declared in metrics.DECLARED:
        for suffix in SUFFIXES.get(declared.kind, ("",)):
            series[declared.name + suffix] = {*declared.labels, *SCRAPED} | ({"le"} if suffix == "_bucket" else set())
    return series


class Asked(NamedTuple):
    """A series in an expression, the labels that the expression expects it to have, and values that it selects them by."""

    name: str
    labels: frozenset[str]
    values: dict[str, set[str]]


def asked(expression: str) -> list[Asked]:
    """What an expression asks for. Raises ValueError if it is not PromQL."""
    grouped: set[str] = set()
    selected: list[tuple[str, dict[str, set[str]]]] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            grouped.update(node.modifier.labels)
        elif isinstance(node, promql_parser.VectorSelector):
            selected.append((str(node.name), {matcher.name: set(matcher.value.split("|")) for matcher in node.matchers.matchers}))

    promql_parser.walk(promql_parser.parse(expression.replace("$__rate_interval", "1m")), visit)
    return [Asked(name, frozenset(grouped.union(values)), values) for name, values in selected]


def told(name: str, label: str) -> set[str]:
    """The values that a label of a metric may have, as far as the code tells."""
    if label in CLOSED:
        return CLOSED[label]
    (meaning,) = (declared.meaning for declared in metrics.DECLARED if declared.name == name)
    return set(re.findall(r"`(\w+)`", meaning))


def shown() -> Iterator[Any]:
    """(expression, legend) of everything the dashboard draws."""
    for annotation in BOARD["annotations"]["list"]:
        yield pytest.param(annotation["expr"], annotation["titleFormat"], id=annotation["name"])
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            yield pytest.param(target["expr"], target["legendFormat"], id=f"{panel['title']} {target['refId']}")


def check(question: Asked) -> None:
    """Fail if there is no such metric, label or value."""
    assert question.name in known()
    assert question.labels <= known()[question.name]
    for label, values in question.values.items():
        assert values <= told(question.name, label)


def texts(rule: dict[str, Any]) -> str:
    return " ".join(rule["annotations"].values())


@pytest.mark.parametrize(("expression", "legend"), list(shown()))
def test_dashboard_asks_for_what_is_there(expression: str, legend: str) -> None:
    for question in asked(expression):
        check(question)
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= known()[question.name]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alert_asks_for_what_is_there(rule: dict[str, Any]) -> None:
    for question in asked(rule["expr"]):
        check(question)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alert_says_what_to_do_and_names_labels_that_it_keeps(rule: dict[str, Any]) -> None:
    assert set(rule["annotations"]) == {"summary", "description"}
    assert rule["labels"]["severity"] in ("warning", "critical")
    kept = re.findall(r"by \(([\w, ]+)\)", rule["expr"]) + re.findall(r"absent\(up\{(job)=", rule["expr"])
    assert set(re.findall(r"\$labels\.(\w+)", texts(rule))) <= set(re.findall(r"\w+", " ".join(kept)))


def test_alerts_have_names_of_their_own() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names)


def test_panels_are_complete_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    assert [panel["title"] for panel in BOARD["panels"] if not panel["description"]] == []
    cells = [cell for panel in BOARD["panels"] for cell in cells_of(**panel["gridPos"])]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23


def cells_of(x: int, y: int, w: int, h: int) -> Iterator[tuple[int, int]]:
    """The squares of Grafana's grid, 24 wide, that a panel covers."""
    return ((column, row) for column in range(x, x + w) for row in range(y, y + h))


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    (source,) = read_yaml("deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    (provider,) = read_yaml("deploy/grafana/provisioning/dashboards/tickstream.yml")["providers"]
    mounts = dict(volume.split(":")[:2] for volume in COMPOSE["services"]["grafana"]["volumes"])
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert source["url"] == "http://prometheus:9090"
    used = re.findall(r'"uid": "(\w+)"', json.dumps([panel["targets"] for panel in BOARD["panels"]]))
    assert set(used) == {source["uid"]}


def test_prometheus_reads_the_alerts() -> None:
    settings = read_yaml("deploy/prometheus/prometheus.yml")
    (source,) = read_yaml("deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert [name for name in settings["rule_files"] if not (CHECKOUT / "deploy" / "prometheus" / name).is_file()] == []
    assert source["jsonData"]["timeInterval"] == settings["global"]["scrape_interval"]


@pytest.mark.parametrize(
    "expression",
    [
        "sum(rate(tickstream_ticks_total[5m]))",
        "sum by (nothing) (tickstream_gateway_clients)",
        'tickstream_ready{chekc="redis"}',
        'tickstream_fetcher_provider_answers_total{outcome="unautorized"}',
        'tickstream_analyzer_commits_total{answer="full"}',
    ],
)
def test_wrong_name_label_or_value_would_be_found(expression: str) -> None:
    (question,) = asked(expression)
    with pytest.raises(AssertionError):
        check(question)


@pytest.mark.parametrize("expression", ["sum(rate(tickstream_gateway_clients[5m])", "rate(tickstream_gateway_clients)", "rite(up[5m])"])
def test_what_is_not_promql_would_be_found(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        asked(expression)
