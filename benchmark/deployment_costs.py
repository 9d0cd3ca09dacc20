"""What both ways to run the DAG cost a month, item by item, and from when each is cheaper than Amazon Transcribe.

`python -m benchmark.deployment_costs` writes the tables of docs/deploy.md and the chart of README.md. The seconds of a
night are those that `make image-bench` measured (benchmark/night.json); the numbers of alarms and metrics are those of
the synthesised templates; the rest are list prices. Pure functions, but for `main`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import cost_chart, prices
from benchmark.document import ROOT, table, write

NIGHT = ROOT / "benchmark" / "night.json"
CHART = ROOT / "docs" / "costs.svg"
PAGE = ROOT / "docs" / "deploy.md"
TEMPLATES = {"mwaa": "build/cdk.out", "on_demand": "build/on_demand"}

# Fargate bills from the start of the image's pull. It cannot be measured without AWS; others see half a minute for such
# an image.
PULL_SECONDS = 60.0
LEAST_SECONDS = 60.0

# What no template says: sizes that are the same for both ways.
DATABASE_GB = 10
REGISTRY_AND_LOGS = 0.50

CHILD_SECONDS = float(json.loads((ROOT / "benchmark" / "child_costs.json").read_text("utf-8"))["usual"])
"""What a child takes for a second of audio, with a deployment's usual engine and model: `make bench PARTS=costs`."""

# The default settings.
MOST_CHILDREN, AUDIO_HOURS_PER_CHILD = 20, 1.0
CHILD_START_HOURS = 1 / 60

GOALS = {"idle": 3.00, "night": 0.005, "waiting": 0.02, "break-even": 10.0}


@dataclass(frozen=True)
class Size:
    """The container that runs the DAG."""

    vcpus: float
    gb: float

    def hour(self) -> float:
        """US dollars for an hour, with its public address."""
        return self.vcpus * prices.VCPU_HOUR + self.gb * prices.GB_HOUR + prices.PUBLIC_ADDRESS_HOUR


@dataclass(frozen=True)
class Counted:
    """What a template has."""

    alarm_metrics: int
    dashboards: int
    nat_gateways: int


Items = dict[str, tuple[str, float]]
"""How each item is computed, and US dollars a month, by its name."""


def night(size: Size, measured_seconds: float) -> float:
    """US dollars for the container of a night in which nothing waits."""
    seconds = max(LEAST_SECONDS, PULL_SECONDS + measured_seconds)
    return seconds / 3600 * size.hour()


def metric_hours(hours: float) -> float:
    """US dollars for a custom metric that has data in so many hours of a month."""
    return prices.CUSTOM_METRIC * hours / prices.HOURS


def idle_on_demand(counted: Counted, size: Size, measured_seconds: float) -> Items:
    """A month without audio."""
    seconds = PULL_SECONDS + measured_seconds
    return {
        "KMS key": ("", prices.KMS_KEY),
        "alarms": (f"{counted.alarm_metrics} metrics at {prices.ALARM_METRIC:.2f}", _alarms(counted)),
        "images in the registry, logs": ("about", REGISTRY_AND_LOGS),
        "30 nights with nothing to do": (
            f"{seconds:.0f} s of {size.vcpus:g} vCPU, {size.gb:g} GB and a public address each",
            prices.NIGHTS * night(size, measured_seconds),
        ),
        "metric of the started runs": (
            f"{prices.CUSTOM_METRIC:.2f}, billed for 30 hours with data",
            metric_hours(prices.NIGHTS),
        ),
        "schedule": ("the first 14 million calls a month are free", 0.0),
        "network": ("public subnets and the S3 gateway endpoint are free", 0.0),
    }


