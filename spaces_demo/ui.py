"""The page: one upload for all tabs, which score, compare, go through many files and ask other models.

What visitors see is made by private events, which put a refusal in the place of the result. Programs have an endpoint
for each thing that the page can do. All that reads a file or asks a model waits in one line.

What a generator has yielded of a component (`gr.Image(...)`, `gr.Button(...)`) it yields to the end: Gradio sends the
differences between yields, and the page takes away in place what the next one lacks, drawn or not.
What a choice of another file or model leaves without meaning is blanked twice: at once, and in line, after the work
on the old choice that was under way.
"""

import atexit
import html
import inspect
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import wraps
from importlib import metadata
from pathlib import Path
from typing import Any

import gradio as gr
import inference
import markup
import samples
from PIL import Image


CSS = """
html { overflow-anchor: none; }
#shown-here { scroll-margin-top: .5rem; }
#told { scroll-margin-top: 4.5rem; }
/* Gradio's label on work that Stop cut off at an unlucky moment; errors of ours are sentences or messages above. */
#told span.error, #result span.error { display: none; }
.headline { display: flex; flex-wrap: wrap; align-items: baseline; gap: .2rem 1rem; }
.headline .value { font-size: 3.5rem; font-weight: 700; line-height: 1; font-variant-numeric: tabular-nums; }
.headline .word { font-size: 1.4rem; font-weight: 600; }
.headline .note { width: 100%; opacity: .8; }
.headline .warning, .refused { width: 100%; border-left: 4px solid #9a3412; padding: .3rem .8rem; }
.strip { flex-wrap: nowrap !important; overflow-x: auto; gap: .5rem !important; padding-bottom: .3rem; }
.strip button { flex: 0 0 8.5rem !important; min-width: 8.5rem !important; flex-direction: column; gap: .35rem;
  padding: .3rem !important; font-size: .8rem; line-height: 1.15; white-space: normal; justify-content: flex-start; }
.strip button img { width: 100%; height: auto; aspect-ratio: 3 / 2; margin: 0; border-radius: 4px; }
svg.levels { max-width: 480px; border-radius: 6px; }
table.results { width: 100%; border-collapse: collapse; font-size: .95rem; }
table.results th, table.results td { text-align: left; padding: .3rem .4rem; overflow-wrap: anywhere;
  border-bottom: 1px solid var(--border-color-primary); }
table.results caption { text-align: left; opacity: .85; padding: .3rem .4rem; }
table.results .number { font-variant-numeric: tabular-nums; overflow-wrap: normal; }
button.primary { background: #9a3412; color: #fff; }
.or, .gradio-container footer button, .gradio-container footer a { color: var(--body-text-color); }
#upload .icon-button:has(button) { display: none; }
[role=tab].selected { color: #9a3412; }
.dark [role=tab].selected { color: #fdba74; }
@media (max-width: 767px) {
  h1 { font-size: 1.4rem; }
  .strip button { flex-basis: 6.5rem !important; min-width: 6.5rem !important; }
  .tab-container button { padding-left: .4rem; padding-right: .4rem; }
  #shown img, #played video { max-height: 30vh; }
}
"""
"""Within `@media` Gradio puts classes of its own before each selector: one that begins with `.gradio-container` would
find nothing. Elsewhere that is for the footer alone. What adds further files is hidden: a button without a name
within a button."""
THEME = gr.themes.Default(
    font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"], font_mono=["ui-monospace", "monospace"]
)
"""Fonts of the visitor's system: of those that gradio ships, some have not all letters in all weights."""

