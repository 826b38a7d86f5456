"""The page without a browser: one line for all work, what records become on it, and its examples."""

import functools
import importlib
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


SPACE = Path("spaces_demo").resolve()


@pytest.fixture(scope="module")
def modules():
    """The modules of the demo, as `app.py` imports them: side by side."""
    pytest.importorskip("gradio", reason="needs the extra `demo`")
    names = ("inference", "markup", "samples", "ui")
    sys.path.insert(0, str(SPACE))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(SPACE))
        for name in names:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def markup(modules):
    return modules["markup"]


class Assessor:
    """Stands for the models, which a page needs only when it is used."""

    def __init__(self, names, converses=False):
        self.names, self._converses = names, converses

    def converses(self, name):
        return self._converses

    def describes(self, name):
        return not name.endswith("probe")

    def level_values(self, name):
        return (0.9, 0.7, 0.5, 0.3, 0.1)

    def members(self):
        return [{"name": n, "parameters": 7_400_000, "memory_bytes": 2**24, "made": "drawn"} for n in self.names]

    def __getattr__(self, name):
        return lambda *args: None


@pytest.fixture(scope="module")
def page_of(modules):
    """Gives the page for models of some names, which takes a second to build, to all tests that look at it."""
    return functools.cache(lambda *names, **kinds: modules["ui"].build(Assessor(list(names), **kinds)))


def test_all_work_waits_in_one_line(page_of):
    page = page_of("a", "b-probe")
    work = [each for each in page.fns.values() if each.fn is not None and each.queue]
    assert len(work) >= 12 and {each.concurrency_id for each in work} == {"models"}
    assert {each.concurrency_limit for each in work} == {1}
    for each in page.fns.values():  # work whose progress would show on nothing that can be seen
        if each.fn is not None and each.queue and each.api_visibility == "private":
            shown = each.show_progress_on or each.outputs
            assert any(block.visible for block in shown), each


class Scoring(Assessor):
    """Answers as the models do, without them."""

    def score(self, file, name):
        probs = dict(zip(("high", "good", "fair", "poor", "low"), (0.2, 0.6, 0.2, 0.0, 0.0), strict=True))
        record = {"file": Path(file).name, "modality": "image", "score": 0.7, "std": 0.1, "level": "good"}
        return {**record, "level_probs": probs, "model": name, "seconds": 0.1}

    def describe(self, file, question, name):
        yield from ("Sharp", "Sharp.")

    def compare(self, first, second, name):
        side = {"score": 0.7, "std": 0.1, "level": "good"}
        return {"winner": "tie", "probability": 0.5, "a": side, "b": side, "model": name}

    def batch(self, files, name):
        yield from ([self.score(file, name) | {"error": None}] for file in files)


@pytest.fixture(scope="module")
def photo(modules):
    return str(next(iter(modules["samples"].examples().values())))


