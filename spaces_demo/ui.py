"""The page: five tabs over one [`inference.Assessor`]. Every button is also a named endpoint of the API."""

import html
import tempfile
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr
import inference
import pandas as pd
from PIL import Image


EXAMPLES = Path(__file__).with_name("examples")
LEVEL_COLORS = ("#15803d", "#65a30d", "#ca8a04", "#ea580c", "#b91c1c")  # best first
CSS = """
.headline { display: flex; flex-wrap: wrap; align-items: baseline; gap: .2rem 1rem; padding: .5rem 0; }
.headline .value { font-size: 3.5rem; font-weight: 700; line-height: 1; font-variant-numeric: tabular-nums; }
.headline .word { font-size: 1.5rem; font-weight: 600; }
.headline .note { width: 100%; opacity: .8; }
.gradio-container button.primary { background: #9a3412; color: #fff; }
.gradio-container .or, .gradio-container footer button, .gradio-container footer a { color: var(--body-text-color); }
.gradio-container [role=tab].selected { color: #9a3412; }
.dark .gradio-container [role=tab].selected { color: #fdba74; }
"""
_ONE_AT_A_TIME = {"concurrency_id": "models", "concurrency_limit": 1}  # of all together; gradio's limit is a button's
_BATCH = {"file": "str", "score": "number", "std": "number", "level": "str", "modality": "str", "error": "str"}
_ZOO = {"model": "str", "score": "number", "std": "number", "level": "str", "seconds": "number"}


def build(assessor: inference.Assessor) -> gr.Blocks:
    """Builds the page.

    Args:
        assessor (`inference.Assessor`): with the models there are to choose from.

    Returns:
        `gr.Blocks`: ready for `queue` and `launch`.
    """
    with gr.Blocks(title="VITAL: visual quality", analytics_enabled=False) as page:
        gr.Markdown(
            "# VITAL: how good does it look?\n"
            "Scores pictures and clips in [0, 1], higher is better, with how unsure it is. "
            "[The method](https://arxiv.org/abs/2511.17962). "
            "`vital-tiny` is small: it ranks versions of the same content well, unlike pictures hardly."
        )
        model = gr.Dropdown(assessor.names, value=assessor.names[0], label="Model", interactive=True)
        with gr.Tabs():
            with gr.Tab("Score", id="score"):
                _score_tab(assessor, model)
            with gr.Tab("Describe", id="describe"):
                _describe_tab(assessor, model)
            with gr.Tab("Compare", id="compare"):
                _compare_tab(assessor, model)
            with gr.Tab("Zoo", id="zoo"):
                _zoo_tab(assessor)
            with gr.Tab("Batch", id="batch"):
                _batch_tab(assessor, model)
        gr.Markdown(
            f"Files up to {inference.MAX_FILE_MB} MB, clips up to {inference.MAX_CLIP_S} s; they are deleted within "
            "two hours. Examples: see `examples/ATTRIBUTION.md`."
        )
    return page


def kept_files(page: gr.Blocks) -> set[str]:
    """Paths of files that the page itself needs, such as the examples."""
    return {path for block in page.blocks.values() for path in getattr(block, "keep_in_cache", ())}


def _score_tab(assessor: inference.Assessor, model: gr.Dropdown) -> None:
    with gr.Row():
        with gr.Column():
            file = _file("Image or clip")
            button = gr.Button("Score", variant="primary")
        with gr.Column():
            headline = gr.HTML(label="Result", min_height=90)
            levels = gr.BarPlot(
                x="level",
                y="probability",
                y_lim=[0, 1],
                color="level",
                colors_in_legend=[],
                height=240,
                label="Probability of each level",
            )
            with gr.Accordion("As JSON", open=False):
                record = gr.JSON(label="Record")
            where_button = gr.Button("Where is it bad?")
            _where(assessor, file, model, where_button)
    _examples([file])

    @_answering
    @inference.on_gpu
    def score(file: str, model: str) -> dict[str, Any]:
        return assessor.score(file, model)

    button.click(
        score,
        [file, model],
        record,
        **_ONE_AT_A_TIME,
        api_name="score",
        api_description="Quality of a picture or clip: score in [0, 1], higher is better, std, level, level_probs.",
    ).success(_show_score, record, [headline, levels], api_visibility="private")