_KINDS = ["image", "video", ".heic", ".heif", ".avif"]  # what browsers do not all know to be pictures
_PLAYED = (".mp4", ".webm", ".mov", ".m4v", ".ogv")
_MOVING_PICTURES = (".gif", ".webp", ".apng", ".avif")
_TO_RESULT = "() => { if (innerWidth < 768) document.querySelector('#shown-here').scrollIntoView(); }"
_TO_PROGRESS = "() => { document.querySelector('#told').scrollIntoView(); }"
_NAME_PICTURES = """() => document.addEventListener('load', event => {
  const picture = event.target, block = picture.closest?.('.image-frame') && picture.closest('.block');
  if (block && !picture.alt) picture.alt = block.querySelector('label')?.innerText.trim() || 'Picture';
}, true)"""
"""What is in a button of Gradio's has no name otherwise."""
_IN_LINE = {"concurrency_id": "models", "concurrency_limit": 1}  # of all together; gradio's limit is a function's
_PRIVATE = {"api_visibility": "private"}


def build(assessor: inference.Assessor) -> gr.Blocks:
    """Builds the page.

    Args:
        assessor (`inference.Assessor`): with the models there are to choose from.

    Returns:
        `gr.Blocks`: ready for `queue` and `launch`.
    """
    folder = Path(tempfile.mkdtemp(prefix="vital-examples-"))
    atexit.register(shutil.rmtree, folder, True)
    several = len(assessor.names) > 1
    with gr.Blocks(title="VITAL: visual quality", analytics_enabled=False) as page:
        values = assessor.level_values(assessor.names[0])
        gr.Markdown(
            "# VITAL: how good does it look?\n"
            f"A picture or clip gets a score from {min(values):.1f} (low quality) to {max(values):.1f} (high), "
            "and how unsure the model is. Choose one, or add your own."
        )
        thumbnails = _strip(folder)
        with gr.Row():
            with gr.Column(scale=2, elem_id="shown-here"):
                shown = gr.Image(
                    label="Picture", interactive=False, height=260, visible=False, buttons=[], elem_id="shown"
                )
                played = gr.Video(
                    label="Clip", interactive=False, height=260, visible=False, buttons=[], elem_id="played"
                )
                files = gr.File(
                    label="Pictures or clips", file_count="multiple", file_types=_KINDS, height=110, elem_id="upload"
                )
                chosen = gr.Dropdown([], label="Shown and scored", visible=False, elem_id="chosen")
                file = gr.File(label="file", visible="hidden")  # the one of them that the tabs are about
                model = gr.Dropdown(assessor.names, value=assessor.names[0], label="Model", visible=several)
            with gr.Column(scale=3), gr.Tabs():
                with gr.Tab("Score", id="score"):
                    _score_tab(assessor, file, model, shown, played)
                with gr.Tab("Compare", id="compare"):
                    _compare_tab(assessor, files, file, model, folder)
                with gr.Tab("Many files", id="batch"):
                    _batch_tab(assessor, files, model)
                with gr.Tab("Models", id="zoo", visible=several):
                    _zoo_tab(assessor, file)
        for button, path in thumbnails.items():
            button.click(lambda path=path: [str(path)], None, files, queue=False, **_PRIVATE)
        files.change(_first, files, [file, chosen], queue=False, **_PRIVATE)
        chosen.input(lambda index, paths: paths[index], [chosen, files], file, queue=False, **_PRIVATE)
        _use_it_yourself(assessor, model)
        page.load(None, None, None, js=_NAME_PICTURES, **_PRIVATE)
    return page


def _first(paths: list[str] | None) -> tuple[str | None, gr.Dropdown]:
    """The first of the files, and a choice among them where there are several."""
    names = [(Path(path).name, index) for index, path in enumerate(paths or [])]
    return (paths or [None])[0], gr.Dropdown(names, value=0 if names else None, visible=len(names) > 1)


def kept_files(page: gr.Blocks) -> set[str]:
    """Paths of files that the page itself needs, such as the examples."""
    blocks = page.blocks.values()
    icons = {block.icon["path"] for block in blocks if isinstance(getattr(block, "icon", None), dict)}
    return icons | {path for block in blocks for path in getattr(block, "keep_in_cache", ())}


