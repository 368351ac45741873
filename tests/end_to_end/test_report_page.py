"""The page of `optsearch report` in a real browser: it is drawn without errors, it sorts and copies, it fits a phone.

Needs chromium and chromedriver (Debian: chromium, chromium-driver), else these tests are skipped.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import SessionNotCreatedException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.forked import ForkServer
from tests.support.patience import OPTSEARCH, PATIENCE, Command
from tests.support.searches import opened
from tests.support.sheets import sheet_of_lion

CONFIG = """\
name: found
seed: 1
strategy: {population: 8, tournament: 3, start: adamw, start_tuned: false}
budget: {programs: 80}
tasks: [{name: digits_mlp, steps: 20, seeds: 1}]
evaluator: {kind: inline, batch: 8, lookahead: 1}
meta_validation: {tasks: [{name: noisy_quadratic_short, steps: 20}], every: 40}
baselines: [adamw, lion]
"""
SECTIONS = ["summary", "progress", "curves", "program", "family", "data-sheet", "leaderboard", "pareto", "verdict",
            "meta-validation", "funnel", "proof", "cache", "failures", "workers", "settings"]  # fmt: skip
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"


@pytest.fixture(scope="module")
def folder(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small search's database and its report."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "found.yaml").write_text(CONFIG)
    for words in (["run", "found.yaml"], ["report"]):
        done = server.optsearch(folder, *words)
        assert done.code == 0, done.err
        with opened(folder / "results.db") as store:
            store.keep_data_sheet(sheet_of_lion())
    return folder


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser without a window."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    missing = " and ".join(name for name, found in (("chromium", browser), ("chromedriver", driver)) if not found)
    if missing or browser is None:
        pytest.skip(f"{missing} not installed (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run", "disable-sync",
        "disable-background-networking", "disable-component-update", f"user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        chromium = webdriver.Chrome(options=options, service=Service(driver))
    except SessionNotCreatedException as error:
        pytest.skip(f"chromium does not start: {error.msg}")
    chromium.set_page_load_timeout(PATIENCE)
    chromium.set_script_timeout(PATIENCE)
    try:
        yield chromium
    finally:
        chromium.quit()


Look = Callable[..., webdriver.Chrome]


@pytest.fixture
def look(chromium: webdriver.Chrome, folder: Path) -> Look:
    """Opens the report, or another page, and waits until its plots are drawn."""

    def look(page: Path = folder / "report.html", width: int = 1400, dark: bool = False) -> webdriver.Chrome:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        prefer(chromium, dark)
        chromium.get_log("browser")
        chromium.get(page.as_uri())
        drawn(chromium)
        return chromium

    return look


def prefer(page: webdriver.Chrome, dark: bool) -> None:
    """Set the colour scheme, and no smooth scrolling, during which clicks would miss."""
    preferred = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in preferred.items()]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def wait(page: webdriver.Chrome, until: Callable[[webdriver.Chrome], Any]) -> Any:
    return WebDriverWait(page, PATIENCE, poll_frequency=0.05).until(until)


def drawn(page: webdriver.Chrome) -> None:
    wait(page, lambda page: script(page, "document.documentElement.dataset.drawn") == "yes")


def script(page: webdriver.Chrome, expression: str, *args: Any) -> Any:
    return page.execute_script(f"return {expression}", *args)


def test_it_is_drawn_without_errors(look: Look) -> None:
    page = look()
    assert page.get_log("browser") == []
    shown = page.find_elements(By.TAG_NAME, "section")
    assert [section.get_attribute("id") for section in shown] == SECTIONS
    assert all(len(section.text.split()) > 10 for section in shown)
    plots = page.find_elements(By.CLASS_NAME, "plot")
    assert {plot.get_attribute("id") for plot in plots} >= {
        *(f"plot-sheet-0-map-{place}" for place in range(3)),
        *(f"plot-sheet-0-transfer-{place}" for place in range(2)),
        "plot-sheet-0-regret",
    }
    assert len(plots) >= 14 and all(plot.find_elements(By.CSS_SELECTOR, "svg .xtick") for plot in plots)
    assert not page.find_element(By.ID, "trouble").is_displayed()
    assert len(page.find_elements(By.TAG_NAME, "math")) >= 1


def test_nothing_is_fetched(look: Look) -> None:
    fetched = script(look(), "performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert not [name for name in fetched if not name.startswith(("data:", "blob:"))]


def test_a_link_leads_to_its_section(look: Look) -> None:
    page = look()
    page.find_element(By.LINK_TEXT, "Failures").click()
    top = "document.getElementById('failures').getBoundingClientRect().top"
    wait(page, lambda page: -5 < script(page, top) < 890)


def test_a_tooltip_shows_a_value(look: Look) -> None:
    page = look()
    plot = page.find_element(By.ID, "plot-best-over-births")
    page.execute_script("arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})", plot)
    last = plot.find_elements(By.CSS_SELECTOR, ".scatterlayer .trace .points path")[-1]

    def hover(page: webdriver.Chrome) -> str:
        ActionChains(page).move_to_element(last).move_by_offset(1, 0).perform()
        return " ".join(label.text for label in plot.find_elements(By.CSS_SELECTOR, ".hoverlayer .hovertext"))

    said = wait(page, hover)
    best = script(page, "Math.max(...JSON.parse(document.getElementById('figures').textContent)"
                        "['best-over-births'].data[0].y)")  # fmt: skip
    assert f"{best:.4f}".replace("-", "−") in said.replace("-", "−") and "births" in said


def column(page: webdriver.Chrome, number: int) -> list[str]:
    """The cells as they are shown, "" for those that are not; all at once, since asking for each takes seconds."""
    cells = f"[...document.querySelectorAll('#table-leaders tbody td:nth-child({number + 1})')]"
    return list(script(page, f"{cells}.map((cell) => cell.checkVisibility() ? cell.innerText.trim() : '')"))


def test_the_table_is_sorted_by_a_click_and_back_by_another(look: Look) -> None:
    page = look()
    headings = page.find_elements(By.CSS_SELECTOR, "#table-leaders th")
    names = [heading.text.strip() for heading in headings]
    for name in ("fitness", "id", "live", "mutation"):
        sorts(page, headings[names.index(name)], names.index(name), name)


def sorts(page: webdriver.Chrome, heading: WebElement, number: int, name: str) -> None:
    key: Callable[[str], Any] = str if name == "mutation" else lambda cell: float(cell.replace("−", "-"))
    before = column(page, number)
    orders = []
    for _ in range(2):
        heading.find_element(By.TAG_NAME, "button").click()
        now = column(page, number)
        falls = heading.get_attribute("aria-sort") == "descending"
        assert now == sorted(before, key=key, reverse=falls) and len(now) == len(before) > 10
        orders.append(falls)
    assert sorted(orders) == [False, True] and len(set(before)) > 1


def test_buttons_copy(look: Look) -> None:
    """What is pasted is what the page holds, hidden parts too."""
    page = look()
    area = script(page, "document.querySelector('main').appendChild(document.createElement('textarea'))")
    for name in ("code-raw", "code-torch", "code-equations", "code-settings-yaml"):
        page.find_element(By.CSS_SELECTOR, f"button[data-copy={name}]").click()
        wait(page, lambda page: page.find_element(By.ID, "said").text == "copied")
        area.clear()
        area.send_keys(Keys.CONTROL, "v")
        held = script(page, "document.getElementById(arguments[0]).textContent", name)
        assert area.get_attribute("value") == held and len(held) > 20, name
        page.execute_script("document.getElementById('said').textContent = ''")


@pytest.mark.parametrize("width", [390, 768, 1400])
def test_it_fits(look: Look, width: int) -> None:
    page = look(width=width)
    assert script(page, "innerWidth") == width and script(page, "document.documentElement.scrollWidth") <= width
    rights = "[...document.querySelectorAll('.plot, .plot svg')].map((e) => e.getBoundingClientRect().right)"
    assert max(script(page, rights)) <= width
    if width < 600:  # tables become lists, and no title, label or cell is cut
        tables = "[...document.querySelectorAll('.scroll:not(.math)')]"
        wide = f"{tables}.filter((e) => e.scrollWidth > e.clientWidth + 1).length"
        assert script(page, wide) == 0
        cut = """[...document.querySelectorAll('.plot text')].filter((text) => {
            const box = text.getBoundingClientRect(), plot = text.closest('.plot').getBoundingClientRect();
            return box.width && (box.left < plot.left - 1 || box.right > plot.right + 1
                                 || box.top < plot.top - 1 || box.bottom > plot.bottom + 1);
        }).map((text) => text.textContent)"""
        assert script(page, cut) == []
    page.execute_script("scrollTo({left: 200, behavior: 'instant'})")
    assert script(page, "scrollX") == 0


def colours(page: webdriver.Chrome) -> tuple[list[int], str, str]:
    """Red, green and blue of the ground, colours of the ink and of the first line."""
    ground = script(page, "getComputedStyle(document.body).backgroundColor")
    ink = script(page, "getComputedStyle(document.body).color")
    line = script(page, "getComputedStyle(document.querySelector('#plot-best-over-births .js-line')).stroke")
    return [int(part) for part in re.findall(r"\d+", ground)[:3]], ink, line


def test_dark_and_light(look: Look) -> None:
    """In the dark from the beginning, and when it becomes dark."""
    light, ink, line = colours(look())
    dark, dark_ink, dark_line = colours(look(dark=True))
    assert sum(light) > 600 and sum(dark) < 150 and ink != dark_ink and line != dark_line
    page = look()
    prefer(page, dark=True)
    wait(page, lambda page: colours(page) == (dark, dark_ink, dark_line))


def test_text_from_the_database_stays_text(server: ForkServer, look: Look, folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "hostile.db"
    shutil.copy(folder / "results.db", copy)
    with closing(sqlite3.connect(copy)) as database:
        database.execute("UPDATE program SET mutation = :text", {"text": HOSTILE})
        database.execute("UPDATE program SET reason = :text WHERE status <> 'ok'", {"text": HOSTILE})
        database.commit()
    report = tmp_path / "report.html"
    assert server.optsearch(tmp_path, "report", "-o", str(report), "--store", str(copy)).code == 0
    page = look(report)
    assert HOSTILE in page.find_element(By.ID, "leaderboard").text
    assert page.get_log("browser") == [] and script(page, "window.hacked") is None


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, list[bytes]]]:
    """The address of a folder, and the pages that a browser has fetched from it."""
    fetched: list[bytes] = []

    class Serve(SimpleHTTPRequestHandler):
        def copyfile(self, source: Any, target: Any) -> None:
            fetched.append(source.read())
            target.write(fetched[-1])

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Serve, directory=tmp_path)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", fetched
        server.shutdown()
        thread.join()


def test_an_open_page_follows_the_run(
    chromium: webdriver.Chrome, folder: Path, tmp_path: Path, served: tuple[str, list[bytes]]
) -> None:
    """It loads itself again, once it is drawn, however long that takes. While it does it is asked for nothing."""
    address, fetched = served
    report = tmp_path / "report.html"
    with Command(OPTSEARCH, "report", "--watch", "1", "-o", report, "--store", folder / "results.db") as watching:
        watching.wait_until(report.exists, "a page")
        chromium.execute_cdp_cmd("Page.navigate", {"url": f"{address}/{report.name}"})  # waits for no page to be loaded
        watching.wait_until(lambda: len(set(fetched)) >= 3, "a page of its own that comes twice more")
        watching.interrupt()
        assert watching.wait() == 0
