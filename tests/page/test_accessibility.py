"""Each view of the page by the checker axe: in both themes, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import STEREO_NAME, Night, Visitor, picture

AXE = Path(__file__).parent / "browser" / "node_modules" / "axe-core" / "axe.min.js"
PHONE, DESK = 390, 1280


def faults(page: Page) -> list[str]:
    """What axe finds serious, with the elements."""
    # The page's policy allows no foreign script, so the checker comes by the debugger.
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{rule['id']}: {rule['help']}: {[node['html'] for node in rule['nodes']]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [DESK, PHONE])
def test_no_view_has_a_serious_fault_or_is_wider_than_the_screen(
    width: int, dark: bool, night: Night, visit: Callable[..., Visitor]
) -> None:
    visitor = visit(width=width, height=844, dark=dark)
    views: dict[str, dict[str, str]] = {
        "runs": {},
        "run": {"run": night.run_id},
        "recording": {"run": night.run_id, "plan": night.plan, "recording": STEREO_NAME},
        "rejected": {"run": night.run_id, "plan": night.plan, "recording": "calls/empty.wav"},
        "search": {"q": "message", "by": "words"},
        "nothing": {"q": "never said", "by": "words"},
        "unknown": {"run": "no such run"},
    }
    for name, parameters in views.items():
        page = visitor.open(**parameters)
        page.wait_for_load_state("networkidle")
        assert faults(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is too wide"
        if width == PHONE and dark:
            picture(page, f"phone-{name}")
    for button, dialog in (("New run", "New run"), ("Upload", "Upload recordings")):
        page.get_by_role("button", name=button).click()
        expect(page.get_by_role("dialog", name=dialog)).to_be_visible()
        assert faults(page) == [], dialog
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_keyboard_reaches_everything_of_a_recording(night: Night, visit: Callable[..., Visitor]) -> None:
    page = visit().open_recording(night, STEREO_NAME)
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent")
        )
    for wanted in (
        "Skip to content",
        "Play",
        "Place in the recording",
        "Correct",
        "press",
        "WebVTT",
        "Earlier versions",
    ):
        assert wanted in reached
