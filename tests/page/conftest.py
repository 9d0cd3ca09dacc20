"""Airflow with users who sign in, a night of recordings that it transcribed, and a browser."""

from __future__ import annotations

import os
import shutil
import urllib.error
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright

from tests.airflow_ui import PROJECT, Running, running_airflow, wait_for
from transcription_contract import layout

expect.set_options(timeout=30_000)  # a busy machine is slow

BROWSER = PROJECT / ".venv" / "browser"
RECORDINGS = PROJECT / "tests" / "recordings"
PICTURES = PROJECT / "docs" / "ui"
SHOWN = ("in-airflow", "runs", "plan", "recording", "search", "correction", "phone-run", "phone-recording")

EDITOR, OTHER_EDITOR, VIEWER, NOBODY = "ann", "eve", "bob", "nil"
USERS = f"{EDITOR}:USER,{OTHER_EDITOR}:USER,{VIEWER}:VIEWER,{NOBODY}:"

IMAGE_NAME = "calls/<img src=x onerror=alert(1)>.wav"
SCRIPT_NAME = "calls/javascript:alert(1).mp3"
STEREO_NAME = "calls/two speakers.wav"
NAMES = ("agent-pass", "conf-otherinparty", "queue-periodic-announce", "vm-rec-temp", "privacy-prompt", "digits00")


@dataclass(frozen=True)
class Night:
    """A run that has ended."""

    run_id: str
    plan: str

    def query(self, name: str = "") -> dict[str, str]:
        """The parameters that name the run, or one of its recordings."""
        return {"run_id": self.run_id, "plan": self.plan, **({"name": name} if name else {})}


@pytest.fixture(scope="session")
def airflow() -> Iterator[Running]:
    # Airflow's database outlives the local bucket, and would list the runs of earlier tests.
    shutil.rmtree(PROJECT / ".local" / "tests-page", ignore_errors=True)
    with running_airflow("tests-page", assembly="build/local", users=USERS) as running:
        wait_for(lambda: running.is_idle(EDITOR))
        yield running


def channels_of(*files: Path) -> tuple[wave._wave_params, bytes]:
    """Recordings as the channels of one, each after the one before."""
    sounds = []
    for file in files:
        with wave.open(str(file)) as opened:
            form = opened.getparams()
            sounds.append(opened.readframes(form.nframes))
    frames = bytearray()
    for number, sound in enumerate(sounds):
        for at in range(0, len(sound), 2):
            frame = [b"\0\0"] * len(files)
            frame[number] = sound[at : at + 2]
            frames += b"".join(frame)
    return form._replace(nchannels=len(files)), bytes(frames)


def write_wav(file: Path, form: wave._wave_params, frames: bytes) -> Path:
    with wave.open(str(file), "wb") as written:
        written.setparams(form._replace(nframes=0))
        written.writeframes(frames)
    return file


def start_run(airflow: Running, conf: dict[str, Any]) -> str:
    """Start a run as the editor. Return its id."""

    def attempt() -> Any:
        try:
            path = "/api/v2/dags/transcription/dagRuns"
            return airflow.request_json(path, {"logical_date": None, "conf": conf}, EDITOR)
        except urllib.error.HTTPError as error:
            if error.code != 500:  # SQLite is locked
                raise
            return None

    return str(wait_for(attempt)["dag_run_id"])


def finished_run(airflow: Running, run_id: str) -> Night:
    """The run after its end."""

    def found() -> Any:
        keys = [key for key in airflow.keys(layout.run_prefix(run_id)) if key.endswith("/search.sqlite")]
        return keys and airflow.is_idle(EDITOR) and keys

    [key] = wait_for(found)
    return Night(run_id, layout.attempt_of(key)[1])


@pytest.fixture(scope="session")
def night(airflow: Running, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A run over calls: most are transcribed, some have dangerous names, two are rejected."""
    s3, bucket = airflow.s3, airflow.bucket
    for name in NAMES:
        s3.upload_file(str(RECORDINGS / f"{name}.wav"), bucket, f"input/calls/{name}.wav")
    stereo = tmp_path_factory.mktemp("sound") / "stereo.wav"
    write_wav(stereo, *channels_of(RECORDINGS / "vm-leavemsg.wav", RECORDINGS / "agent-pass.wav"))
    s3.upload_file(str(stereo), bucket, f"input/{STEREO_NAME}")
    s3.upload_file(str(RECORDINGS / "vm-leavemsg.wav"), bucket, f"input/{IMAGE_NAME}")
    s3.put_object(Bucket=bucket, Key=f"input/{SCRIPT_NAME}", Body=b"These bytes are no audio.")
    s3.put_object(Bucket=bucket, Key="input/calls/empty.wav", Body=b"")
    conf = {"prefix": "calls/", "output_formats": ["json", "srt", "vtt"], "channels": "separate", "alternatives": 2}
    return finished_run(airflow, start_run(airflow, conf))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium. Tests are skipped where it cannot run, but not in CI."""
    variables: dict[str, str | float | bool] = {
        **os.environ,
        "LD_LIBRARY_PATH": str(BROWSER / "lib"),
        "FONTCONFIG_FILE": str(Path(__file__).parent / "browser" / "fonts.conf"),
    }
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(
                executable_path=BROWSER / "chromium", env=variables, args=["--autoplay-policy=no-user-gesture-required"]
            )
        except Error as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(
                f"Chromium from npm's package does not run on this machine (it is for Linux on x86-64): {error}"
            )
        yield chromium
        chromium.close()


class Visitor:
    """A user who has signed in with a password, in a browser of their own."""

    def __init__(self, airflow: Running, context: BrowserContext, user: str) -> None:
        self.airflow = airflow
        self.context = context
        self.context.set_default_timeout(30_000)
        self.page: Page = context.new_page()
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda dialog: self.faults.append(f"a dialog of the browser: {dialog.message}"))
        body = {"username": user, "password": airflow.password(user)}
        token = context.request.post(f"{airflow.url}/auth/token", data=body).json()["access_token"]
        context.add_cookies([{"name": "_token", "value": token, "url": airflow.url}])

    def open(self, **parameters: str) -> Page:
        """Open the page by itself, with these parameters in its address."""
        self.page.goto(f"{self.airflow.url}/transcripts/?{urlencode(parameters)}")
        self.page.locator("main > :not(.waiting)").first.wait_for()
        return self.page

    def open_recording(self, night: Night, name: str, **more: str) -> Page:
        """Open a recording of a run."""
        return self.open(run=night.run_id, plan=night.plan, recording=name, **more)


@pytest.fixture
def visit(airflow: Running, browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors, and checks that their pages had no error."""
    visitors: list[Visitor] = []

    def make(user: str = EDITOR, *, width: int = 1280, height: int = 800, dark: bool = False) -> Visitor:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", locale="en-GB"
        )
        visitor = Visitor(airflow, context, user)
        visitors.append(visitor)
        return visitor

    yield make
    for visitor in visitors:
        visitor.context.close()
        assert not visitor.faults


def picture(page: Page, name: str) -> None:
    """Renew a picture, if that is wanted and the documentation has it (`make screenshots`)."""
    if os.environ.get("SCREENSHOTS") and name in SHOWN:
        PICTURES.mkdir(exist_ok=True)
        page.wait_for_timeout(500)  # bars glide
        page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")
