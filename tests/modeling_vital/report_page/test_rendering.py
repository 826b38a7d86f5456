"""The page of `vital report`: what it says, what it leaves out, and that names in it are text."""

import datetime
import html
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from modeling_vital.local_quality import CurvePoint, QualityCurve
from modeling_vital.report_page import ReportPage, read_rows, render_page, rendering
from modeling_vital.thumbnails import thumbnail
from tests.fixtures.tiny_media import photo


EVIL = "<img src=x onerror=alert(1)>.png"
MADE = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.timezone.utc)


def row(path, score=0.5, **more):
    return {"path": str(path), "score": score, "std": 0.1, "level": "fair", "modality": "image", "tag": None} | {
        "error": None,
        **more,
    }


class Reader(HTMLParser):
    """Tags with their attributes, and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data.strip())

    def rows(self):
        return [attrs for tag, attrs in self.tags if tag == "tr" and "data-score" in attrs]


def test_it_says_model_totals_and_errors(tmp_path):
    rows = [row("a.png", 0.2), row("b.mp4", 0.6, modality="video", tag="severe noise"), row("c.png", 0.7)]
    rows.append({"path": "d.png", "error": "it is damaged"})
    text = render_page(ReportPage(rows, "my folder", "vital-tiny", "abc123", MADE, notes=["Stopped early."]))
    told = " ".join(" ".join(Reader(text).texts).split())
    for said in ("my folder", "Model vital-tiny, revision abc123; made 2026-01-02 03:04 UTC", "Stopped early.",
                 "files 4", "pictures 2", "clips 1", "without a score 1", "mean 0.50", "median 0.60",
                 "it is damaged", "Scores lie in [0, 1]"):  # fmt: skip
        assert said in told
    assert [float(attrs["data-score"]) for attrs in Reader(text).rows()] == [0.2, 0.6, 0.7]
    histogram = next(attrs for tag, attrs in Reader(text).tags if attrs.get("class") == "histogram")
    assert "1 from 0.20 to 0.25" in histogram["aria-label"] and "1 from 0.60 to 0.65" in histogram["aria-label"]


def test_names_and_messages_are_text(tmp_path):
    path = tmp_path / EVIL
    Image.fromarray(photo(0)).save(path)
    bad = '"><script>alert(2)</script>'
    curve = QualityCurve((CurvePoint(0.0, 1.0, 0.5, 0.5, 0.5),), 10.0, 10, 0, 0.5)
    rows = [row(path, level=bad, tag=bad), row(tmp_path / bad, modality=bad), {"path": bad, "error": bad}]
    odd = "new\nline \udcff \u202e.png"
    rows.append(row(odd))
    curves = {rows[1]["path"]: curve}
    text = render_page(ReportPage(rows, bad + odd, bad + odd, bad + odd, MADE, curves, [bad + odd]))
    reader = Reader(text)
    assert [attrs for tag, attrs in reader.tags if tag == "script"] == [{}]
    assert not [attrs for _, attrs in reader.tags if any(name.startswith("on") for name in attrs)]
    assert all(attrs["src"].startswith("data:image/webp;base64,") for tag, attrs in reader.tags if tag == "img")
    assert any(EVIL in each for each in reader.texts) and html.escape(EVIL) in text
    assert text.count(r"new\nline \udcff \u202e.png") >= 5
    text.encode("utf-8")


def test_it_asks_for_nothing_from_elsewhere(tmp_path):
    Image.fromarray(photo(0)).save(tmp_path / "a.png")
    text = render_page(ReportPage([row(tmp_path / "a.png")], "t", "m", made=MADE))
    reader = Reader(text)
    assert not [tag for tag, attrs in reader.tags if tag == "link" or attrs.get("href")]  # no folder, no links
    assert not re.search(r"@import|url\(", text)
    assert set(re.findall(r"https?://[^\"' ]+", text)) <= {"http://www.w3.org/2000/svg"}  # a name, not an address
    policy = next(attrs["content"] for tag, attrs in reader.tags if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;") and "script-src 'sha256-" in policy


def test_its_size_is_bounded_and_it_says_what_is_left_out(tmp_path, monkeypatch):
    Image.fromarray(photo(0)).save(tmp_path / "a.png")
    monkeypatch.setattr(rendering, "MAX_ROWS", 30)
    monkeypatch.setattr(rendering, "MAX_THUMBNAILS", 5)
    monkeypatch.setattr(rendering, "MAX_ERRORS", 2)
    monkeypatch.setattr(rendering, "MAX_CURVES", 1)
    curve = QualityCurve((CurvePoint(0.0, 1.0, 0.5, 0.5, 0.5),), 10.0, 10, 0, 0.5)
    rows = [row(tmp_path / "a.png", i / 100) for i in range(50)] + [
        {"path": f"{i}.png", "error": "no"} for i in range(4)
    ]
    rows += [row(f"{i}.mp4", 0.9, modality="video") for i in range(2)]
    text = render_page(ReportPage(rows, "t", "m", made=MADE, curves={f"{i}.mp4": curve for i in range(2)}))
    assert len(Reader(text).rows()) == 30
    for said in ("the 30 worst of 52 files", "Only the 5 worst files have a thumbnail", "the first 2 of 4 errors",
                 "Only the 1 worst of 2 clips"):  # fmt: skip
        assert said in text


def test_a_page_of_2000_files_stays_small():
    rows = [row(f"folder/a picture with a long name {i}.jpg", i / 2000) for i in range(2000)]
    text = render_page(ReportPage(rows, "t", "m", made=MADE))
    assert len(Reader(text).rows()) == 2000
    assert len(text) < 2_000_000  # without thumbnails; each adds page.ROW_PX pixels' worth, see the next test


def test_a_thumbnail_is_small(tmp_path):
    Image.effect_noise((1600, 1200), 90).convert("RGB").save(tmp_path / "noise.png")  # the worst there is to compress
    made = thumbnail(str(tmp_path / "noise.png"), rendering.ROW_PX)
    assert made.startswith("data:image/webp") and len(made) < 4000
    assert thumbnail(str(tmp_path / "gone.png"), 64) is None


def test_nothing_scored_is_a_page_too():
    text = render_page(ReportPage([{"path": "a", "error": "no"}], "t", "m", made=MADE))
    assert "No file has a score." in text and 'id="files"' not in text


def test_rows_are_read_from_json_and_jsonl(tmp_path):
    records = [{"path": "a\u2028", "score": 0.5, "std": 0.1, "level": "fair", "modality": "image", "level_probs": {}},
               {"path": "b.png", "score": None, "error": "no"}]  # fmt: skip
    (tmp_path / "rows.json").write_text(json.dumps(records))
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n\n", encoding="utf-8-sig")  # as an editor saves it
    rows = read_rows(tmp_path / "rows.json")
    assert rows == read_rows(tmp_path / "rows.jsonl")
    assert rows[0]["score"] == 0.5 and rows[0]["tag"] is None and rows[1]["error"] == "no"


@pytest.mark.parametrize(
    "text,said",
    [
        ("{", "JSONL"),
        ('[{"score": 1}]', "row 1 .*'path'.*vital score"),
        ('{"path": "a", "score": 0.1}\n{"path": "b"}', "line 2 .'b'. .*score"),
        ('{"path": "a", "score": 1.5}', "line 1 .'a'. .*score 1.5"),
        ('{"path": "a", "score": NaN}', "line 1 .'a'. .*number.*score"),
        ('{"path": "a", "score": true}', "line 1 .'a'. .*number.*score"),
    ],
)
def test_wrong_rows_are_refused(tmp_path, text, said):
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(ValueError, match=f"rows.json.*{said}"):
        read_rows(tmp_path / "rows.json")


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "text",
    [
        f'[{{"path": "a", "score": 0.1}}, {{"path": {DEEP}}}, {{"path": "b", "score": 0.2}}]',
        f'{{"path": "a", "score": 0.1}}\n{{"path": {DEEP}}}\n{{"path": "b", "score": 0.2}}',
        '{"path": "a", "score": 0.1}\n{"path": "x", "score": \n{"path": "b", "score": 0.2}',
    ],
)
def test_one_unreadable_record_is_one_error(tmp_path, text):
    (tmp_path / "rows.json").write_text(text)
    first, bad, last = read_rows(tmp_path / "rows.json")
    assert (first["score"], last["score"]) == (0.1, 0.2)
    assert bad["error"] and bad["file"] is None and bad["path"].endswith(" 2")
    assert "JSON" in render_page(ReportPage([first, bad, last], "t", "m", made=MADE))


@pytest.mark.parametrize("score", ["1e999", "-1e999", "9" * 400])
def test_numbers_out_of_range_are_refused(tmp_path, score):
    (tmp_path / "rows.json").write_text(f'{{"path": "a", "score": {score}}}')
    with pytest.raises(ValueError, match="rows.json.*score"):
        read_rows(tmp_path / "rows.json")


@pytest.mark.parametrize("name", ["modality", "level", "tag"])
@pytest.mark.parametrize("value", [5, ["a"], {"a": 1}])
def test_words_that_are_none_are_refused(tmp_path, name, value):
    (tmp_path / "rows.json").write_text(json.dumps([{"path": "a", "score": 0.5, name: value}]))
    with pytest.raises(ValueError, match=f" {name}"):
        read_rows(tmp_path / "rows.json")


@pytest.mark.parametrize("path", ["a\0b.png", "\ud800.png", "a/" * 1_000_000])
def test_paths_that_are_none_make_a_page_of_usual_size(tmp_path, path):
    (tmp_path / "rows.json").write_text(json.dumps([{"path": path, "score": 0.5}]))
    text = render_page(ReportPage(read_rows(tmp_path / "rows.json"), "t", "m", made=MADE))
    assert len(text.encode()) < 100_000


def test_a_missing_file_of_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="gone.json"):
        read_rows(tmp_path / "gone.json")


def told(rows, **more):
    return " ".join(" ".join(Reader(render_page(ReportPage(rows, "t", "m", made=MADE, **more))).texts).split())


def test_paths_start_in_the_folder_that_all_files_are_in(tmp_path):
    disk = tmp_path / "home" / "somebody"
    rows = [row(disk / "holiday" / "a.png"), row(disk / "holiday" / "day 2" / "b.png"), row("https://x.example/c.png")]
    rows.append({"path": str(disk / "holiday" / "d.png"), "error": f"{disk}/holiday/d.png: it is damaged"})
    text = render_page(ReportPage(rows, "holiday", str(disk / "my model"), made=MADE, notes=[f"{disk}/holiday/e: no"]))
    assert "somebody" not in text
    texts = Reader(text).texts
    for said in ("a.png", "day 2/b.png", "https://x.example/c.png", "d.png", "d.png: it is damaged", "e: no"):
        assert said in texts
    assert "Model my model" in " ".join(" ".join(texts).split())


def test_names_link_to_files_in_or_below_the_folder_of_the_page(tmp_path):
    inside, evil = tmp_path / "my holiday" / "a b.png", tmp_path / "javascript:alert(1).png"
    rows = [row(inside), row(evil), row(tmp_path.parent / "outside.png"), row("https://x.example/c.png")]
    page = ReportPage(rows, "t", "m", made=MADE, folder=tmp_path)
    links = {attrs["href"] for tag, attrs in Reader(render_page(page)).tags if tag == "a"}
    assert links == {"./my%20holiday/a%20b.png", "./javascript%3Aalert%281%29.png"}


SCORES = [0.2, 0.3, 0.5, 0.55, 0.6, 0.65, 0.7, 0.7, 0.7, 0.7, 0.75, 0.8]


@pytest.mark.parametrize(
    "scores, worst, best",
    [
        (SCORES, [0.2, 0.3, 0.5], [0.8, 0.75, 0.7]),  # a quarter each
        ([0.5 + i / 1000 for i in range(15)], [], []),  # all alike
        ([0.7, 0.75] + [0.85] * 13, [], [0.85] * 3),  # the lowest are good
        ([0.1, 0.5, 0.9], [], []),  # too few for either
        ([0.5] * 3 + [0.7] * 9, [0.5] * 3, [0.7] * 3),
    ],
)
def test_worst_and_best_are_named_only_where_they_stand_out(scores, worst, best):
    page = ReportPage([row(f"{i}.png", score) for i, score in enumerate(scores)], "t", "m", made=MADE)
    assert [each["score"] for each in page.worst_rows()] == worst
    assert [each["score"] for each in page.best_rows()] == best
    text = render_page(page)
    assert ('id="head-Worst"' in text, 'id="head-Best"' in text) == (bool(worst), bool(best))


def test_guesses_look_like_guesses():
    rows = [row(f"{i}.png", score, tag="none" if score > 0.5 else "severe noise") for i, score in enumerate(SCORES)]
    assert "the model's guess: severe noise?" in told(rows)
    text = render_page(ReportPage(rows, "t", "m", made=MADE))
    assert '<td class="guess">severe noise?</td>' in text and '<td class="guess"></td>' in text


def test_a_clip_that_is_even_is_said_to_be_in_words():
    points = tuple(CurvePoint(i / 2, i / 2 + 1, 0.6 + 0.02 * (i % 2), 0.6, 0.6) for i in range(6))
    dip = (*points[:3], CurvePoint(1.5, 2.5, 0.1, 0.1, 0.1), *points[3:])
    rows = [row(name, modality="video") for name in ("even.mp4", "dip.mp4")]
    curves = {"even.mp4": QualityCurve(points, 25.0, 75, 40, 0.6), "dip.mp4": QualityCurve(dip, 25.0, 75, 40, 0.6)}
    text = render_page(ReportPage(rows, "t", "m", made=MADE, curves=curves))
    assert "Even throughout: every second between 0.60 and 0.62." in text
    assert text.count('<article class="clip"') == 2 and text.count("Quality of") == 1


def test_range_and_maps_are_shown_where_they_are_known():
    rows = [row(f"{i}.png", score) for i, score in enumerate(SCORES)]
    said = told(rows, score_range=(0.1, 0.9), maps={"0.png": "data:image/webp;base64,AAAA"})
    assert "Scores lie between 0.1 and 0.9" in said and said.count("Where it is bad") == 1
