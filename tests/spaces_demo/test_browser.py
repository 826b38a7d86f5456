"""The demo in a real browser: every tab, uploads good and bad, two sizes, names for everything that can be used.

Screenshots go to `build/screenshots`.
"""

import csv
import re
import shutil
from pathlib import Path

import pytest

from tests.fixtures.accessibility import violations
from tests.fixtures.browser import chromium
from tests.fixtures.demo_server import run_demo
from tests.test_embedded_checkpoint import CLIPS, PHOTOS


pytestmark = [pytest.mark.browser, pytest.mark.slow]

SHOTS = Path("build/screenshots")
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
TABS = ("Score", "Describe", "Compare", "Zoo", "Batch")
ANSWER_MS = 15_000

_UNNAMED = """() => [...document.querySelectorAll('button, input, select, textarea, a[href], [role=tab]')]
  .filter(e => e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true}) && e.getClientRects().length)
  .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('title') || e.innerText.trim() ||
    (e.labels && [...e.labels].some(l => l.innerText.trim())) || e.getAttribute('aria-labelledby') ||
    (e.querySelector('img[alt]:not([alt=""])'))))
  .map(e => e.outerHTML.slice(0, 200))"""


GRADIOS_OWN = {"aria-prohibited-attr": ('aria-label="Empty value"',)}
"""Rules that Gradio's own elements break, and where: the box that stands for a plot without data."""


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
    page.wait_for_timeout(1000)  # until the tabs know how many of them fit
    page.size = request.param
    yield page
    context.close()
    assert complaints == []
    assert outside == [], "the page asks other servers for something"


def go(page, tab):
    shown = page.get_by_role("tab", name=tab, exact=True).locator("visible=true")
    if not shown.count():  # on a phone, the last ones are behind a button
        page.locator(".overflow-menu > button:visible").click()
        shown = page.locator(".overflow-dropdown button", has_text=tab)
    shown.first.click()


def panel(page):
    """The open tab."""
    return page.locator("[role=tabpanel]:visible")


def upload(page, *files):
    """Into the first place that is still empty."""
    panel(page).locator("input[type=file]").first.set_input_files([str(file) for file in files])
    for file in files:
        panel(page).get_by_text(Path(file).stem).first.wait_for(timeout=ANSWER_MS)


def press(page, name):
    panel(page).get_by_role("button", name=name, exact=True).click()


def cells(page):
    """Of the table in the open tab, those that can be seen."""
    return panel(page).locator("[role=gridcell]:visible")


def column(page, number):
    return [cell.inner_text().strip() for cell in cells(page).and_(page.locator(f"[aria-colindex='{number}']")).all()]


def shoot(page, name):
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(700)  # plots and fades
    page.screenshot(path=SHOTS / f"{name}-{page.size}.png", full_page=True)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= SIZES[page.size]["width"], f"the page is {width} px wide"


def test_score(page):
    upload(page, PHOTOS[0])
    panel(page).locator("img[src*='/file=']").wait_for(timeout=ANSWER_MS)  # the preview
    press(page, "Score")
    value = panel(page).locator(".headline .value")
    value.wait_for(timeout=ANSWER_MS)
    assert re.fullmatch(r"0\.\d\d", value.inner_text())
    assert re.fullmatch(r"± 0\.\d\d · (high|good|fair|poor|low)", panel(page).locator(".word").inner_text())
    assert re.fullmatch(r"image, vital-tiny, \d+\.\d\d s", panel(page).locator(".note").inner_text())
    plot = panel(page).locator("canvas, .vega-embed svg").first
    plot.wait_for(timeout=ANSWER_MS)
    shoot(page, "score")


def test_where_a_photo_is_bad(page):
    upload(page, PHOTOS[0])
    press(page, "Where is it bad?")
    panel(page).get_by_text(re.compile(r"Worst place: score 0\.\d\d")).wait_for(timeout=2 * ANSWER_MS)
    page.wait_for_function(
        "() => [...document.images].some(i => i.checkVisibility() && i.naturalWidth > 300 && i.src.includes('.png'))",
        timeout=ANSWER_MS,
    )
    shoot(page, "where-photo")


def test_when_a_clip_is_bad(page):
    upload(page, CLIPS[0])
    press(page, "Where is it bad?")
    panel(page).get_by_text(re.compile(r"Worst second: \d\.\d to \d\.\d s")).wait_for(timeout=4 * ANSWER_MS)
    assert panel(page).locator("svg[aria-label*='over time']").get_attribute("aria-label").count("Worst") == 1
    shoot(page, "where-clip")


def test_score_of_an_example(page):
    panel(page).get_by_text("office tower at night").first.click()
    panel(page).get_by_text(re.compile("office-tower-at-night")).first.wait_for(timeout=ANSWER_MS)
    press(page, "Score")
    panel(page).get_by_text(re.compile(r"video, vital-tiny")).wait_for(timeout=ANSWER_MS)
    shoot(page, "score-example")


