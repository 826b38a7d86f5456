"""README and docs/: every block of code runs, or says why not; what the pages name is there; the site builds."""

import ast
import importlib.util
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from transformers import AutoModel, AutoModelForCausalLM

from modeling_vital import __version__
from modeling_vital.cli.main import COMMANDS
from tests.fixtures import doc_blocks
from tests.fixtures.doc_blocks import PAGES, ROOT, RUN_LANGUAGES, blocks, check_command, run_page
from tests.fixtures.doc_blocks import workplace as make_workplace
from tests.fixtures.tiny_models import text_config, tiny_model


BLOCKS = [block for page in PAGES for block in blocks(page)]
TOP_FOLDERS = "modeling_vital|dataset_scripts|training|spaces_demo|model_cards|tests"


@pytest.fixture
def workplace(tmp_path):
    make_workplace(tmp_path)
    return tmp_path


# ------------------------------------------------------------------------------------------------- what is marked how
def test_there_is_something_to_run():
    assert sum(not block.elsewhere for block in BLOCKS) > 40
    assert len([page for page in PAGES if any(not block.elsewhere for block in blocks(page))]) > 10


@pytest.mark.parametrize("page", PAGES)
def test_a_block_is_run_or_says_why_not(page):
    for block in blocks(page):
        if block.language in RUN_LANGUAGES:
            marked = re.fullmatch(r"|slow|not run: .{10,}|run by (tests/[\w/]+\.py): (\w+)", block.mark)
            assert marked, f"{block.place}: {block.mark}"
            gone = re.search(r"\borg/|--device cuda\b", block.code)
            assert block.elsewhere or not gone, f"{block.place}: {gone[0]} is not here when the block is run"
            if runner := marked[1]:
                assert f'named_block("{page}", "{marked[2]}"' in (ROOT / runner).read_text(), block.place
        else:
            assert block.language in ("text", "json", "csv"), f"{block.place}: say what language this is"
            assert block.mark in ("", "output"), block.place
        if block.language == "json":
            json.loads(block.code)
        if block.language == "python":
            compile(block.code, block.place, "exec")


@pytest.mark.parametrize("page", PAGES)
def test_a_command_is_one_its_program_takes(page):
    for block in (block for block in blocks(page) if block.language == "bash"):
        for words in block.commands():
            assert check_command(words) or block.elsewhere, f"{block.place}: nothing is known of {words[0]}"


# ------------------------------------------------------------------------------------------------------- running them
def prepare_loading(folder: Path) -> None:
    pytest.importorskip("accelerate")
    pytest.importorskip("bitsandbytes")
    model = tiny_model()
    model.save_pretrained(folder / "my-vital")
    tokenizer = model.processor.tokenizer
    AutoModelForCausalLM.from_config(text_config("llama", len(tokenizer))).save_pretrained(folder / "my-decoder")
    tokenizer.save_pretrained(folder / "my-decoder")


def check_loading(run) -> None:
    names = run.names
    assert [s.modality for s in names["scores"]] == ["image", "video"]
    assert [r["modality"] for r in names["records"]] == ["image", "video"]
    assert names["comparison"].winner in ("a", "b", "tie")
    assert len(names["texts"]) == 2 and set(names["answer"].choice_probs) == {"yes", "no"}
    assert names["pictures"].grad.abs().sum() > 0
    assert (run.folder / "my-zero" / "config.json").is_file()
    assert names["config"].text_config.hidden_size == 3584


def check_fine_tuning(run) -> None:
    first, again = (said for code, (said,) in run.said.items() if code.endswith("--output_dir runs/mine\n"))
    assert "Resuming from" not in first and "Resuming from" in again
    for name in ("mine", "probe", "zero", "warm", "two"):
        AutoModel.from_pretrained(run.folder / "runs" / name, trust_remote_code=True)
    assert json.loads((run.folder / "runs" / "zero" / "results.json").read_text())["rows"] >= 1


PREPARE = {"docs/loading.md": prepare_loading}
CHECK = {"docs/loading.md": check_loading}
CHECK_SLOW = {**CHECK, "docs/fine-tuning.md": check_fine_tuning}
FAST_PAGES = ("README.md", "docs/loading.md")
"""Pages whose fast blocks run in `make test`; `make slow` runs all blocks of all pages."""

HAVE_ANY = [page for page in PAGES if any(not block.elsewhere for block in blocks(page))]


@pytest.mark.parametrize("page", FAST_PAGES)
def test_the_fast_blocks_run_in_order(page, workplace):
    PREPARE.get(page, lambda folder: None)(workplace)
    CHECK.get(page, lambda run: None)(run_page(page, workplace, slow=False))


@pytest.mark.slow
@pytest.mark.parametrize("page", HAVE_ANY)
def test_all_blocks_run_in_order(page, workplace):
    PREPARE.get(page, lambda folder: None)(workplace)
    CHECK_SLOW.get(page, lambda run: None)(run_page(page, workplace, slow=True))