def idle_mwaa(counted: Counted) -> Items:
    """A month without audio."""
    return {
        "Amazon MWAA `mw1.micro`": (f"{prices.MWAA_MICRO_HOUR:.2f} an hour", prices.MWAA_MICRO_HOUR * prices.HOURS),
        "Airflow's database": (
            f"{DATABASE_GB} GB at {prices.MWAA_DATABASE_GB:.2f}",
            DATABASE_GB * prices.MWAA_DATABASE_GB,
        ),
        "NAT gateway": (f"{prices.NAT_HOUR} an hour", counted.nat_gateways * prices.NAT_HOUR * prices.HOURS),
        "its public address": (
            f"{prices.PUBLIC_ADDRESS_HOUR} an hour",
            counted.nat_gateways * prices.PUBLIC_ADDRESS_HOUR * prices.HOURS,
        ),
        "KMS key": ("", prices.KMS_KEY),
        "alarms": (f"{counted.alarm_metrics} metrics at {prices.ALARM_METRIC:.2f}", _alarms(counted)),
        "dashboard": ("", counted.dashboards * prices.DASHBOARD),
        "metric of the started runs": (
            f"{prices.CUSTOM_METRIC:.2f}, billed for 30 hours with data",
            metric_hours(prices.NIGHTS),
        ),
        "images in the registry, logs": ("about", REGISTRY_AND_LOGS),
    }


def _alarms(counted: Counted) -> float:
    return counted.alarm_metrics * prices.ALARM_METRIC


def total(items: Items) -> float:
    return sum(usd for _, usd in items.values())


def child_hour(*, public: bool) -> float:
    """US dollars for an hour of a child, on demand."""
    return prices.CHILD_HOUR + (prices.PUBLIC_ADDRESS_HOUR if public else 0.0)


def children_of_a_night(audio_hours: float) -> int:
    """How many children a night's audio has, by the default settings."""
    return max(1, min(MOST_CHILDREN, math.ceil(audio_hours / AUDIO_HOURS_PER_CHILD)))


def audio(audio_hours: float, *, public: bool) -> float:
    """US dollars for the children of a month's audio, which comes evenly in all nights."""
    children = children_of_a_night(audio_hours / prices.NIGHTS)
    work = audio_hours * CHILD_SECONDS
    return (work + prices.NIGHTS * children * CHILD_START_HOURS) * child_hour(public=public)


def waiting_hours(audio_hours: float) -> float:
    """Hours of a month for which a run waits for its children."""
    each = audio_hours / prices.NIGHTS
    return prices.NIGHTS * (each * CHILD_SECONDS / children_of_a_night(each) + CHILD_START_HOURS)


def monthly(idle: float, *, size: Size | None) -> Callable[[float], float]:
    """US dollars a month by audio hours. `size`: the container that waits, or None if Amazon MWAA runs the DAG."""

    def usd(audio_hours: float) -> float:
        waits = size.hour() * waiting_hours(audio_hours) if size else 0.0
        # The tasks publish six metrics more in a night with audio.
        metrics = 6 * metric_hours(prices.NIGHTS)
        return idle + waits + metrics + audio(audio_hours, public=size is not None)

    return usd


def transcribe(audio_hours: float) -> float:
    return audio_hours * prices.TRANSCRIBE_AUDIO_HOUR


def break_even(usd: Callable[[float], float]) -> float:
    """Audio hours a month from which the pipeline is cheaper than Amazon Transcribe."""
    low, high = 0.1, 100_000.0
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (low, middle) if usd(middle) < transcribe(middle) else (middle, high)
    return high


def counted(template: Mapping[str, Any]) -> Counted:
    """What costs money while nothing happens."""
    resources = [(item["Type"], item.get("Properties", {})) for item in template["Resources"].values()]
    alarms = [properties for kind, properties in resources if kind == "AWS::CloudWatch::Alarm"]
    kinds = [kind for kind, _ in resources]
    return Counted(
        alarm_metrics=sum(
            sum("MetricStat" in metric for metric in alarm["Metrics"]) if "Metrics" in alarm else 1 for alarm in alarms
        ),
        dashboards=kinds.count("AWS::CloudWatch::Dashboard"),
        nat_gateways=kinds.count("AWS::EC2::NatGateway"),
    )


def orchestrator_size(template: Mapping[str, Any]) -> Size:
    """The container's size in the template."""
    for item in template["Resources"].values():
        if item["Type"] == "AWS::Batch::JobDefinition":
            [container] = item["Properties"]["EcsProperties"]["TaskProperties"][0]["Containers"]
            if container["Name"] == "orchestrator":
                needs = {need["Type"]: float(need["Value"]) for need in container["ResourceRequirements"]}
                return Size(needs["VCPU"], needs["MEMORY"] / 1024)
    raise ValueError("The template has no orchestrator.")


