"""The page of `vital report` in a real browser: sorted, filtered, accessible, silent, at two sizes."""

import datetime
from pathlib import Path

import pytest
from PIL import Image

from modeling_vital.local_quality import CurvePoint, QualityCurve
from modeling_vital.report_page import ReportPage, render_page
from modeling_vital.thumbnails import data_uri
from tests.fixtures.accessibility import violations
from tests.fixtures.browser import chromium
from tests.test_embedded_checkpoint import CLIPS, PHOTOS


pytestmark = [pytest.mark.browser, pytest.mark.slow]

SHOTS = Path("build/screenshots")
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
SIZES["dark"] = SIZES["desktop"]
SCHEMES = {"dark": {"color_scheme": "dark"}}
EVIL = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page with every section. Its scores are made up: what is looked at is the page."""
    folder = tmp_path_factory.mktemp("holiday photos")
    with Image.open(PHOTOS[0]) as photo:
        photo.resize((320, 240)).save(folder / EVIL)
    paths = [*PHOTOS, folder / EVIL, *CLIPS]
    rows = []
    for number, path in enumerate(paths):
        score = 0.15 + 0.08 * number
        rows.append(
            {"path": str(path), "modality": "video" if path in CLIPS else "image", "score": score, "std": 0.15}
        )
        rows[-1] |= {"level": "poor" if score < 0.4 else "good", "tag": "severe white noise", "error": None}
    rows += [{"path": "holiday/cut short.jpg", "error": "'cut short.jpg' cannot be decoded; get a whole copy of it."}]
    points = tuple(CurvePoint(i / 2, i / 2 + 1, 0.7 - 0.4 * (i == 3), 0.6, 0.6) for i in range(5))
    curves = {str(clip): QualityCurve(points, 25.0, 75, 40, 0.7) for clip in CLIPS}
    made = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
    page = ReportPage(rows, "holiday", "vital-tiny", "0123abc", made, curves, ["The run was stopped."], folder=folder)
    page.maps[page.worst_rows()[0]["path"]] = data_uri(Image.open(PHOTOS[0]), 240)
    (folder / "report.html").write_text(render_page(page), encoding="utf-8")
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser():
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=120_000)
        yield browser
        browser.close()


@pytest.fixture(params=SIZES)
def page(request, browser, report):
    """A page of one size. What the console says, a dialog, and anything asked for outside fail the test."""
    context = browser.new_context(
        viewport=SIZES[request.param], has_touch=request.param == "phone", **SCHEMES.get(request.param, {})
    )
    page, complaints = context.new_page(), []
    page.on("console", lambda said: complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append("a dialog"), dialog.dismiss()))
    page.on(
        "request", lambda asked: complaints.append(asked.url) if not asked.url.startswith(("file:", "data:")) else 0
    )
    page.goto(report.as_uri())
    page.size = request.param
    yield page
    context.close()
    assert complaints == []


def shown(page):
    return [cell.inner_text() for cell in page.locator("#files tbody tr:visible td.path").all()]


def numbers(page):
    return [float(cell.inner_text()) for cell in page.locator("#files tbody tr:visible td:nth-child(3)").all()]


def test_it_is_shown_whole(page):
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"report-{page.size}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[page.size]["width"]
    assert page.evaluate("[...document.querySelectorAll('.scroll')].every(box => box.scrollWidth <= box.clientWidth)")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (page.size == "dark")
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.locator(".clip svg").count() == 2 and page.locator("#files a").get_by_text(EVIL).is_visible()
    assert page.get_by_text("get a whole copy of it").is_visible()


def test_a_name_opens_its_file_and_a_map_its_place(page):
    (link,) = page.locator("#files a").all()  # the one that lies beside the page
    assert link.inner_text().endswith(EVIL) and link.get_attribute("target") == "_blank"
    drawn = page.get_by_role("img", name="Quality map of")
    assert not drawn.is_visible()
    page.get_by_text("Where it is bad").click()
    assert drawn.is_visible()


def test_axe_finds_nothing(page):
    assert violations(page) == {}


def test_it_sorts(page):
    assert numbers(page) == sorted(numbers(page)) and len(numbers(page)) == 9
    head = page.locator("#files th", has_text="Score")
    head.get_by_role("button").click()
    assert numbers(page) == sorted(numbers(page), reverse=True) and head.get_attribute("aria-sort") == "descending"
    page.locator("#files th", has_text="File").get_by_role("button").press("Enter")  # without a mouse
    assert [Path(name).name for name in shown(page)] != [] and head.get_attribute("aria-sort") is None
    assert page.evaluate(
        "() => { const names = [...document.querySelectorAll('#files td.path')].map(c => c.textContent.trim());"
        "return names.every((n, i) => !i || names[i - 1].localeCompare(n) <= 0); }"
    )


def test_it_filters(page):
    page.get_by_label("Name or guess").fill("ONERROR")
    assert [Path(name).name for name in shown(page)] == [EVIL]
    assert page.get_by_role("status").inner_text() == "1 of 9 shown"
    page.get_by_label("Name or guess").fill("")
    page.get_by_label("Kind").select_option("video")
    assert len(shown(page)) == 2
    page.get_by_label("Kind").select_option("")
    page.get_by_label("Score at most").fill("0.3")
    assert len(shown(page)) == 2 and max(numbers(page)) <= 0.3


def test_it_reads_without_script(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("#files tbody tr").count() == 9 and not page.locator("#filters").is_visible()
    context.close()