def _show_score(record: dict[str, Any]) -> tuple[str, gr.BarPlot]:
    words = list(record["level_probs"])
    table = pd.DataFrame({"level": words, "probability": list(record["level_probs"].values())})
    note = f"{record['modality']}, {record['model']}, {record['seconds']:.2f} s"
    plot = gr.BarPlot(table, sort=words, color_map=dict(zip(words, LEVEL_COLORS, strict=True)))
    return _headline(f"{record['score']:.2f}", f"± {record['std']:.2f} · {record['level']}", note), plot


def _where(assessor: inference.Assessor, file: gr.File, model: gr.Dropdown, button: gr.Button) -> None:
    """The quality map of a picture, or the curve and worst frame of a clip: on demand, as it takes longer."""
    told = gr.HTML(label="Where", visible=False)
    picture = gr.Image(
        label="Map, or worst frame", interactive=False, visible=False, format="png", buttons=["download"]
    )
    record = gr.JSON(label="Map or curve", visible=False)

    @_answering
    @inference.on_gpu
    def where(file: str, model: str) -> tuple[dict[str, Any], Image.Image, str]:
        record, drawn, plot = assessor.where(file, model)
        return record, drawn, _where_told(record) + plot

    def show(record: dict[str, Any]) -> tuple[gr.HTML, gr.Image]:
        label = "Quality map" if record["modality"] == "image" else "Worst frame"
        return gr.HTML(visible=True), gr.Image(label=label, visible=True)

    button.click(
        where,
        [file, model],
        [record, picture, told],
        **_ONE_AT_A_TIME,
        api_name="where",
        api_description="Where in a picture, or when in a clip, quality is worst: a record (tile scores, or points in "
        "time), the heat map or the worst frame, and the same in words, with a plot for a clip.",
    ).success(show, record, [told, picture], api_visibility="private")
    file.change(
        lambda: (gr.HTML(visible=False), gr.Image(visible=False)), None, [told, picture], api_visibility="private"
    )


def _where_told(record: dict[str, Any]) -> str:
    """The worst place or second in words, as HTML that is read out."""
    if record["modality"] == "image":
        text = f"Worst place: score {record['worst_score']:.2f}, framed in the map"
    else:
        worst = min(record["points"], key=lambda point: point["score"])
        text = (
            f"Worst second: {worst['start_s']:.1f} to {worst['end_s']:.1f} s, score {worst['score']:.2f}; worst frame "
            f"at {record['worst_frame'] / record['fps']:.1f} s"
        )
    note = f"{record['model']}, {record['seconds']:.2f} s"
    return f'<p role="status"><strong>{html.escape(text)}</strong> ({html.escape(note)})</p>'