def _strip(folder: Path) -> dict[gr.Button, Path]:
    """The examples as buttons with thumbnails, and what each stands for."""
    buttons = {}
    with gr.Row(elem_classes="strip"):
        for name, path in samples.examples().items():
            icon = samples.write_thumbnail(inference.preview(str(path)), folder / f"{path.stem}.jpg")
            buttons[gr.Button(name, icon=icon, variant="secondary")] = path
    return buttons


# ------------------------------------------------------------------------------------------------------------ score
def _score_tab(
    assessor: inference.Assessor, file: gr.File, model: gr.Dropdown, shown: gr.Image, played: gr.Video
) -> None:
    result = gr.HTML(_HINT, min_height=110, elem_id="result")
    words = gr.Markdown(elem_id="words")
    levels = gr.HTML()
    with gr.Row():
        where_button = gr.Button("Where is it bad?", interactive=False, min_width=120)
        stop = gr.Button("Stop", min_width=80)
    told = gr.HTML(min_height=90, elem_id="told")
    picture = gr.Image(
        label="Map, or worst frame", interactive=False, visible=False, format="png", buttons=["download"]
    )
    talk, ask = _talk(assessor, file, model)
    with gr.Accordion("As JSON", open=False):
        record = gr.JSON(label="Record")
    blanks = {result: "", words: "", levels: "", told: "", record: None, talk: []}
    blank = [*blanks, picture, where_button]

    def clear() -> list[Any]:
        return [*blanks.values(), gr.Image(None, visible=False), gr.Button(interactive=False)]

    def show(path: str | None) -> list[Any]:
        try:
            return [*clear(), *_shown(path)]
        except inference.Refused:  # told in the place of the score
            return [*clear(), *_shown(None)]

    @inference.on_gpu
    def assess(path: str | None, name: str) -> Iterator[dict[Any, Any]]:
        if path is None:
            yield {result: _HINT}
            return
        try:
            found = assessor.score(path, name)
            has_words = assessor.describes(name)
            scored = {
                result: markup.score(found),
                levels: markup.level_bars(found, assessor.level_values(name)),
                record: found,
                where_button: gr.Button(interactive=has_words),
            }
            yield scored
            for text in assessor.describe(path, "", name) if has_words else ():
                yield scored | {words: f"**The model's guess:** {_plain_text(text)}"}
        except inference.Refused as error:
            yield {result: markup.refusal(str(error))}

    @inference.on_gpu
    def show_where(path: str | None, name: str, progress=gr.Progress()) -> Iterator[dict[Any, Any]]:  # noqa: B008
        try:
            for share, found in assessor.where(path, name):
                if found is None:
                    progress(share, desc="Looking at each part")
                    yield {told: gr.skip()}
                    continue
                where_record, drawn, plot = found
                label = "Quality map" if where_record["modality"] == "image" else "Worst frame"
                yield {
                    told: markup.where(where_record) + plot,
                    picture: gr.Image(drawn, label=label, visible=True),
                }
        except inference.Refused as error:
            yield {told: markup.refusal(str(error), "No map")}

    cleared = gr.on([file.change, model.change], clear, None, blank, queue=False, **_PRIVATE)
    file.change(None, None, None, js=_TO_RESULT, **_PRIVATE)
    to_the_last = {"show_progress_on": result, "trigger_mode": "always_last", **_IN_LINE, **_PRIVATE}
    seen = cleared.then(show, file, [*blank, shown, played], **to_the_last)
    assessed = seen.success(assess, [file, model], [result, words, levels, record, where_button], **to_the_last)
    where_button.click(None, None, None, js=_TO_PROGRESS, **_PRIVATE)
    searched = where_button.click(
        show_where, [file, model], [told, picture], show_progress_on=told, **_IN_LINE, **_PRIVATE
    )
    stop.click(lambda: "Stopped.", None, told, cancels=[seen, assessed, searched, ask], queue=False, **_PRIVATE)

    def where_for_programs(file: str, model: str) -> Iterator[tuple[Any, Any, str]]:
        for _, found in assessor.where(file, model):
            if found is not None:
                where_record, drawn, plot = found
                yield where_record, drawn, markup.where(where_record) + plot

    _endpoint(
        "score",
        assessor.score,
        [file, model],
        gr.JSON,
        "Quality of a picture or clip: score, higher is better, "
        "from the value of the lowest level (.1) to that of the highest (.9); std, level, level_probs.",
    )
    _endpoint(
        "where",
        where_for_programs,
        [file, model],
        (gr.JSON, gr.Image, gr.HTML),
        "Where in a picture, or when in "
        "a clip, quality is worst: a record (tile scores, or points in time), the map or the worst frame, and the "
        "same in words, with a plot for a clip.",
    )


