"""Makes example data for the fine-tuning: recordings of a warehouse's orders in synthetic voices, with their texts.

    python fine_tuning/example_data.py FOLDER [--recordings N]

Needs espeak-ng (Debian: `apt-get install espeak-ng`). The same version of espeak-ng makes the same recordings each
time.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
from pathlib import Path

VOICES = "en-us+f4,en-us+m3,en-gb+f2,en-gb+m7,en-gb-scotland,en-us-nyc"
ACTIONS = "ship,order,reserve,unload,restock,inspect,return,pack,weigh,label"
AMOUNTS = "two,three,five,seven,twelve,fifteen,twenty,thirty,forty,ninety"
CONTAINERS = "pallets,crates,barrels,boxes,bundles,drums"
GOODS = (
    "copper pipe,roof tiles,garden hoses,oak planks,wool blankets,olive oil,brown sugar,glass jars,steel bolts,"
    "winter gloves,rubber boots,yellow paint,coffee beans,rice flour,window frames,ceramic bowls"
)
PLACES = "the north warehouse,the harbour,dock seven,the cold store,the outlet,the second floor,hall nine"
TIMES = "before thursday,tomorrow morning,at noon,by friday evening,after lunch,next week,without delay"


def orders(count: int) -> list[str]:
    """`count` different sentences, the same ones each time."""
    chance = random.Random(7)  # noqa: S311
    sentences: dict[str, None] = {}
    while len(sentences) < count:
        action, amount, container, goods, place, time = (
            chance.choice(words.split(",")) for words in (ACTIONS, AMOUNTS, CONTAINERS, GOODS, PLACES, TIMES)
        )
        what = f"{amount} {container} of {goods}"
        forms = (
            f"{action} {what} from {place} {time}",
            f"{place} needs {what} {time}",
            f"{what} will leave {place} {time}",
        )
        sentences[chance.choice(forms)] = None
    return list(sentences)


def speak(text: str, path: Path) -> None:
    """Speak the text into a WAV file (22,050 Hz). Voice, pitch and speed (words a minute) depend on the text."""
    chance = random.Random(text)  # noqa: S311
    voice, pitch, speed = chance.choice(VOICES.split(",")), chance.randint(30, 70), chance.randint(130, 190)
    subprocess.run(["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(speed), "-w", str(path), text], check=True)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="fine_tuning/example_data.py")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recordings", type=int, default=300)
    given = parser.parse_args()
    if shutil.which("espeak-ng") is None:
        print(
            "espeak-ng is missing. Install it (on Debian: apt-get install espeak-ng), then try again.", file=sys.stderr
        )
        return 1
    given.folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(orders(given.recordings), start=1):
        speak(text, given.folder / f"order-{number:03}.wav")
        (given.folder / f"order-{number:03}.txt").write_text(text + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