@dataclass(frozen=True)
class Costs:
    """All figures."""

    on_demand: Items
    mwaa: Items
    size: Size
    night_usd: float
    break_evens: Mapping[str, float]
    lines: Mapping[str, Callable[[float], float]]

    @classmethod
    def of(cls, templates: Mapping[str, Mapping[str, Any]], measured_seconds: float) -> Costs:
        size = orchestrator_size(templates["on_demand"])
        on_demand = idle_on_demand(counted(templates["on_demand"]), size, measured_seconds)
        mwaa = idle_mwaa(counted(templates["mwaa"]))
        lines = {
            "on_demand": monthly(total(on_demand), size=size),
            "mwaa": monthly(total(mwaa), size=None),
        }
        return cls(
            on_demand=on_demand,
            mwaa=mwaa,
            size=size,
            night_usd=night(size, measured_seconds) + metric_hours(1),
            break_evens={name: break_even(usd) for name, usd in lines.items()},
            lines=lines,
        )

    def reached(self) -> dict[str, float]:
        """What the goals limit."""
        return {
            "idle": total(self.on_demand),
            "night": self.night_usd,
            "waiting": self.size.hour(),
            "break-even": self.break_evens["on_demand"],
        }


def page(costs: Costs, measured: Mapping[str, Any]) -> str:
    """The tables of docs/deploy.md."""
    return "\n".join(
        (
            f"Measured on {measured['date']}: {measured['machine']}. The container of a night with nothing to do, "
            f"limited to {costs.size.vcpus:g} vCPU and {costs.size.gb:g} GB, took {measured['seconds']:.0f} s from its "
            f"start to its end (median of {len(measured['rounds'])}) and {measured['megabytes']:.0f} MB at most. "
            f"{PULL_SECONDS:.0f} s are added for the image's pull, which Fargate bills and which was not measured.\n",
            "**A month without audio, on demand**\n",
            _items(costs.on_demand),
            "**The same with Amazon MWAA**\n",
            _items(costs.mwaa),
            "**Goals**\n",
            _goals(costs),
        )
    )


def _items(items: Items) -> str:
    rows = [(name, how, f"{usd:.2f}") for name, (how, usd) in items.items()]
    return table(("", "", "USD a month"), [*rows, ("**together**", "", f"**{total(items):.2f}**")])


def _goals(costs: Costs) -> str:
    size, reached = costs.size, costs.reached()
    sums = {
        "idle": ("a month without audio, USD", "the first table", "{:.2f}"),
        "night": ("a night with nothing to do, USD", "the container, and an hour of one metric", "{:.4f}"),
        "waiting": (
            "an hour of waiting, USD",
            f"{size.vcpus:g} vCPU at {prices.VCPU_HOUR}, {size.gb:g} GB at {prices.GB_HOUR}, "
            f"an address at {prices.PUBLIC_ADDRESS_HOUR}",
            "{:.4f}",
        ),
        "break-even": (
            "break-even with Amazon Transcribe, audio hours a month",
            "idle, waiting and children equal 0.36 USD an audio hour",
            "{:.1f}",
        ),
    }
    rows = [
        (
            words,
            how,
            form.format(reached[name]),
            f"{GOALS[name]:g}",
            "yes" if reached[name] <= GOALS[name] else "**no**",
        )
        for name, (words, how, form) in sums.items()
    ]
    return table(("", "", "is", "at most", "reached"), rows)


def read_template(folder: str) -> Any:
    return json.loads((ROOT / folder / "Transcription.template.json").read_text())


def main() -> None:
    measured = json.loads(NIGHT.read_text())
    costs = Costs.of({way: read_template(folder) for way, folder in TEMPLATES.items()}, measured["seconds"])
    write("deployment costs", page(costs, measured), costs.reached(), PAGE)
    write_chart(costs, CHART)


def write_chart(costs: Costs, path: Path) -> None:
    path.write_text(cost_chart.svg(costs.lines, costs.break_evens, transcribe))


if __name__ == "__main__":
    main()