_HINT = '<p class="hint">The result will be here.</p>'


def _shown(path: str | None) -> tuple[gr.Image, gr.Video]:
    """The file as a visitor sees it: clips play, where browsers can. Neither is visible without a file."""
    first = inference.preview(path)  # refuses what cannot be read
    suffix = Path(path or "").suffix.lower()
    if suffix in _PLAYED:
        return gr.Image(None, visible=False), gr.Video(path, visible=True)
    picture = path if suffix in _MOVING_PICTURES else first
    return gr.Image(picture, visible=picture is not None), gr.Video(None, visible=False)


def _plain_text(text: str) -> str:
    """Escapes what a model wrote, so that Markdown and HTML take it for nothing more than text."""
    return "".join(f"&#{ord(char)};" if char in "\\`*_{}[]()#+!|<>&~$" else char for char in text)


def _talk(assessor: inference.Assessor, file: gr.File, model: gr.Dropdown) -> tuple[gr.Chatbot, Any]:
    """Questions about the item, for models that converse."""
    with gr.Accordion("Ask about it", open=False, visible=assessor.converses(assessor.names[0])) as part:
        talk = gr.Chatbot(label="Conversation", height=320, buttons=["copy"], feedback_options=None)
        question = gr.Textbox(
            "", label="Question about it", placeholder="How is the focus?", max_length=inference.MAX_QUESTION_CHARS
        )

    @inference.on_gpu
    def show_answer(path: str, text: str, history: list[dict[str, Any]], name: str) -> Iterator[list[dict[str, str]]]:
        try:
            yield from assessor.chat(path, text, history, name)
        except inference.Refused as error:
            yield [*(history or []), {"role": "assistant", "content": str(error)}]

    inputs = [file, question, talk, model]
    asked = question.submit(show_answer, inputs, talk, **_IN_LINE, **_PRIVATE)
    asked.then(lambda: "", None, question, queue=False, **_PRIVATE)
    model.change(lambda name: gr.Accordion(visible=assessor.converses(name)), model, part, queue=False, **_PRIVATE)
    _endpoint(
        "describe",
        assessor.describe,
        [file, question, model],
        gr.Textbox,
        "The quality of a picture or clip in words, or the answer to a question about it.",
    )
    _endpoint(
        "chat",
        assessor.chat,
        inputs,
        gr.Chatbot,
        "Continues a conversation about a picture or clip; gives back the whole of it.",
    )
    return talk, asked


