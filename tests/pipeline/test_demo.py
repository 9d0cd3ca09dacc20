"""`make demo` with a folder of the user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
RECORDINGS = PROJECT / "tests" / "recordings"


def demo(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local_aws", "demo", *map(str, arguments)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )


def test_a_users_folder_is_transcribed_and_unreadable_files_are_named(tmp_path: Path) -> None:
    audio, out = tmp_path / "my audio", tmp_path / "the texts"
    names = {
        "Grüße an alle.wav": "vm-leavemsg.wav",
        'sub folder/deep/it\'s $(here); & "there".WAV': "agent-pass.wav",
        "talk.wav": "vm-tocallnum.wav",
        "talk/part.1.wav": "dictate__forhelp.wav",
    }
    for name, sample in names.items():
        (audio / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(RECORDINGS / sample, audio / name)
    (audio / "empty.wav").touch()
    (audio / "notes.txt").write_text("no recording")
    not_utf8 = os.fsdecode(os.fsencode(audio) + b"/caf\xe9.wav")
    shutil.copy(RECORDINGS / "agent-pass.wav", not_utf8)

    done = demo("--audio", audio, "--out", out)

    assert done.returncode == 0, done.stdout + done.stderr
    written = {path.relative_to(out).as_posix(): path.read_text().strip() for path in out.rglob("*") if path.is_file()}
    with_times = {name: json.loads(written.pop(name))["text"] for name in [*written] if name.endswith(".json")}
    assert with_times == {f"{name.removesuffix('.txt')}.json": text for name, text in written.items()}
    assert written == {
        "Grüße an alle": "press five to leave a message",
        'sub folder/deep/it\'s $(here); & "there"': "please enter your password followed by the pound key",
        "talk.txt": "press one to call this number",  # a folder cannot hold both talk and talk/
        "talk/part.1": "press zero for help",
    }
    assert "Grüße an alle.wav" in done.stdout
    assert "(rejected: " in next(line for line in done.stdout.splitlines() if line.startswith("empty.wav"))
    assert "Left alone, no recording by its name: notes.txt" in done.stdout
    assert "Could not be uploaded: " in done.stdout
    assert "its name is not UTF-8" in done.stdout
    assert "4 transcribed, 1 rejected" in done.stdout


def test_a_folder_without_recordings_gives_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no recording")
    done = demo("--audio", tmp_path)
    assert done.returncode == 1
    assert f"No recordings in {tmp_path}" in done.stderr


def test_a_missing_folder_is_named_in_the_error(tmp_path: Path) -> None:
    done = demo("--audio", tmp_path / "nowhere")
    assert done.returncode == 2
    assert "nowhere" in done.stderr
