"""The parts of the benchmarks that do not measure time."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmark import roofline, rounds, s3_server, simulation
from benchmark.ways import Outcome
from fine_tuning.word_errors import word_error_rate, word_errors


@pytest.mark.parametrize(
    ("transcript", "errors"),
    [
        ("press one now", 0),
        ("press now", 1),
        ("press one one now", 1),
        ("press two now", 1),
        ("", 3),
        ("now one press", 2),
    ],
)
def test_an_extra_a_missing_and_a_wrong_word_are_one_error_each(transcript: str, errors: int) -> None:
    assert word_errors("press one now", transcript) == errors


def test_the_word_error_rate_weighs_every_word_equally() -> None:
    assert word_error_rate([("one", "two"), ("one two three", "one two three")]) == 0.25


def run(wall: float, **texts: str) -> Outcome:
    return Outcome(wall=wall, cpu=wall, peak_mb=0, first=0, texts=texts)


def test_every_second_round_runs_in_reverse_order() -> None:
    order: list[str] = []

    def recorded(name: str) -> Outcome:
        order.append(name)
        return run(1)

    found = rounds.in_turns(3, {name: lambda name=name: recorded(name) for name in "abc"})  # type: ignore[misc]
    assert "".join(order) == "abccbaabc"
    assert {name: len(runs) for name, runs in found.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_ratio_compares_runs_of_one_round_so_a_slower_machine_does_not_change_it() -> None:
    found = {"worker": [run(10), run(30), run(20)], "original's way": [run(20), run(60), run(50)]}
    assert rounds.speed_up(found, "worker", "original's way") == 2
    assert rounds.paired(found, "worker", "original's way", rounds.cpu) == 0.5


def test_texts_are_the_same_if_all_their_words_are_the_same() -> None:
    assert rounds.same_texts(run(1, a="press  one", b="press two"), run(1, a="press one", b="press to")) == 1


def test_the_rows_of_several_rounds_become_one_row_per_setting_with_the_median_cost() -> None:
    costs = [(0.1, 0.5), (0.3, 0.4), (0.2, 0.9)]
    rows = [
        [{"beam": beam, "rtf": rtf, "same": 1} for beam, rtf in zip((100, 500), each, strict=True)] for each in costs
    ]
    assert rounds.medians(rows) == [{"beam": 100, "rtf": 0.2, "same": 1}, {"beam": 500, "rtf": 0.5, "same": 1}]


def test_the_s3_server_checks_the_conditions_of_a_request() -> None:
    etag = s3_server.answer("PUT", "/b/k", {"x-amz-meta-a": "1"}, b"sound").headers["ETag"]
    assert s3_server.answer("GET", "/b/k", {"if-match": etag}, b"").body == b"sound"
    assert s3_server.answer("GET", "/b/k", {"if-match": '"other"'}, b"").status == 412
    copied = s3_server.answer("PUT", "/b/c", {"x-amz-copy-source": "b/k", "x-amz-copy-source-if-match": etag}, b"")
    assert copied.status == 200
    assert s3_server.answer("HEAD", "/b/c", {}, b"").headers["x-amz-meta-a"] == "1"
    assert s3_server.answer("DELETE", "/b/k", {"if-match": etag}, b"").status == 204
    assert s3_server.answer("GET", "/b/k", {}, b"").status == 404


def test_a_container_is_billed_for_start_and_work_and_for_one_minute_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "RECLAIMS_PER_HOUR", 1e-9)
    makespan, vcpu_seconds = simulation.billed([[100.0, 50.0]], load=0)
    assert makespan == 150 + simulation.START
    assert vcpu_seconds == 2 * makespan
    monkeypatch.setattr(simulation, "START", 10.0)
    assert simulation.billed([[1.0]], load=0) == (11, 2 * simulation.MIN_BILLED)


def test_files_that_a_reclaimed_container_had_finished_are_not_billed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "RECLAIMS_PER_HOUR", 6.0)  # one every ten minutes
    work = [[30.0] * 400]
    _, vcpu_seconds = simulation.billed(work, load=0)
    assert 2 * sum(work[0]) < vcpu_seconds < 1.3 * 2 * sum(work[0])


def test_the_plan_is_faster_and_cheaper_than_a_split_by_count() -> None:
    results = [result for result in simulation.results(quick=True) if result.files == 1_000]
    plan, by_count = (next(r for r in results if r.children == 20 and r.way.startswith(way)) for way in ("plan", "by"))
    assert plan.makespan < by_count.makespan
    assert plan.billed < by_count.billed


def test_the_simulated_recordings_have_realistic_durations() -> None:
    seconds = sorted(simulation.audio_seconds(1_000))
    assert 30 < seconds[500] < 90
    assert seconds[-1] > 600


def test_the_picture_of_the_limit_has_a_point_for_each_number_of_rows() -> None:
    limits = [{"rows": rows, "measured": 0.1 / rows, "products": 0.05 / rows} for rows in (1, 4, 32)]
    picture = ElementTree.fromstring(roofline.picture(limits, libdeepspeech=0.3))  # noqa: S314
    lines = [line.get("points", "").split() for line in picture.iter("{http://www.w3.org/2000/svg}polyline")]
    assert [len(points) for points in lines] == [3, 3, 2]
    heights = [[float(point.split(",")[1]) for point in points] for points in lines]
    assert heights[0] == sorted(heights[0]), "a lower cost is further down"
    assert all(limit > measured for measured, limit in zip(*heights[:2], strict=True))
