"""The Transcripts page in a real browser, with real users, real Airflow, real engines and the local AWS."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.airflow_ui import Running
from tests.page.conftest import (
    IMAGE_NAME,
    OTHER_EDITOR,
    RECORDINGS,
    SCRIPT_NAME,
    STEREO_NAME,
    VIEWER,
    Night,
    Visitor,
    channels_of,
    finished_run,
    picture,
    start_run,
    write_wav,
)

Visit = Callable[..., Visitor]
ATTEMPTS = 6
RUN_MILLISECONDS = 240_000  # a run normally takes some 15 seconds, and minutes on a busy machine


def press_until_a_run_starts(page: Page, name: str) -> None:
    """Press a button that starts a run. Airflow may answer that its SQLite is locked; then press again."""
    refused, closed = page.locator("dialog .notice.bad"), page.locator("body:not(:has(dialog))")
    for _ in range(ATTEMPTS):
        page.get_by_role("dialog").get_by_role("button", name=name, exact=True).click()
        expect(refused.or_(closed)).to_be_visible(timeout=RUN_MILLISECONDS)
        if closed.count():
            return
    raise AssertionError("No run could be started.")


def wait_until_played(page: Page, seconds: float) -> None:
    """Wait until the player is after a place. The page's policy forbids Playwright's own way to wait."""
    for _ in range(300):
        if now_playing(page) > seconds:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"The player stays at {now_playing(page)} s.")


def now_playing(page: Page) -> float:
    return float(page.evaluate("document.querySelector('audio').currentTime"))


def test_a_user_uploads_recordings_plans_starts_and_watches_a_run(airflow: Running, visit: Visit) -> None:
    page = visit().open()
    page.get_by_role("button", name="Upload").click()
    page.get_by_label("Folder").fill("uploaded")
    page.locator("#upload-files").set_input_files(
        [str(RECORDINGS / "vm-leavemsg.wav"), str(RECORDINGS / "followme__status.wav")]
    )
    page.get_by_role("button", name="Upload 2 recordings").click()
    expect(page.get_by_text("Uploaded", exact=True)).to_have_count(2)
    assert airflow.keys("input/uploaded/") == ["input/uploaded/followme__status.wav", "input/uploaded/vm-leavemsg.wav"]
    page.get_by_role("button", name="Close").click()

    page.get_by_role("button", name="New run").click()
    page.get_by_role("dialog").get_by_label("Folder").fill("uploaded/")
    page.get_by_role("button", name="Plan first").click()
    expect(page.get_by_role("dialog").get_by_text("Takes about")).to_be_visible(timeout=RUN_MILLISECONDS)
    expect(page.get_by_role("dialog").locator(".tile", has_text="Recordings").locator("dd")).to_have_text("2")
    assert len(airflow.keys("input/uploaded/")) == 2, "a dry run transcribes nothing"
    picture(page, "plan")
    press_until_a_run_starts(page, "Start run")

    expect(page.get_by_role("progressbar", name="Progress of the run")).to_be_visible(timeout=RUN_MILLISECONDS)
    expect(page.locator("h1 + .chip")).to_have_text("Done", timeout=RUN_MILLISECONDS)
    expect(page.locator(".tile", has_text="Transcribed").locator("dd")).to_have_text("2")
    page.get_by_role("link", name="uploaded/vm-leavemsg.wav").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("uploaded/vm-leavemsg.wav")
    expect(page.locator(".said")).to_have_text("press five to leave a message")


def test_an_upload_replaces_no_waiting_one_unless_the_user_says_so(airflow: Running, visit: Visit) -> None:
    s3, bucket, key = airflow.s3, airflow.bucket, "input/waiting/a.wav"
    s3.put_object(Bucket=bucket, Key=key, Body=b"the first one")
    page = visit().open()
    page.get_by_role("button", name="Upload").click()
    page.get_by_label("Folder").fill("waiting/")
    file: FilePayload = {"name": "a.wav", "mimeType": "audio/wav", "buffer": b"the second one"}
    page.locator("#upload-files").set_input_files(file)
    page.get_by_role("button", name="Upload 1 recording").click()
    expect(page.get_by_text("Waits there already.")).to_be_visible()
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"the first one"
    page.get_by_role("button", name="Replace it").click()
    expect(page.get_by_text("Uploaded", exact=True)).to_be_visible()
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"the second one"
    s3.delete_object(Bucket=bucket, Key=key)


def test_the_runs_show_counts_audio_and_rejected_recordings(night: Night, visit: Visit) -> None:
    page = visit().open()
    row = page.locator(f'tr[data-run="{night.run_id}"]')
    expect(row.locator(".chip")).to_have_text("Done")
    expect(row).to_contain_text("10 recordings")
    expect(row.locator('[data-label="Rejected"]')).to_have_text("2")
    expect(row.locator('[data-label="Missing"]')).to_have_text("0")
    picture(page, "runs")
    row.get_by_role("link").click()
    page.get_by_role("button", name="Rejected 2").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.get_by_text("This file is empty.")).to_be_visible()
    page.get_by_role("button", name="All", exact=True).click()
    expect(page.locator("tbody tr")).to_have_count(10)
    picture(page, "run")
    page.get_by_label("Filter by name").fill("TWO")
    expect(page.locator("tbody tr")).to_have_count(1)


def test_a_click_on_a_word_plays_from_there_and_the_spoken_word_is_marked(night: Night, visit: Visit) -> None:
    page = visit().open_recording(night, "calls/queue-periodic-announce.wav")
    word = page.locator(".w", has_text=re.compile("^answered$"))
    word.click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    wait_until_played(page, 3)
    expect(page.locator(".w.now")).to_have_count(1)
    before = now_playing(page)
    wait_until_played(page, before + 0.3)
    page.get_by_role("button", name="Pause").click()
    word.focus()
    page.keyboard.press("Home")
    expect(page.locator(".w:focus")).to_have_text("all")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert now_playing(page) < 3, "the second word is near the start"


def test_channels_are_turns_and_other_readings_and_downloads_are_offered(night: Night, visit: Visit) -> None:
    page = visit().open_recording(night, STEREO_NAME)
    expect(page.locator(".who")).to_have_text(["Channel 1", "Channel 2"])
    expect(page.locator(".said")).to_have_text(
        ["press five to leave a message", "please enter your password followed by the pound key"]
    )
    page.locator(".w", has_text="password").click()
    wait_until_played(page, 2.8)
    page.get_by_role("button", name="Pause").click()
    picture(page, "recording")
    page.get_by_text("Other readings of 2 stretches").click()
    expect(page.locator(".readings > li")).to_have_count(2)
    page.get_by_text("Other readings of 2 stretches").click()
    with page.expect_download() as started:
        page.get_by_role("link", name="WebVTT").click()
    text = Path(started.value.path()).read_text()
    assert started.value.suggested_filename == "two speakers.wav.vtt"
    assert text.startswith("WEBVTT")
    assert "<v Channel 2>" in text
    page.get_by_role("button", name="Child's log").click()
    expect(page.get_by_role("dialog").locator("pre")).to_contain_text("two speakers.wav")


def test_doubtful_words_are_shown_as_such(night: Night, visit: Visit) -> None:
    page = visit().open_recording(night, "calls/conf-otherinparty.wav")
    expect(page.locator(".said .doubtful")).to_have_text(["participants"])
    expect(page.get_by_text("are doubtful")).to_be_visible()


def test_search_leads_to_the_place_in_the_audio(night: Night, visit: Visit) -> None:
    page = visit().open()
    page.get_by_label("Search all transcripts").fill('"pound key"')
    page.keyboard.press("Enter")
    hit = page.locator(".hit", has_text="calls/vm-rec-temp.wav")
    expect(hit.locator("mark")).to_have_text("pound key")
    picture(page, "search")
    hit.locator(".passage").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("calls/vm-rec-temp.wav")
    wait_until_played(page, 3)
    expect(page.locator(".w.now")).to_have_count(1)
    page.get_by_label("Search all transcripts").fill("DIGITS")
    page.get_by_label("Search in").select_option("Names")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".hit")).to_contain_text("calls/digits00.wav")


def test_a_correction_wins_and_the_second_editor_is_told(night: Night, visit: Visit) -> None:
    first, second = visit().open_recording(night, "calls/privacy-prompt.wav"), visit(OTHER_EDITOR)
    other = second.open_recording(night, "calls/privacy-prompt.wav")
    for page in (first, other):
        page.get_by_role("button", name="Correct").click()
    text = first.get_by_label("Corrected text")
    text.fill(text.input_value().replace("phone number", "telephone number").capitalize() + ".")
    first.get_by_role("button", name="Save").click()
    expect(first.locator("h1 ~ .chip", has_text="Corrected")).to_be_visible()
    expect(first.locator(".said")).to_contain_text("Please enter your telephone number")
    expect(first.get_by_text("By ann")).to_be_visible()
    first.locator(".w", has_text="telephone").click()
    wait_until_played(first, 0.5)
    picture(first, "correction")
    first.get_by_role("button", name="Machine's").click()
    expect(first.locator(".said")).to_contain_text("please enter your phone number")

    other.get_by_label("Corrected text").fill("please enter your own number")
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_text("ann has saved another correction meanwhile.")).to_be_visible()
    other.get_by_text("The text of ann").click()
    expect(other.locator(".notice.bad")).to_contain_text("telephone number")
    other.get_by_role("button", name="I have put both together").click()
    other.get_by_label("Corrected text").fill("Please enter your own telephone number.")
    other.get_by_role("button", name="Save").click()
    expect(other.get_by_text("By eve")).to_be_visible()

    found = visit().open(q="telephone", by="words")
    expect(found.locator(".hit", has_text="privacy-prompt").locator(".chip")).to_have_text("Corrected")
    with other.expect_download() as started:
        other.get_by_role("link", name="SubRip").first.click()
    assert "own telephone number" in Path(started.value.path()).read_text()


def test_a_rejected_recording_is_retried_with_other_options(airflow: Running, visit: Visit, tmp_path: Path) -> None:
    """A run with separate channels refuses 33 of them; mixed they can be transcribed."""
    form, frames = channels_of(RECORDINGS / "vm-leavemsg.wav")
    many = b"".join(frames[at : at + 2] * 33 for at in range(0, len(frames), 2))
    file = write_wav(tmp_path / "many.wav", form._replace(nchannels=33), many)
    airflow.s3.upload_file(str(file), airflow.bucket, "input/retry/many.wav")
    rejected = finished_run(airflow, start_run(airflow, {"prefix": "retry/", "channels": "separate"}))
    page = visit().open_recording(rejected, "retry/many.wav")
    expect(page.locator("h1 + .chip")).to_have_text("Rejected")
    expect(page.get_by_text("Code: too-many-channels")).to_be_visible()
    page.get_by_role("button", name="Retry").click()
    press_until_a_run_starts(page, "Start run")
    expect(page.locator("h1 + .chip")).to_have_text("Done", timeout=RUN_MILLISECONDS)
    page.get_by_role("link", name="retry/many.wav").click()
    expect(page.locator(".said")).to_have_text("press five to leave a message")
    assert airflow.keys("failed/retry/") == []
    assert airflow.keys("input/retry/") == []
    assert airflow.keys("processed/retry/") == ["processed/retry/many.wav"]


def test_a_recording_is_transcribed_again_and_its_earlier_version_stays(airflow: Running, visit: Visit) -> None:
    airflow.s3.upload_file(str(RECORDINGS / "agent-pass.wav"), airflow.bucket, "input/again/a.wav")
    first = finished_run(airflow, start_run(airflow, {"prefix": "again/", "output_formats": []}))
    page = visit().open_recording(first, "again/a.wav")
    expect(page.get_by_text("has no word times")).to_be_visible()
    expect(page.locator(".w")).to_have_count(0)
    page.get_by_role("button", name="Transcribe again with word times").click()
    page.get_by_role("dialog").get_by_label("Model").fill("whisper-tiny.en")
    press_until_a_run_starts(page, "Start run")
    expect(page.locator("h1 + .chip")).to_have_text("Done", timeout=RUN_MILLISECONDS)
    page.get_by_role("link", name="again/a.wav").click()
    expect(page.locator(".w").first).to_be_visible()
    expect(page.locator(".facts")).to_contain_text("whisper-tiny.en")
    page.get_by_text("Earlier versions").click()
    with page.expect_download() as started:
        page.locator("details[open]").get_by_role("link", name="Text").click()
    assert Path(started.value.path()).read_text() == "please enter your password followed by the pound key\n"


@pytest.mark.parametrize("name", [IMAGE_NAME, SCRIPT_NAME])
def test_a_dangerous_name_is_only_text(name: str, night: Night, visit: Visit) -> None:
    visitor = visit()
    for page in (
        visitor.open(run=night.run_id),
        visitor.open(q=name.partition("/")[2][:10], by="name"),
        visitor.open_recording(night, name),
    ):
        expect(page.get_by_text(name).first).to_be_visible()
        assert page.locator("main img").count() == 0
        assert page.locator('a[href^="javascript:" i]').count() == 0
    assert not visitor.faults


def test_a_viewer_is_offered_only_what_they_may_do(night: Night, visit: Visit) -> None:
    page = visit(VIEWER).open()
    expect(page.get_by_text("Read only")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Upload|New run"))).to_have_count(0)
    page = visit(VIEWER).open_recording(night, STEREO_NAME)
    expect(page.locator(".said").first).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Correct|Transcribe again"))).to_have_count(0)


def test_the_page_in_airflow_follows_its_theme_and_is_a_tab_of_each_run(
    airflow: Running, night: Night, visit: Visit
) -> None:
    visitor = visit()
    page = visitor.page
    page.goto(f"{airflow.url}/dags/transcription/runs/{night.run_id}/plugin/transcripts_of_run")
    frame = page.frame_locator("iframe")
    expect(frame.locator("tbody tr")).to_have_count(10)
    page.goto(f"{airflow.url}/plugin/transcripts")
    frame = page.frame_locator("iframe")
    expect(frame.locator("h1")).to_have_text("Runs")
    for theme, own in (("dark", "^dark$"), ("light", "^$")):
        page.evaluate(f"document.documentElement.className = '{theme}'")
        expect(frame.locator("html")).to_have_class(re.compile(own))
        assert frame.locator("html").evaluate("element => getComputedStyle(element).colorScheme") == theme
    frame.locator(f'tr[data-run="{night.run_id}"] a').click()
    frame.get_by_role("link", name=STEREO_NAME).click()
    with page.expect_download() as started:
        frame.get_by_role("link", name="JSON").click()
    assert started.value.suggested_filename == "two speakers.wav.json"
    expect(frame.locator("h1")).to_have_text(STEREO_NAME)

    dark = visit(dark=True).page
    dark.goto(f"{airflow.url}/plugin/transcripts")
    expect(dark.frame_locator("iframe").locator("html")).to_have_class("dark")
    expect(dark.frame_locator("iframe").locator("h1")).to_have_text("Runs")
    picture(dark, "in-airflow")