def _describe_tab(assessor: inference.Assessor, model: gr.Dropdown) -> None:
    with gr.Row():
        with gr.Column():
            file = _file("Image or clip to describe")
            button = gr.Button("Describe", variant="primary")
        with gr.Column():
            note = gr.Markdown(_chat_note(assessor, assessor.names[0]))
            talk = gr.Chatbot(label="Conversation", height=320, buttons=["copy"], feedback_options=None)
            question = gr.Textbox(
                "", label="Question about it", placeholder="How is the focus?", max_length=inference.MAX_QUESTION_CHARS
            )
            with gr.Row():
                ask = gr.Button("Ask")
                clear = gr.Button("Start anew")
    _examples([file])

    @_answering_bit_by_bit
    @inference.on_gpu
    def chat(file: str, question: str, history: list[dict[str, Any]], model: str) -> Iterator[list[dict[str, str]]]:
        yield from assessor.chat(file, question, history, model)

    @_answering_bit_by_bit
    @inference.on_gpu
    def first(file: str, model: str) -> Iterator[list[dict[str, str]]]:
        yield from assessor.chat(file, "", [], model)

    @_answering_bit_by_bit
    @inference.on_gpu
    def describe(file: str, question: str, model: str) -> Iterator[str]:
        yield from assessor.describe(file, question, model)

    button.click(first, [file, model], talk, **_ONE_AT_A_TIME, api_visibility="private")
    gr.on(
        [ask.click, question.submit],
        chat,
        [file, question, talk, model],
        talk,
        **_ONE_AT_A_TIME,
        api_name="chat",
        api_description="Goes on with a conversation about a picture or clip; gives back the whole of it.",
    ).success(lambda: "", None, question, api_visibility="private")
    gr.on([clear.click, file.change], lambda: [], None, talk, api_visibility="private")
    model.change(lambda name: _chat_note(assessor, name), model, note, api_visibility="private")
    for_programs = gr.Button("Describe at once", visible=False)
    for_programs.click(
        describe,
        [file, question, model],
        gr.Textbox(label="Answer", visible=False),
        **_ONE_AT_A_TIME,
        api_name="describe",
        api_description="The quality of a picture or clip in words, or the answer to a question about it.",
    )


def _chat_note(assessor: inference.Assessor, model: str) -> str:
    if assessor.converses(model):
        return "Describe it first, or ask at once; further questions are about the same item."
    return (
        f"**`{model}` was not trained to answer questions.** It was taught to name distortions: read its description "
        "as a guess, and expect no sense in what it says to a question."
    )


def _compare_tab(assessor: inference.Assessor, model: gr.Dropdown) -> None:
    with gr.Row():
        with gr.Column():
            a = _file("A")
        with gr.Column():
            b = _file("B")
    button = gr.Button("Compare", variant="primary")
    headline = gr.HTML(label="Result", min_height=90)
    with gr.Accordion("As JSON", open=False):
        record = gr.JSON(label="Comparison")
    _examples([a, b])

    @_answering
    @inference.on_gpu
    def compare(a: str, b: str, model: str) -> dict[str, Any]:
        return assessor.compare(a, b, model)

    button.click(
        compare,
        [a, b, model],
        record,
        **_ONE_AT_A_TIME,
        api_name="compare",
        api_description="Which of two is better: winner, probability that A is better, both scores.",
    ).success(_show_comparison, record, headline, api_visibility="private")


def _show_comparison(record: dict[str, Any]) -> str:
    scores = "; ".join(f"{side.upper()}: {record[side]['score']:.2f} ± {record[side]['std']:.2f}" for side in "ab")
    if record["winner"] == "tie":
        return _headline("Tie", f"A is better with probability {record['probability']:.0%}", scores)
    sure = max(record["probability"], 1 - record["probability"])
    return _headline(f"{record['winner'].upper()} wins", f"with probability {sure:.0%}", scores)


def _zoo_tab(assessor: inference.Assessor) -> None:
    with gr.Row():
        with gr.Column():
            file = _file("Image or clip for all models")
            models = gr.CheckboxGroup(assessor.names, value=assessor.names, label="Models")
            button = gr.Button("Score with each", variant="primary")
        with gr.Column():
            table = _table("Side by side", _ZOO)
    _examples([file])
    records = gr.JSON(label="Records", visible=False)

    @_answering
    @inference.on_gpu
    def zoo(file: str, models: list[str]) -> list[dict[str, Any]]:
        return assessor.zoo(file, models)

    button.click(
        zoo,
        [file, models],
        records,
        **_ONE_AT_A_TIME,
        api_name="zoo",
        api_description="The same item through several models.",
    ).success(lambda rows: _cells(rows, _ZOO), records, table, api_visibility="private")


