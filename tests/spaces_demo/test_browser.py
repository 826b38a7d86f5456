"""The demo in a real browser: every tab, uploads good and bad, two sizes, names for everything that can be used.

Screenshots go to `build/screenshots`.
"""

import csv
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.accessibility import violations
from tests.fixtures.browser import chromium
from tests.fixtures.demo_server import run_demo
from tests.test_embedded_checkpoint import CLIPS, PHOTOS


pytestmark = [pytest.mark.browser, pytest.mark.slow]

SHOTS = Path("build/screenshots")
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
TABS = ("Score", "Compare", "Many files", "Models")
ANSWER_MS = 60_000

_UNNAMED = """() => [...document.querySelectorAll('button, input, select, textarea, a[href], [role=tab]')]
  .filter(e => e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true}) && e.getClientRects().length)
  .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('title') || e.innerText.trim() ||
    (e.labels && [...e.labels].some(l => l.innerText.trim())) || e.getAttribute('aria-labelledby') ||
    (e.querySelector('img[alt]:not([alt=""])'))))
  .map(e => e.outerHTML.slice(0, 200))"""


GRADIOS_OWN = {}
"""Rules that Gradio's own elements break, and where."""


@pytest.fixture(scope="module")
def browser():
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def url(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree("modeling_vital/zoo/vital-tiny", folder / "my tiny")
    with run_demo(folder, f"vital-tiny,{folder / 'my tiny'}") as url:
        yield url


@pytest.fixture(params=SIZES)
def page(request, browser, url):
    """A page of one size. What the browser's console complains of fails the test."""
    context = browser.new_context(viewport=SIZES[request.param], has_touch=request.param == "phone")
    outside = []
    context.route(
        lambda address: not address.startswith(url), lambda route: (outside.append(route.request.url), route.abort())
    )
    context.set_default_timeout(ANSWER_MS)
    page = context.new_page()
    complaints = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    page.get_by_role("heading", name="VITAL: how good does it look?").wait_for(timeout=ANSWER_MS)
    page.get_by_role("tab", name="Score", exact=True).wait_for()
    page.size = request.param
    yield page
    context.close()
    assert complaints == []
    assert outside == [], "the page asks other servers for something"


def go(page, tab):
    page.get_by_role("tab", name=tab, exact=True).locator("visible=true").first.click()


def panel(page):
    """The open tab."""
    return page.locator("[role=tabpanel]:visible")


def upload(page, *files):
    """Into the upload that all tabs share."""
    place = page.locator("#upload")
    clear = place.get_by_role("button", name="Clear")
    if clear.count():
        clear.first.click()
    place.locator("input[type=file]").first.set_input_files([str(file) for file in files])


def scored(page):
    """Waits for a score that is not there yet, and gives it."""
    value = page.locator("#result .value")
    value.wait_for(timeout=ANSWER_MS)
    return float(value.inner_text())


def shoot(page, name):
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(300)  # fades
    page.screenshot(path=SHOTS / f"{name}-{page.size}.png", full_page=True)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= SIZES[page.size]["width"], f"the page is {width} px wide"


def comes_into_view(locator):
    """Waits until all of an element is in the window, without scrolling."""
    deadline = time.monotonic() + 20
    inside = (
        "e => { const b = e.getBoundingClientRect(); return b.top >= 0 && b.bottom <= innerHeight && b.height > 0 }"
    )
    while not locator.evaluate(inside):
        assert time.monotonic() < deadline, f"{locator} is not in view"
        locator.page.wait_for_timeout(200)


def test_an_example_is_scored_by_one_click_and_seen(page):
    page.get_by_role("button", name="beach jetty").click()
    assert 0.1 <= scored(page) <= 0.9
    assert re.search(r"± 0\.\d\d · \w+", page.locator("#result .word").inner_text())
    assert re.fullmatch(r"image, vital-tiny, \d+\.\d\d s", page.locator("#result .note").inner_text())
    page.locator("#words").get_by_text("The model's guess:").wait_for(timeout=ANSWER_MS)
    page.locator("svg.levels").wait_for()
    assert "Their mean is the score" in page.locator("svg.levels").get_attribute("aria-label")
    comes_into_view(page.locator("#result .value"))
    comes_into_view(page.locator("#shown img"))
    shoot(page, "score")


def test_tabs_are_all_in_sight(page):
    """None behind a button, also on a phone; and letters are all of one font."""
    for tab in TABS:
        shown = page.get_by_role("tab", name=tab, exact=True).locator("visible=true").first
        box = shown.bounding_box()
        assert box and 0 <= box["x"] and box["x"] + box["width"] <= SIZES[page.size]["width"], tab
    assert not page.locator(".overflow-menu > button:visible").count()
    loaded = page.evaluate("[...document.fonts].filter(f => f.status === 'loaded').map(f => f.family)")
    assert not [family for family in loaded if "Source Sans" in family or "IBM" in family], loaded


def test_a_new_file_leaves_nothing_of_the_old(page, tmp_path):
    upload(page, PHOTOS[0])
    scored(page)
    old = page.locator("#result .note").element_handle()
    page.get_by_role("button", name="Where is it bad?").click()
    page.locator("#told strong").wait_for(timeout=ANSWER_MS)
    blurred = tmp_path / "blurred.png"
    with Image.open(PHOTOS[0]) as photo:
        photo.resize((64, 48)).resize((512, 384)).save(blurred)
    upload(page, blurred)
    page.wait_for_function("e => !e.isConnected", arg=old, timeout=ANSWER_MS)
    scored(page)
    assert not page.locator("#told strong").count(), "the map of the old picture is still there"
    page.locator("#upload").get_by_role("button", name="Clear").first.click()
    page.locator("#result .value").wait_for(state="detached", timeout=ANSWER_MS)
    page.locator("#result").get_by_text("The result will be here.").wait_for(timeout=ANSWER_MS)
    for rest in ("#shown img", "#words strong", "svg.levels"):
        page.locator(rest).wait_for(state="detached", timeout=ANSWER_MS)


def test_news_of_the_server_that_come_all_at_once_are_all_drawn(page):
    """As on a slow device or network, where the page has not drawn the score when the text is there too."""

    def all_at_once(route):
        route.fulfill(response=route.fetch(timeout=ANSWER_MS))

    page.route("**/queue/data?*", all_at_once)
    page.get_by_role("button", name="beach jetty").click()
    page.locator("#words").get_by_text("The model's guess:").wait_for(timeout=ANSWER_MS)
    page.locator("#shown img").wait_for()
    button = page.get_by_role("button", name="Where is it bad?")
    page.wait_for_function("e => !e.disabled", arg=button.element_handle(), timeout=5000)
    go(page, "Compare")
    page.get_by_role("button", name="original and blurred").click()
    page.locator("#compared .value").wait_for(timeout=ANSWER_MS)
    panel(page).locator("img").first.wait_for()
    page.unroute_all(behavior="wait")


def test_a_file_chosen_while_another_is_at_work_is_the_one_that_is_scored(page, long_clip):
    upload(page, long_clip)
    scored(page)
    page.get_by_role("button", name="Where is it bad?").click()
    page.locator("#told").get_by_text(re.compile(r"Looking at each part - \d+\.\d%")).wait_for()
    page.get_by_role("button", name="office tower at night (clip)").click()
    page.get_by_role("button", name="beach jetty").click()
    page.locator("#shown img").wait_for(timeout=ANSWER_MS)
    page.locator("#result .note").get_by_text(re.compile("^image")).wait_for(timeout=ANSWER_MS)
    page.locator("#words").get_by_text("The model's guess:").wait_for(timeout=ANSWER_MS)
    page.wait_for_timeout(1000)
    assert page.locator("#result .note").inner_text().startswith("image") and page.locator("#shown img").count()
    assert page.locator("#told").inner_text().strip() == ""


def test_errors_appear_at_upload_in_plain_words_and_go_away(page, tmp_path):
    bad = tmp_path / "holiday photo.jpg"
    bad.write_bytes(b"this is no photo")
    upload(page, bad)
    told = page.locator("#result [role=alert]")
    told.wait_for(timeout=ANSWER_MS)
    assert told.inner_text().startswith("This cannot be scored 'holiday photo.jpg' is not a picture or video")
    assert str(tmp_path) not in page.content() and "Traceback" not in page.content()
    shoot(page, "bad-upload")
    upload(page, PHOTOS[0])
    scored(page)
    assert not page.locator("[role=alert]:visible").count()


def test_heic_is_scored_and_shown(page, tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra `demo`")
    with Image.open(PHOTOS[0]) as photo:
        pillow_heif.from_pillow(photo.convert("RGB")).save(tmp_path / "IMG_0001.HEIC", quality=90)
    upload(page, tmp_path / "IMG_0001.HEIC")
    scored(page)
    page.wait_for_function("() => document.querySelector('#shown img')?.naturalWidth > 100", timeout=ANSWER_MS)


def test_a_clip_plays_and_one_that_breaks_off_is_scored_with_a_warning(page, tmp_path):
    page.get_by_role("button", name="office tower at night (clip)").click()
    scored(page)
    page.wait_for_function("() => document.querySelector('#played video')?.readyState >= 2", timeout=ANSWER_MS)
    rng = np.random.default_rng(0)
    pages = [Image.fromarray(rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)) for _ in range(20)]
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:], duration=100)
    data = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(data[: len(data) // 2])
    old = page.locator("#result .note").element_handle()
    upload(page, tmp_path / "cut.gif")
    page.wait_for_function("e => !e.isConnected", arg=old, timeout=ANSWER_MS)
    scored(page)
    assert "'cut.gif' breaks off after" in page.locator("#result .warning").inner_text()


def test_where_a_photo_is_bad(page):
    page.get_by_role("button", name="fig in a red bowl").click()
    scored(page)
    page.get_by_role("button", name="Where is it bad?").click()
    told = page.locator("#told strong")
    told.wait_for(timeout=2 * ANSWER_MS)
    assert re.match(r"Worst place: score 0\.\d\d|Nothing stands out: all places score", told.inner_text())
    page.wait_for_function(
        "() => [...document.images].some(i => i.checkVisibility() && i.naturalWidth > 300 && i.src.includes('.png'))",
        timeout=ANSWER_MS,
    )
    shoot(page, "where-photo")


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    """A GIF of 40 s, whose curve takes long."""
    y, x = np.mgrid[:96, :96]
    pages = [Image.fromarray(((x + y + 3 * t) % 256).astype(np.uint8)) for t in range(400)]
    path = tmp_path_factory.mktemp("long") / "long.gif"
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=100)
    return path


def test_work_shows_where_it_can_be_seen_waits_in_line_and_stops(page, browser, url, long_clip):
    """A clip's curve takes long: its progress shows, a second visitor sees the place in the line, and Stop ends it."""
    other = browser.new_context(viewport=SIZES[page.size]).new_page()
    other.set_default_timeout(ANSWER_MS)
    other.goto(url)
    example = other.get_by_role("button", name="beach jetty")
    example.wait_for()
    upload(page, long_clip)
    scored(page)
    page.locator("#words").get_by_text("The model's guess:").wait_for()
    page.get_by_role("button", name="Where is it bad?").click()
    began = time.monotonic()
    working = page.locator("#told").get_by_text(re.compile(r"Looking at each part - \d+\.\d%"))
    working.wait_for()
    comes_into_view(working)
    example.click()
    other.locator("#result").get_by_text(re.compile("queue|processing")).first.wait_for()
    shoot(page, "working")
    share = float(re.search(r"(\d+\.\d)%", working.inner_text())[1]) / 100
    left = (time.monotonic() - began) * (1 / share - 1)
    panel(page).get_by_role("button", name="Stop", exact=True).click()
    page.locator("#told").get_by_text("Stopped.").wait_for()
    began = time.monotonic()
    scored(other)
    assert time.monotonic() - began < left / 2, "the work went on after Stop"
    other.context.close()
    assert page.locator("#told").inner_text().strip() == "Stopped."


def test_compare_versions_of_one_picture_by_one_click(page):
    go(page, "Compare")
    page.get_by_role("button", name="original and blurred").click()
    value = page.locator("#compared .value")
    value.wait_for(timeout=ANSWER_MS)
    assert value.inner_text() == "A wins"  # a sharp photo against its blur: any model worth a demo
    assert re.search(r"probability \d+%", page.locator("#compared .word").inner_text())
    page.wait_for_function(
        "() => [...document.querySelectorAll('[role=tabpanel] img')].filter(i => i.checkVisibility() && "
        "i.naturalWidth > 300).length >= 2",
        timeout=ANSWER_MS,
    )
    shoot(page, "compare")
    go(page, "Score")  # the upload is shared: A is scored there
    scored(page)


def test_models_have_sizes_and_how_they_were_made(page):
    go(page, "Models")
    table = page.locator("#zoo table")
    assert "in the package" in table.inner_text() and " M, " in table.inner_text()
    page.get_by_role("button", name="beach jetty").click()
    page.locator("#shown img").wait_for()
    page.get_by_role("button", name="Ask every model").click()
    page.wait_for_function("() => document.querySelectorAll('#zoo td.number').length >= 4", timeout=2 * ANSWER_MS)
    assert {"vital-tiny", "my tiny"} <= {row.inner_text() for row in table.locator("td:first-child").all()}
    shoot(page, "models")


def test_many_files(page, tmp_path):
    bad = tmp_path / "broken file.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n")
    upload(page, CLIPS[1], PHOTOS[0], PHOTOS[3], bad)
    scored(page)  # the first of them
    page.locator("#played video").wait_for()
    old = page.locator("#result .note").element_handle()
    page.get_by_label("Shown and scored").click()
    page.get_by_role("option", name=PHOTOS[3].name).click()
    page.wait_for_function("e => !e.isConnected", arg=old)
    scored(page)
    page.locator("#shown img").wait_for()
    go(page, "Many files")
    assert panel(page).get_by_text("Download").count() == 1
    panel(page).get_by_role("button", name="Score all").click()
    table = page.locator("#batch table")
    table.get_by_text("broken file.png").first.wait_for(timeout=2 * ANSWER_MS)
    page.wait_for_function("() => document.querySelectorAll('#batch td.number').length == 6", timeout=ANSWER_MS)
    scores = [float(cell.inner_text()) for cell in table.locator("td.number").all()][::2]
    assert scores == sorted(scores) and "1 could not be scored" in table.inner_text()
    shoot(page, "many-files")
    with page.expect_download(timeout=ANSWER_MS) as download:
        panel(page).get_by_text("Download CSV").click()
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [CLIPS[1].name, PHOTOS[0].name, PHOTOS[3].name, "broken file.png"]
    assert [bool(row["score"]) for row in rows] == [True, True, True, False] and rows[3]["error"]