# ---------------------------------------------------------------------------------------------------------- compare
def _compare_tab(assessor: inference.Assessor, files: gr.File, a: gr.File, model: gr.Dropdown, folder: Path) -> None:
    gr.Markdown("The picture or clip that is shown is A. Choose a version of an example, or add B.")
    damaged = samples.write_damaged(folder)
    with gr.Row(elem_classes="strip"):
        buttons = {}
        for word, path in damaged.items():
            with Image.open(path) as picture:
                icon = samples.write_thumbnail(picture, folder / f"{word}.jpg")
            buttons[gr.Button(f"original and {word}", icon=icon, variant="secondary")] = path
    b = gr.File(label="B", file_types=_KINDS, height=110)
    result = gr.HTML(min_height=90, elem_id="compared")
    stop = gr.Button("Stop")
    slider = gr.ImageSlider(label="A left, B right", interactive=False, visible=False, buttons=[], max_height=360)

    @inference.on_gpu
    def show_comparison(first: str | None, second: str | None, name: str) -> Iterator[tuple[str, gr.ImageSlider]]:
        if first is None or second is None:
            yield "", gr.ImageSlider(None, visible=False)
            return
        try:
            pictures = gr.ImageSlider(inference.side_by_side(first, second), visible=True)
            yield "", pictures
            yield markup.comparison(assessor.compare(first, second, name)), pictures
        except inference.Refused as error:
            yield markup.refusal(str(error), "These cannot be compared"), gr.ImageSlider(None, visible=False)

    original = str(samples.EXAMPLES / samples.COMPARED)
    for button, path in buttons.items():
        button.click(lambda path=path: ([original], str(path)), None, [files, b], queue=False, **_PRIVATE)
    cleared = gr.on(
        [a.change, b.change, model.change],
        lambda: ("", gr.ImageSlider(None, visible=False)),
        None,
        [result, slider],
        queue=False,
        **_PRIVATE,
    )
    compared = cleared.then(
        show_comparison,
        [a, b, model],
        [result, slider],
        show_progress_on=result,
        trigger_mode="always_last",
        **_IN_LINE,
        **_PRIVATE,
    )
    stop.click(lambda: "Stopped.", None, result, cancels=[compared], queue=False, **_PRIVATE)

    _endpoint(
        "compare",
        assessor.compare,
        [a, b, model],
        gr.JSON,
        "Which of two is better: winner, probability that A is better, both scores.",
    )


# ----------------------------------------------------------------------------------------------- many files, models
def _batch_tab(assessor: inference.Assessor, files: gr.File, model: gr.Dropdown) -> None:
    gr.Markdown(f"Add up to {inference.MAX_BATCH} files at once: all are scored, the worst first.")
    with gr.Row():
        button = gr.Button("Score all", variant="primary", min_width=120)
        stop = gr.Button("Stop", min_width=80)
    table = gr.HTML(min_height=90, elem_id="batch")
    download = gr.DownloadButton("Download CSV", interactive=False)

    def clear() -> tuple[str, gr.DownloadButton]:
        return "", gr.DownloadButton(value=None, interactive=False)

    @inference.on_gpu
    def show_batch(paths: list[str], name: str, progress=gr.Progress()) -> Iterator[tuple[str, gr.DownloadButton]]:  # noqa: B008
        try:
            records: list[dict[str, Any]] = []
            progress(0, desc="Scoring")
            for records in assessor.batch(paths, name):
                progress((len(records), len(paths)), desc="Scoring", unit="files")
                yield markup.batch(records), gr.skip()
            Path(download.GRADIO_CACHE).mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=download.GRADIO_CACHE))  # where old files are deleted
            csv = inference.write_csv(records, folder)
            yield markup.batch(records), gr.DownloadButton(value=csv, interactive=True)
        except inference.Refused as error:
            yield markup.refusal(str(error)), gr.skip()

    done = button.click(show_batch, [files, model], [table, download], show_progress_on=table, **_IN_LINE, **_PRIVATE)
    cleared = gr.on([files.change, model.change], clear, None, [table, download], queue=False, **_PRIVATE)
    cleared.then(clear, None, [table, download], trigger_mode="always_last", **_IN_LINE, **_PRIVATE)
    stop.click(None, None, None, cancels=[done], **_PRIVATE)
    _endpoint(
        "batch",
        assessor.batch,
        [files, model],
        gr.JSON,
        "Several files: a record each, with `error` where a file cannot be scored.",
    )