def test_bad_uploads_are_told_in_plain_words(page, tmp_path):
    press(page, "Score")
    page.get_by_text("Add a picture or a clip first.").wait_for(timeout=ANSWER_MS)
    bad = tmp_path / "holiday photo.jpg"
    bad.write_bytes(b"this is no photo")
    upload(page, bad)
    press(page, "Score")
    told = page.get_by_text(re.compile(r"'holiday photo.jpg'"))
    told.wait_for(timeout=ANSWER_MS)
    assert str(tmp_path) not in told.inner_text() and "Traceback" not in page.content()
    shoot(page, "bad-upload")


def test_describe(page):
    go(page, "Describe")
    upload(page, PHOTOS[2])
    assert "was not trained to answer questions" in panel(page).inner_text()
    press(page, "Describe")
    panel(page).get_by_text(re.compile("^The distortion of the image is")).first.wait_for(timeout=ANSWER_MS)
    question = panel(page).get_by_label("Question about it")
    question.fill("Is it sharp?")
    question.press("Enter")
    panel(page).get_by_text("Is it sharp?", exact=True).first.wait_for(timeout=ANSWER_MS)
    answers = panel(page).locator(".bot.message, .message.bot, [data-testid=bot]")
    page.wait_for_function("() => document.querySelectorAll('[data-testid=bot]').length >= 2", timeout=ANSWER_MS)
    assert answers.last.inner_text().strip()
    shoot(page, "describe")
    press(page, "Start anew")
    page.wait_for_function("() => !document.querySelectorAll('[data-testid=bot]').length", timeout=ANSWER_MS)


def test_compare(page):
    go(page, "Compare")
    upload(page, PHOTOS[0])
    upload(page, CLIPS[0])
    press(page, "Compare")
    value = panel(page).locator(".headline .value")
    value.wait_for(timeout=ANSWER_MS)
    assert value.inner_text() in ("A wins", "B wins", "Tie")
    assert re.search(r"probability \d+%", panel(page).locator(".word").inner_text())
    shoot(page, "compare")


def test_zoo(page):
    go(page, "Zoo")
    upload(page, PHOTOS[1])
    press(page, "Score with each")
    for name in ("vital-tiny", "my tiny"):
        cells(page).filter(has_text=name).wait_for(timeout=ANSWER_MS)
    shoot(page, "zoo")


def test_batch(page, tmp_path):
    go(page, "Batch")
    bad = tmp_path / "broken file.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n")
    upload(page, CLIPS[1], PHOTOS[0], PHOTOS[3], bad)
    press(page, "Score all")
    cells(page).filter(has_text="broken file.png").first.wait_for(timeout=ANSWER_MS)
    shoot(page, "batch")
    unsorted = [float(cell) for cell in column(page, 2) if cell]
    head = panel(page).locator("[role=columnheader]:visible", has_text="score").first
    head.hover()
    head.get_by_role("button", name="Open cell menu").click()
    page.get_by_text("Sort ascending").click()
    page.wait_for_timeout(500)
    assert [float(cell) for cell in column(page, 2) if cell] == sorted(unsorted) != unsorted
    button = panel(page).get_by_text("Download CSV")
    with page.expect_download(timeout=ANSWER_MS) as download:
        button.click()
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [CLIPS[1].name, PHOTOS[0].name, PHOTOS[3].name, "broken file.png"]
    assert [bool(row["score"]) for row in rows] == [True, True, True, False] and rows[3]["error"]


def test_everything_that_can_be_used_has_a_name(page):
    for tab in TABS:
        go(page, tab)
        page.wait_for_timeout(300)
        assert page.evaluate(_UNNAMED) == [], tab


def test_axe_finds_nothing_of_ours(page):
    found = {}
    for tab in TABS:
        go(page, tab)
        page.wait_for_timeout(300)
        found |= {(tab, rule): elements for rule, elements in violations(page, GRADIOS_OWN).items()}
    assert found == {}


def test_keyboard_alone_scores_an_example(page):
    if page.size == "phone":
        pytest.skip("a phone has no keyboard")
    panel(page).get_by_text("beach jetty").first.wait_for()
    for _ in range(60):
        page.keyboard.press("Tab")
        if "beach jetty" in page.evaluate("document.activeElement.innerText || ''"):
            break
    else:
        pytest.fail("the examples cannot be reached by Tab")
    page.keyboard.press("Enter")
    panel(page).get_by_text(re.compile("beach-jetty")).first.wait_for(timeout=ANSWER_MS)
    panel(page).get_by_role("button", name="Score", exact=True).focus()
    page.keyboard.press("Enter")
    panel(page).locator(".headline .value").wait_for(timeout=ANSWER_MS)