def _batch_tab(assessor: inference.Assessor, model: gr.Dropdown) -> None:
    files = gr.File(label="Images and clips", file_count="multiple", file_types=["image", "video"])
    button = gr.Button("Score all", variant="primary")
    table = _table("Scores (⋮ in a column's head sorts)", _BATCH)
    download = gr.DownloadButton("Download CSV", interactive=False)
    records = gr.JSON(label="Records", visible=False)

    @_answering
    @inference.on_gpu
    def batch(files: list[str], model: str, progress=gr.Progress()) -> list[dict[str, Any]]:  # noqa: B008
        return assessor.batch(files, model, lambda done: progress(done, unit="files"))

    def show(rows: list[dict[str, Any]]) -> tuple[list[list[Any]], gr.DownloadButton]:
        Path(download.GRADIO_CACHE).mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=download.GRADIO_CACHE))  # where old files are deleted
        return _cells(rows, _BATCH), gr.DownloadButton(value=inference.write_csv(rows, folder), interactive=True)

    button.click(
        batch,
        [files, model],
        records,
        **_ONE_AT_A_TIME,
        api_name="batch",
        api_description="Several files: a record each, with `error` where a file cannot be scored.",
    ).success(show, records, [table, download], api_visibility="private")


# ----------------------------------------------------------------------------------------------- shared by the tabs
def _file(label: str) -> gr.File:
    """An upload with a preview below it. Not `gr.Image`: that may encode the file anew, and so change its quality."""
    file = gr.File(label=label, file_types=["image", "video"], height=110)
    shown = gr.Image(label=f"{label}: preview", interactive=False, height=220, buttons=[], visible=False)

    def show(path: str | None) -> gr.Image:
        try:
            picture = inference.preview(path)
        except inference.Refused:  # said when it is to be scored
            picture = None
        return gr.Image(picture, visible=picture is not None)

    file.change(show, file, shown, api_visibility="private", show_progress="hidden")
    return file


def _examples(files: list[gr.File]) -> None:
    names = sorted(path for path in EXAMPLES.iterdir() if path.suffix in (".jpg", ".mp4"))
    rows = [[str(path) for path in names[i : i + len(files)]] for i in range(len(names) - len(files) + 1)]
    words = [" and ".join(Path(path).stem.replace("-", " ") for path in row) for row in rows]
    gr.Examples(rows, files, example_labels=words, api_visibility="private", examples_per_page=8)


def _answering(function: Callable) -> Callable:
    """Makes a refusal a message on the page; anything else stays an error of ours, told without details."""

    @wraps(function)
    def answer(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except inference.Refused as error:
            raise gr.Error(str(error), title="This did not work", duration=None, print_exception=False) from error

    return answer


def _answering_bit_by_bit(function: Callable) -> Callable:
    """As `_answering`, for a function that yields."""

    @wraps(function)
    def answer(*args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
            yield from function(*args, **kwargs)
        except inference.Refused as error:
            raise gr.Error(str(error), title="This did not work", duration=None, print_exception=False) from error

    return answer


def _headline(value: str, word: str, note: str) -> str:
    """Three texts as HTML, read out when they change."""
    value, word, note = map(html.escape, (value, word, note))
    return (
        f'<div class="headline" role="status"><span class="value">{value}</span>'
        f'<span class="word">{word}</span><span class="note">{note}</span></div>'
    )


def _table(label: str, columns: dict[str, str]) -> gr.Dataframe:
    return gr.Dataframe(
        headers=list(columns), datatype=list(columns.values()), label=label, interactive=False, wrap=True
    )


def _cells(records: list[dict[str, Any]], columns: dict[str, str]) -> list[list[Any]]:
    def cell(value: Any) -> Any:
        return round(value, 3) if isinstance(value, float) else value

    return [[cell(record.get(name)) for name in columns] for record in records]