def test_outputs_are_written_anew_where_they_are_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(doc_blocks, "ROOT", tmp_path)
    page = "".join(
        f"```python\nprint({said!r})\n```\n\n<!-- output -->\n```text\n{shown}```\n\n"
        for said, shown in (("a 0.50", "a 0.51\n"), ("b", ""), ("c 0.9", "c 0.5\n"))
    )
    (tmp_path / "page.md").write_text(page)
    assert doc_blocks.write_outputs("page.md", tmp_path)
    outputs = [block.code for block in doc_blocks.blocks("page.md") if block.mark == "output"]
    assert outputs == ["a 0.51\n", "b\n", "c 0.9\n"]  # a number that is near stays
    assert not doc_blocks.write_outputs("page.md", tmp_path)


# ----------------------------------------------------------------------------------------------- what the pages name
@pytest.mark.parametrize("page", PAGES)
def test_files_and_names_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for path in re.findall(rf"(?<![\w/])((?:{TOP_FOLDERS})/[\w./-]*\.(?:py|yaml|md|json|csv))\b", text):
        assert (ROOT / path).is_file(), path
    for path, name in re.findall(r"`([\w/]+\.py):([\w.]+)`", text):
        assert defined(ast.parse((ROOT / path).read_text(encoding="utf-8")).body, name.split(".")), f"{path}:{name}"
    assert set(re.findall(r"`vital ([a-z]\w*)", text)) <= set(COMMANDS)


def defined(body: list[ast.stmt], names: list[str]) -> bool:
    """Whether a module or class has a class, function or variable of this name, and that the next one, and so on."""
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
        if names[0] in {getattr(target, "id", getattr(target, "name", None)) for target in targets}:
            return len(names) == 1 or defined(node.body, names[1:])
    return False


def test_the_map_of_the_paper_names_enough():
    text = (ROOT / "docs/paper-map.md").read_text(encoding="utf-8")
    assert len(re.findall(r"`[\w/]+\.py:[\w.]+`", text)) > 50


def test_the_training_page_names_settings_that_are_there():
    from training.recipe import Recipe

    settings = Recipe.parse("pretrain", ["--config", "training/recipes/smoke.yaml"])
    known = {*vars(settings.run), *vars(settings.data), *vars(settings.loss), *vars(settings.training)}
    text = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)(?:: [a-z]+)?`", text)) - {"eval_srcc", "eval_plcc"}
    assert len(named) > 6
    assert named <= known


def test_the_readme_does_not_say_what_a_page_says():
    """Sentences of README stand on no page."""
    readme = sentences("README.md")
    assert len(readme) > 20
    for page in PAGES[1:]:
        assert not readme & sentences(page), page


def sentences(page: str) -> set[str]:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    return {s.strip() for s in re.split(r"[.:;|]\s", " ".join(text.split())) if len(s.split()) > 7}


# ------------------------------------------------------------------------------------------------------------ the site
class _Resources(HTMLParser):
    """What a page makes a browser fetch."""

    def __init__(self):
        super().__init__()
        self.urls: set[str] = set()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        fetches = tag != "link" or attrs.get("rel") in ("stylesheet", "icon", "preload", "preconnect", "modulepreload")
        self.urls |= {attrs[name] for name in ("src", "href") if fetches and tag != "a" and attrs.get(name)}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built: strict, so that a warning is an error."""
    pytest.importorskip("mkdocs")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    return folder


@pytest.mark.slow  # `make docs` builds it for every change
def test_the_site_builds_without_warnings_and_fetches_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert {f"{Path(page).relative_to('docs').with_suffix('.html')}" for page in PAGES[1:]} <= {
        page.relative_to(site).as_posix() for page in pages
    }
    for page in pages:
        resources = _Resources()
        resources.feed(page.read_text(encoding="utf-8"))
        assert resources.urls
        assert not [url for url in resources.urls if urlsplit(url).netloc], page
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style
    assert not list(site.rglob("*.py"))
    index = (site / "index.html").read_text(encoding="utf-8")
    assert f"modeling-vital {__version__}" in index
    reference = (site / "api/models.html").read_text(encoding="utf-8")
    for name in ("score", "compare", "describe", "answer"):
        assert f'id="modeling_vital.VitalForConditionalGeneration.{name}"' in reference, name


@pytest.mark.slow
def test_the_search_finds_what_people_look_for(site):
    index = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))
    for term in ("HEIC", "GPU", "threshold", "batch", "blurry", "licence"):
        assert [doc for doc in index["docs"] if term.lower() in f"{doc['title']} {doc['text']}".lower()], term
    titles = " ".join(doc["title"] for doc in index["docs"]).lower()
    for term in ("heic", "gpu", "threshold", "batch"):
        assert term in titles, term


@pytest.mark.parametrize(
    "remote, address",
    [
        ("https://example.org/someone/vital.git", "https://example.org/someone/vital"),
        ("git@example.org:someone/vital.git", "https://example.org/someone/vital"),
        ("ssh://git@example.org/someone/vital", "https://example.org/someone/vital"),
        ("https://name:password@example.org/someone/vital", None),
        ("/srv/git/vital.git", None),
        ("", None),
    ],
)
def test_the_source_link_is_the_web_address_of_the_origin(remote, address):
    pytest.importorskip("griffe")
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    assert hooks.web_address(remote) == address


def test_the_drawing_has_a_title_and_no_word_outside():
    drawing = (ROOT / "docs/images/architecture.svg").read_text(encoding="utf-8")
    assert 'role="img"' in drawing and "<title " in drawing and "<desc " in drawing
    assert "prefers-color-scheme: dark" in drawing
