"""
The page in a real browser, on a run that goes on in the lab: real Envoy, Prometheus, controller and Chromium.

Two pages are served: one with all rights, one whose API server lets nobody patch a run.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from canaryd.lab.kubernetes import ApiServer
from canaryd.lab.lab import Lab
from canaryd.lab.processes import free_port
from tests.cli.stage import PLAN as USUAL
from tests.cli.stage import Process, wait_for
from tests.desk.places import in_folder, standing
from tests.web.stage import STANDING

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[dev]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("lab"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on PATH: apt-get install chromium"),
]

PLAN: dict[str, Any] = USUAL | {
    "spec": USUAL["spec"]
    | {
        "steps": [{"weight": 5, "bake": "12s"}, {"weight": 25, "bake": "30m"}, {"weight": 50, "bake": "1m"}],
        "analysis": {"scrape": "1s", "cell": "2s", "settle": "1s", "warmup": "4s", "history": "10s"},
        "watch": "2s",
    }
}
MINUTE = 60_000.0
"""Milliseconds within which something is seen; two cores may have other work."""


@dataclass
class Sight:
    """What a person sees of one page; ``noise`` is what the browser's console said against it."""

    page: Any
    address: str
    noise: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        self.page.goto(self.address + path)

    def until(self, selector: str, text: str) -> None:
        """Without any reload."""
        sync_api.expect(self.page.locator(selector)).to_contain_text(re.compile(text), timeout=MINUTE)

    def say(self, verb: str, reason: str) -> None:
        """Press the button, give the reason in the dialog, and send it."""
        self.page.click(f"#say-{verb}")
        dialog = self.page.locator("dialog#asking[open]")
        dialog.locator("textarea").fill(reason)
        dialog.locator("form button").first.click()
        self.page.wait_for_load_state()

    @property
    def overflows(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


@dataclass
class Pages:
    """Browsers, each a person of its own, on pages that are served by processes of their own."""

    browser: Any
    folder: Path
    served: list[Process] = field(default_factory=list)

    def serve(self, *options: str) -> str:
        """``canaryd ui`` on a free port; the address that it printed."""
        process = Process(["ui", *options, "--port", str(free_port())], self.folder)
        self.served.append(process)
        process.says("/enter?key=")
        found = re.search(r"http://\S+", process.output)
        assert found
        return found[0]

    def enter(self, address: str, **look: Any) -> Sight:
        page = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | look).new_page()
        sight = Sight(page, address.partition("/enter")[0])
        page.on("console", lambda said: sight.noise.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: sight.noise.append(str(error)))
        wait_for(lambda: _opens(page, address), "the page", 30)
        return sight


def _opens(page: Any, address: str) -> bool:
    try:
        page.goto(address)
    except sync_api.Error:
        return False
    return True


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def pages(chromium: Any, tmp_path: Path) -> Iterator[Pages]:
    found = Pages(chromium, tmp_path)
    yield found
    for process in found.served:
        process.kill()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab.up(tmp_path / "lab", rps=150, seed=7) as lab:
        lab.start_controller().wait_until_leading(60)
        yield lab
        lab.stop_controller()