def test_lines_of_code_are_those_of_the_model_and_can_be_copied(page):
    page.get_by_text("Use it in Python, on the command line, on the Hub").click()
    page.get_by_text("vital score holiday/").first.wait_for(timeout=ANSWER_MS)
    assert page.get_by_text("--model vital-tiny").count()
    assert page.get_by_role("button", name=re.compile("copy", re.IGNORECASE)).count() >= 3
    page.get_by_label("Model", exact=True).first.click()
    page.get_by_role("option", name="my tiny").click()
    page.get_by_text("--model 'my tiny'").first.wait_for(timeout=ANSWER_MS)
    shoot(page, "code")
    page.get_by_text("Limits, method, and whose examples these are").click()
    page.get_by_text("Nevit Dilmen").wait_for()
    page.locator("#links").get_by_text("docs/", exact=True).wait_for()
    shoot(page, "attribution")


def test_everything_that_can_be_used_has_a_name(page):
    page.get_by_role("button", name="beach jetty").click()
    scored(page)
    for tab in TABS:
        go(page, tab)
        page.wait_for_timeout(300)
        assert page.evaluate(_UNNAMED) == [], tab


def test_axe_finds_nothing_of_ours(page):
    page.get_by_role("button", name="beach jetty").click()
    scored(page)
    found = {}
    for tab in TABS:
        go(page, tab)
        page.wait_for_timeout(300)
        found |= {(tab, rule): elements for rule, elements in violations(page, GRADIOS_OWN).items()}
    assert found == {}


def test_keyboard_alone_scores_an_example(page):
    if page.size == "phone":
        pytest.skip("a phone has no keyboard")
    page.get_by_role("button", name="beach jetty").wait_for()
    for _ in range(60):
        page.keyboard.press("Tab")
        if "beach jetty" in page.evaluate("document.activeElement.innerText || ''"):
            break
    else:
        pytest.fail("the examples cannot be reached by Tab")
    page.keyboard.press("Enter")
    scored(page)