@pytest.fixture(scope="module")
def scoring_page(modules, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield modules["ui"].build(Scoring(["a"]))


@pytest.mark.parametrize("name", ["assess", "show_comparison", "show_batch"])
def test_no_yield_takes_back_what_one_before_it_said_of_a_component(scoring_page, photo, name):
    """The page may draw both at once, and then never says the first: a button stayed disabled, a picture unseen."""
    event = next(each for each in scoring_page.fns.values() if each.name == name)
    given = {"assess": (photo, "a"), "show_comparison": (photo, photo, "a"), "show_batch": ([photo, photo], "a")}[name]

    def said(value):
        """What is said of a component, by output; nothing of one whose value is given whole."""
        values = [value.get(each) for each in event.outputs] if isinstance(value, dict) else value
        return [set(getattr(each, "constructor_args", {})) for each in values]

    steps = [said(value) for value in event.fn(*given)]
    assert len(steps) > 1 and any(steps[0] + steps[-1])
    for before, after in zip(steps, steps[1:], strict=False):
        assert all(earlier <= later for earlier, later in zip(before, after, strict=True)), (before, after)


def test_a_new_choice_is_never_skipped_and_blanks_again_after_the_work_on_the_one_before(page_of):
    """`once`, Gradio's default, would skip a file that is chosen while another one is at work."""
    page = page_of("a", "b")
    after = [fn for fn in page.fns.values() if fn.trigger_after is not None and fn.queue]
    assert {fn.trigger_mode for fn in after} == {"always_last"}
    in_line = {block._id for fn in after for block in fn.outputs}
    for fn in page.fns.values():
        if fn.name in ("show_where", "show_answer", "show_comparison", "show_batch", "ask", "assess"):
            assert in_line.issuperset(block._id for block in fn.outputs), fn.name


def test_programs_have_an_endpoint_for_each_thing_and_no_other(page_of):
    page = page_of("a")
    names = [each.api_name for each in page.fns.values() if each.api_visibility == "public"]
    assert sorted(names) == ["batch", "chat", "compare", "describe", "score", "where", "zoo"]


def test_thumbnails_are_kept_when_old_files_are_swept(modules, page_of):
    page = page_of("a")
    icons = [Path(b.icon["path"]) for b in page.blocks.values() if isinstance(getattr(b, "icon", None), dict)]
    assert len(icons) == 11 and all(icon.is_file() for icon in icons)
    assert {str(icon) for icon in icons} <= modules["ui"].kept_files(page)


@pytest.mark.parametrize("names,several", [(["a"], False), (["a", "b"], True)])
def test_models_are_shown_where_there_are_several(page_of, names, several):
    blocks = page_of(*names).blocks.values()
    assert next(
        b for b in blocks if getattr(b, "label", "") == "Models" and b.get_block_name() == "tabitem"
    ).visible == (several)
    assert next(b for b in blocks if getattr(b, "label", "") == "Model").visible == several


@pytest.mark.parametrize("converses", [False, True])
def test_there_is_a_talk_with_models_that_converse_only(page_of, converses):
    page = page_of("a", converses=True) if converses else page_of("a")
    (part,) = [b for b in page.blocks.values() if getattr(b, "label", "") == "Ask about it"]
    assert part.visible == converses


def record(**probs):
    words = {"high": 0.9, "good": 0.7, "fair": 0.5, "poor": 0.3, "low": 0.1}
    probs = {word: probs.get(word, 0.0) for word in words}
    score = sum(words[word] * share for word, share in probs.items())
    level = min(words, key=lambda word: abs(words[word] - score))
    return {
        "score": score,
        "std": 0.2,
        "level": level,
        "level_probs": probs,
        "modality": "image",
        "model": "m<b>",
        "seconds": 0.25,
    }


def test_a_level_that_is_not_the_likeliest_is_not_alone(markup):
    split = record(high=0.3, good=0.1, fair=0.1, poor=0.4, low=0.1)  # mean .52: fair; most likely: poor
    assert split["level"] == "fair" and "fair on average, most likely poor" in markup.score(split)
    assert "· high<" in markup.score(record(high=0.9, good=0.1))
    assert "m&lt;b&gt;" in markup.score(split) and "<b>" not in markup.score(split)


def test_the_score_is_marked_on_the_bars(markup):
    svg = ElementTree.fromstring(markup.level_bars(record(high=0.5, low=0.5), (0.9, 0.7, 0.5, 0.3, 0.1)))
    (mean,) = [e for e in svg.iter() if e.get("class") == "mean"]
    bars = [e for e in svg.iter() if e.tag.endswith("rect")][1:]
    assert float(mean.get("d").split()[0][1:]) == pytest.approx(240)  # .5 is the middle of .1 to .9
    assert float(bars[0].get("x")) > float(bars[4].get("x"))  # low left, high right
    assert float(bars[0].get("height")) == float(bars[4].get("height")) > 0 == float(bars[2].get("height"))
    texts = [e.text for e in svg.iter() if e.tag.endswith("text")]
    assert "score 0.50" in texts and "level (its value); height: probability" in texts
    assert len({bar.get("fill") for bar in bars}) == 5


def test_bars_have_the_colours_of_maps(markup):
    from modeling_vital.local_quality import scale_colors

    svg = markup.level_bars(record(high=1.0), (0.9, 0.7, 0.5, 0.3, 0.1))
    for value in (0.1, 0.5, 0.9):
        assert f"#{scale_colors(np.array(value)).tobytes().hex()}" in svg


def test_a_map_that_disagrees_with_the_score_says_why(markup):
    told = {
        "modality": "image",
        "scores": [[0.4, 0.5]],
        "worst_score": 0.4,
        "stands_out": False,
        "model": "m",
        "seconds": 1.0,
    }
    assert "The whole scores 0.82, its parts 0.45 on average" in markup.where({**told, "whole_score": 0.82})
    assert "on average" not in markup.where({**told, "whole_score": 0.5})
    assert "Nothing stands out: all places score 0.40 to 0.50" in markup.where({**told, "whole_score": 0.5})
    points = [{"start_s": 0.0, "end_s": 1.0, "score": 0.4}, {"start_s": 0.5, "end_s": 1.5, "score": 0.1}]
    clip = {"modality": "video", "points": points, "worst_frame": 20, "fps": 20.0, "model": "m", "seconds": 1.0}
    said = markup.where({**clip, "stands_out": True, "whole_score": 0.85})
    assert "Worst second: 0.5 to 1.5 s, score 0.10; frame shown: 1.0 s" in said and "sees few frames" in said


def test_tables_escape_what_files_say_and_put_the_worst_first(markup):
    rows = [{"file": f"{s}.jpg", "score": s, "std": 0.1, "level": "x", "error": None} for s in (0.8, 0.2)]
    html = markup.batch([*rows, {"file": "<img src=x>.png", "error": "is <b>broken"}])
    assert html.index("0.2.jpg") < html.index("0.8.jpg") < html.index("&lt;img src=x&gt;") and "<img" not in html
    assert "is &lt;b&gt;broken" in html and "1 could not be scored" in html


def test_what_a_model_wrote_stays_text(modules):
    plain = modules["ui"]._plain_text("a <script>x</script> [b](c) *d*")
    assert not re.search(r"[<>\[\]()*]", plain) and plain.startswith("a ")


def test_lines_of_code_are_for_the_model(markup):
    assert "from_pretrained('my model')" in markup.python_lines("my model")
    assert "--model 'my model'" in markup.shell_lines("my model")
    for lines in (markup.python_lines("a"), markup.probe_lines("a"), markup.hub_lines("a")):
        compile(lines, "lines", "exec")


def test_links_are_those_of_the_package_or_its_folders(modules, monkeypatch):
    names = {"Project-URL": ["Documentation, https://docs.example", "Source, https://source.example/a,b"]}
    monkeypatch.setattr(modules["ui"].metadata, "metadata", lambda name: type("M", (), {"get_all": names.get}))
    urls = modules["ui"]._project_urls()
    assert modules["markup"].links(urls) == (
        "[Documentation](https://docs.example) · [Source](https://source.example/a,b)"
    )
    names.clear()
    for folder in ("docs/", "modeling_vital/", "docs/models.md"):
        assert f"`{folder}`" in modules["markup"].links(modules["ui"]._project_urls()) and Path(folder).exists()


def test_the_lines_of_code_run(markup, tmp_path, monkeypatch, capsys):
    Image.radial_gradient("L").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(markup.python_lines("vital-tiny"), {})
    score, words = capsys.readouterr().out.strip().split("\n")
    assert re.fullmatch(r"0\.\d+ \w+", score) and words


def test_damaged_examples_are_the_same_content(modules, tmp_path):
    samples = modules["samples"]
    paths = samples.write_damaged(tmp_path)
    assert set(paths) == {"blurred", "compressed", "noisy"}
    with Image.open(samples.EXAMPLES / samples.COMPARED) as picture:
        original = np.asarray(picture.convert("RGB")).astype(float)
    for path in paths.values():
        with Image.open(path) as picture:
            difference = np.abs(np.asarray(picture) - original).mean()
        assert 1 < difference < 30