@pytest.mark.lab
def test_a_release_is_followed_held_and_aborted_in_a_browser(pages: Pages, lab: Lab) -> None:
    """
    It moves by itself, hold and abort by button work, a person without rights cannot, and the console stays silent.

    And the next release is given there. One run for all of it: a step takes its time.
    """
    own = pages.serve("-A", "--kubeconfig", str(lab.kubeconfig))
    sight = pages.enter(own)
    assert "There are no plans" in sight.page.inner_text("main")

    lab.cluster.apply(PLAN)
    sight.until("#list", r"reviews[\s\S]*5 %")  # by itself: nobody has loaded the page again
    sight.page.click("#list a")
    sight.until("#run .waits", "baking at 5 %")
    plot = sight.page.inner_html("#traffic")
    waits = sight.page.inner_text("#run .waits")
    sight.page.locator("#plan summary").first.click()

    sight.until("#run .facts", "25 %, step 2 of 3")
    assert sight.page.inner_text("#run .waits") != waits
    wait_for(lambda: sight.page.inner_html("#traffic") != plot, "another plot", 60)
    assert sight.page.locator("#plan details").first.get_attribute("open") is not None  # what was opened stays open
    run = sight.page.url.removeprefix(sight.address)

    sight.say("hold", "the fair <b>begins</b>")
    sight.until("#run", "hold: the run has heard it")
    sight.until("#run .waits", "the fair <b>begins</b>")
    assert lab.weights() == {"v1": 75, "v3": 25}

    with ApiServer(lab.cluster, denied=(("patch", "canaryruns"), ("operate", "canaryruns"))) as strict:
        config = strict.kubeconfig(pages.folder / "strict")
        look_but_not_touch(pages, pages.serve("-A", "--kubeconfig", str(config)), run)
    assert lab.weights() == {"v1": 75, "v3": 25}

    sight.page.click("#say-abort")
    dialog = sight.page.locator("dialog#asking")
    sync_api.expect(dialog.locator("textarea")).to_be_focused()
    sight.page.keyboard.press("Escape")
    sync_api.expect(dialog).to_be_hidden()

    sight.say("abort", "it was enough")
    sight.until("#run h1", "aborted and rolled back")
    sight.until("#run .waits", "it was enough")
    sight.until("#timeline", "rolled back")
    assert lab.weights() == {"v1": 100}

    sight.page.click("#say-release")
    asking = sight.page.locator("dialog#asking[open]")
    sync_api.expect(asking.locator("input[name=version]")).to_be_focused()
    asking.locator("input[name=version]").fill("v3.1")
    asking.locator("textarea").fill("mended")
    asking.locator("form button").first.click()
    sight.until("#list", r"v3\.1[\s\S]*(pending|shifting|baking)")
    sight.page.click("#list .act a")
    sync_api.expect(asking).to_contain_text("onNewRelease")
    assert sight.noise == []


def look_but_not_touch(pages: Pages, address: str, run: str) -> None:
    """Who may not is told so by the buttons; and by the API server, should they say it without one."""
    sight = pages.enter(address)
    sight.go(run)
    button = sight.page.locator("#say-abort")
    assert button.get_attribute("aria-disabled") == "true"
    assert "may not operate canaryruns.canaryd.io" in sight.page.inner_text("#lacks")
    button.click(force=True)
    sight.page.wait_for_timeout(500)
    assert sight.page.locator("dialog[open]").count() == 0
    assert sight.noise == []
    status = sight.page.evaluate(
        """async (path) => {
            const csrf = document.querySelector('input[name=csrf]').value;
            return (await fetch(path, {method: 'POST', body: new URLSearchParams({csrf, reason: 'I insist'})})).status;
        }""",
        f"{run}/ask/abort",
    )
    assert status == 403


def test_it_is_used_with_keys_and_on_a_telephone(pages: Pages) -> None:
    """`/` and `?` are heard, and can be switched off; nothing is wider than 360 px; colours are the person's choice."""
    place = in_folder(pages.folder / "state")
    place.put(standing(), STANDING)
    own = pages.serve("--state", str(pages.folder / "state"))
    sight = pages.enter(own, viewport={"width": 360, "height": 740}, color_scheme="dark")
    page = sight.page
    sight.go("/runs")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("nobody has this")
    sight.until("#list", "is like that")
    assert page.url.endswith("?q=nobody+has+this")
    page.fill("#search", "")
    sight.until("#list", "reviews")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    sync_api.expect(page.locator("dialog#help")).to_be_visible()
    page.uncheck("#keys-on")
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    sync_api.expect(page.locator("dialog#help")).to_be_hidden()
    assert not sight.overflows
    page.goto(sight.address + "/runs")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"

    page.click("#list a")
    page.wait_for_selector("#traffic .plot.narrow")
    assert not sight.overflows
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.select_option("#theme", "light")
    page.wait_for_selector(":root[data-theme=light]")
    assert page.evaluate(background) != dark
    assert sight.noise == []