def _zoo_tab(assessor: inference.Assessor, file: gr.File) -> None:
    with gr.Row():
        button = gr.Button("Ask every model", variant="primary", min_width=120)
        stop = gr.Button("Stop", min_width=80)
    entries = assessor.members()
    table = gr.HTML(markup.members(entries), min_height=90, elem_id="zoo")

    @inference.on_gpu
    def ask(path: str | None) -> str:
        try:
            return markup.members(entries, assessor.zoo(path, assessor.names))
        except inference.Refused as error:
            return markup.refusal(str(error)) + markup.members(entries)

    asked = button.click(ask, file, table, **_IN_LINE, **_PRIVATE)
    cleared = file.change(lambda: markup.members(entries), None, table, queue=False, **_PRIVATE)
    cleared.then(lambda: markup.members(entries), None, table, trigger_mode="always_last", **_IN_LINE, **_PRIVATE)
    stop.click(None, None, None, cancels=[asked], **_PRIVATE)
    models = gr.CheckboxGroup(assessor.names, value=assessor.names, label="Models", visible=False)
    _endpoint("zoo", assessor.zoo, [file, models], gr.JSON, "The same item through several models.")


def _use_it_yourself(assessor: inference.Assessor, model: gr.Dropdown) -> None:
    def lines(name: str) -> tuple[str, str, str]:
        python = markup.python_lines if assessor.describes(name) else markup.probe_lines
        return python(name), markup.shell_lines(name), markup.hub_lines(name)

    first = lines(assessor.names[0])
    with gr.Accordion("Use it in Python, on the command line, on the Hub", open=False):
        codes = [
            gr.Code(first[0], language="python", label="Python", interactive=False),
            gr.Code(first[1], language="shell", label="Command line", interactive=False),
            gr.Code(first[2], language="python", label="On the Hub, without the package", interactive=False),
        ]
    model.change(lines, model, codes, queue=False, **_PRIVATE)
    with gr.Accordion("Limits, method, and whose examples these are", open=False):
        gr.Markdown(
            f"Files up to {inference.MAX_FILE_MB} MB, clips up to {inference.MAX_CLIP_S} s; they are deleted within "
            "two hours. `vital-tiny` ranks versions of the same content well, different contents less reliably. "
            "[The method](https://arxiv.org/abs/2511.17962).\n\n"
            + (samples.EXAMPLES / "ATTRIBUTION.md").read_text(encoding="utf-8").replace("# ", "#### ")
        )
    gr.Markdown(markup.links(_project_urls()), elem_id="links")


def _project_urls() -> dict[str, str]:
    """Addresses that the installed package names, by label: none in a checkout that is not installed."""
    try:
        urls = metadata.metadata("modeling-vital").get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        return {}
    return dict(url.split(", ", 1) for url in urls)


# ----------------------------------------------------------------------------------------------------- for programs
def _endpoint(name: str, function: Callable, inputs: list[Any], outputs: Any, description: str) -> None:
    """A named endpoint. A refusal is an error with its message; anything else stays an error of ours, without details.

    Args:
        name (`str`): of the endpoint.
        function (`Callable`): of the inputs; where it yields, the last value counts.
        inputs (`list`): components of the page.
        outputs: a component class, or a tuple of them.
        description (`str`): for the page of the API.
    """
    outputs = [kind(visible=False, label=name) for kind in (outputs if isinstance(outputs, tuple) else (outputs,))]
    wrapped = inference.on_gpu(_refusing(function))
    gr.Button(name, visible=False).click(
        wrapped, inputs, outputs, api_name=name, api_description=description, **_IN_LINE
    )


def _refusing(function: Callable) -> Callable:
    def error(refused: inference.Refused) -> gr.Error:
        return gr.Error(html.escape(str(refused), quote=False), title="Refused", print_exception=False)

    @wraps(function)
    def answer(*args: Any) -> Any:
        try:
            return function(*args)
        except inference.Refused as refused:
            raise error(refused) from refused

    @wraps(function)
    def answer_bit_by_bit(*args: Any) -> Iterator[Any]:
        try:
            yield from function(*args)
        except inference.Refused as refused:
            raise error(refused) from refused

    return answer_bit_by_bit if inspect.isgeneratorfunction(function) else answer
