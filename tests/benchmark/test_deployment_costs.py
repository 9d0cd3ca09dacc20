"""The costs of both ways to run the DAG: the goals, and the pages that show them."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest

from benchmark import cost_chart, prices
from benchmark.deployment_costs import (
    CHART,
    GOALS,
    NIGHT,
    PAGE,
    TEMPLATES,
    Costs,
    Counted,
    Size,
    break_even,
    children_of_a_night,
    counted,
    idle_mwaa,
    idle_on_demand,
    night,
    page,
    read_template,
    total,
    transcribe,
    waiting_hours,
)
from benchmark.document import ROOT


@pytest.fixture(scope="module")
def costs() -> Costs:
    measured = json.loads(NIGHT.read_text())
    return Costs.of({way: read_template(folder) for way, folder in TEMPLATES.items()}, measured["seconds"])


@pytest.mark.parametrize("goal", GOALS)
def test_a_goal_is_reached_with_the_measured_seconds_and_list_prices(costs: Costs, goal: str) -> None:
    assert costs.reached()[goal] <= GOALS[goal]


def test_the_pages_have_the_tables_and_the_chart_of_the_present_templates(costs: Costs) -> None:
    """Otherwise run `make costs`."""
    found = re.search(r"<!-- deployment costs -->\n(.*?)<!-- end of deployment costs -->", PAGE.read_text(), re.DOTALL)
    assert found
    assert found[1].strip() == page(costs, json.loads(NIGHT.read_text())).strip()
    assert CHART.read_text() == cost_chart.svg(costs.lines, costs.break_evens, transcribe)


def test_the_measured_container_has_the_size_of_the_template(costs: Costs) -> None:
    measured = json.loads(NIGHT.read_text())
    assert (measured["vcpus"], measured["gb"]) == (costs.size.vcpus, costs.size.gb)
    assert measured["megabytes"] < costs.size.gb * 1024


def test_the_readme_shows_the_chart() -> None:
    assert "](docs/costs.svg)" in (ROOT / "README.md").read_text()


def test_an_idle_month_is_the_sum_of_its_items() -> None:
    size, has = Size(0.25, 1), Counted(alarm_metrics=8, dashboards=1, nat_gateways=1)
    nights = prices.NIGHTS * 120 / 3600 * (0.25 * 0.04048 + 0.004445 + 0.005)
    metric = 0.30 * prices.NIGHTS / 730
    assert total(idle_on_demand(has, size, measured_seconds=60)) == pytest.approx(1.00 + 0.80 + 0.50 + nights + metric)
    mwaa = 0.29 * 730 + 1.00 + (0.045 + 0.005) * 730 + 1.00 + 0.80 + 3.00 + metric + 0.50
    assert total(idle_mwaa(has)) == pytest.approx(mwaa)


def test_a_container_is_billed_for_a_minute_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.deployment_costs.PULL_SECONDS", 0.0)
    assert night(Size(1, 0), 10) == night(Size(1, 0), 60) < night(Size(1, 0), 61)


def test_alarms_of_several_metrics_cost_each_metric() -> None:
    two = {"Metrics": [{"Expression": "a + b"}, {"MetricStat": {}}, {"MetricStat": {}}]}
    template = {
        "Resources": {
            "A": {"Type": "AWS::CloudWatch::Alarm", "Properties": two},
            "B": {"Type": "AWS::CloudWatch::Alarm"},
        }
    }
    assert counted(template) == Counted(alarm_metrics=3, dashboards=0, nat_gateways=0)


def test_a_run_waits_longer_for_more_audio_and_shorter_with_more_children() -> None:
    assert [children_of_a_night(hours) for hours in (0, 1, 1.5, 1000)] == [1, 1, 2, 20]
    assert waiting_hours(10) < waiting_hours(1000) < waiting_hours(10_000)


def test_at_the_break_even_both_cost_the_same() -> None:
    hours = break_even(lambda audio_hours: 34.6 + 0.014 * audio_hours)
    assert hours == pytest.approx(100, abs=0.1)


def test_the_chart_is_svg_with_a_line_for_each_way_and_stays_within_its_axes(costs: Costs) -> None:
    root = ElementTree.fromstring(CHART.read_text())  # noqa: S314
    lines = root.findall("{*}polyline")
    assert len(lines) == 3
    for line in lines:
        points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        assert all(
            cost_chart.LEFT <= x <= cost_chart.WIDTH - cost_chart.RIGHT
            and cost_chart.TOP <= y <= cost_chart.HEIGHT - cost_chart.BOTTOM
            for x, y in points
        )
    assert len(root.findall("{*}circle")) == len(costs.break_evens)
