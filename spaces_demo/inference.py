"""Computation of the demo, without a word of user interface: files in, plain records out."""

import os
import queue
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


try:  # the hosts that lend GPUs by the call have this package; it must come before torch
    import spaces

    on_gpu = spaces.GPU(duration=60)
except ImportError:

    def on_gpu(function: Callable) -> Callable:
        """Nothing to ask for: the models are where they are."""
        return function


import torch
from PIL import Image
from transformers import PreTrainedConfig, TextStreamer

from modeling_vital import VitalForConditionalGeneration, VitalForQualityProbe, VitalProbeConfig, zoo
from modeling_vital.local_quality import curve_svg, draw_map, quality_curve, quality_map
from modeling_vital.media_vital import MediaError, load_media
from modeling_vital.packing import pack_linears
from modeling_vital.spreadsheet import CsvWriter


MODELS_VARIABLE = "VITAL_MODELS"
MAX_FILE_MB = 100
MAX_CLIP_S = 120
MAX_BATCH = 20
MAX_PIXELS = 50_000_000
MAX_TEXT_S = 60
MAX_TURNS = 8
MAX_QUESTION_CHARS = 500
MAX_ANSWER_CHARS = 2000
CONVERSING_PARAMETERS = 100_000_000
DESCRIBE = "Describe the quality."
SILENT = "(the model says nothing)"
PREVIEW_PX = 1024


class Refused(ValueError):
    """Something the visitor gave cannot be used. The message is for the visitor."""


class Assessor:
    """The models of the demo, loaded once.

    Args:
        names (`list[str]`): what `vital score --model` takes; the first is the default.

    Attributes:
        names (`list[str]`): the models, as the visitor sees them: a folder by its name alone, or by its whole path
            where another model has that name.
    """

    def __init__(self, names: list[str]) -> None:
        self._models = {name: _loaded(source) for name, source in _sources(names).items()}
        self.names = list(self._models)

    @classmethod
    def from_environment(cls) -> "Assessor":
        """Those that the variable `VITAL_MODELS` lists, with commas between them; by default those of the package."""
        listed = [name.strip() for name in os.environ.get(MODELS_VARIABLE, "").split(",")]
        return cls([name for name in listed if name] or list(zoo.EMBEDDED))

    def score(self, file: str | None, model: str) -> dict[str, Any]:
        """Scores a picture or a clip.

        Args:
            file (`str`, *optional*): its path.
            model (`str`): one of `names`.

        Returns:
            `dict`: `file`, `modality`, `score`, `std`, `level`, `level_probs`, `model`, `seconds`; `warning` where the
            file breaks off.

        Raises:
            Refused: for a file that cannot be used.
        """
        media, started = _read(file), time.perf_counter()
        with _plain_words(file):
            result = self._model(model).score(media)
        seconds = round(time.perf_counter() - started, 3)
        warning = getattr(media, "warning", None)
        warned = {} if warning is None else {"warning": _without_place(warning, file)}
        return {"file": Path(file).name, **result.to_dict(), "model": model, "seconds": seconds, **warned}

    def where(
        self, file: str | None, model: str
    ) -> Iterator[tuple[float, tuple[dict[str, Any], Image.Image, str] | None]]:
        """Says where in a picture, or when in a clip, quality is worst.

        Args:
            file (`str`, *optional*): its path.
            model (`str`): one of `names`.

        Yields:
            `tuple`: how much is done, in [0, 1], and `None`; at the end 1 and the result: the record
            (`QualityMap.to_dict` or `QualityCurve.to_dict`, and `file`, `modality`, `model`, `seconds`), a picture
            (the map, or the worst frame), and for a clip the curve as SVG, else nothing.

        Raises:
            Refused: for a file that cannot be used, or a model without a decoder.
        """
        media, chosen, started = _read(file), self._model(model), time.perf_counter()
        if not self.describes(model):
            raise Refused(f"{model} only scores: it cannot say where. Choose another model.")

        def work(tell: Callable[[float], None]) -> tuple[Any, Image.Image, str]:
            def progress(done: int, total: int) -> None:
                tell(done / total)

            if isinstance(media, Image.Image):
                result = quality_map(chosen, media, progress=progress)
                return result, draw_map(media, result), ""
            result = quality_curve(chosen, media, progress=progress)
            frame = Image.fromarray(media.get_frames([result.worst_frame])[0])
            return result, frame, curve_svg(result, f"Quality of {Path(file).name} over time")

        with _plain_words(file):
            for done, value in _in_steps(work):
                if not done:
                    yield value, None
        result, picture, plot = value
        modality = "image" if isinstance(media, Image.Image) else "video"
        seconds = round(time.perf_counter() - started, 3)
        told = {"file": Path(file).name, "modality": modality, "model": model, "seconds": seconds}
        yield 1.0, ({**told, **result.to_dict()}, picture, plot)

    def describes(self, model: str) -> bool:
        """Returns `True` if a model has a decoder: without one it only scores."""
        return hasattr(self._model(model), "encode_media")

    def level_values(self, model: str) -> tuple[float, ...]:
        """The values of a model's levels, best first."""
        return tuple(self._model(model).config.level_values)

    def members(self) -> list[dict[str, Any]]:
        """Describes the models: `name`, `parameters`, `memory_bytes` in bfloat16, and how they were `made`."""
        from modeling_vital.zoo import presets

        entries = []
        for name, model in self._models.items():
            made = presets.entry(name).weights if name in zoo.NAMES else "not of the zoo: a folder or Hub id"
            count = model.num_parameters()
            entries.append({"name": name, "parameters": count, "memory_bytes": 2 * count, "made": made})
        return entries

    def converses(self, model: str) -> bool:
        """Returns `True` if a model can answer questions: none as small as `vital-tiny` was taught to."""
        return self.describes(model) and self._model(model).num_parameters() >= CONVERSING_PARAMETERS

    def describe(self, file: str | None, question: str, model: str) -> Iterator[str]:
        """Describes a picture or a clip, or answers a question about it, as the text comes.

        Args:
            file (`str`, *optional*): its path.
            question (`str`): empty for a description.
            model (`str`): one of `names`.

        Yields:
            `str`: the text so far; the last one is whole.

        Raises:
            Refused: for a file that cannot be used, or a question that is too long.
        """
        question = _question(question)
        media, chosen = _read(file), self._model(model)
        if not self.describes(model):
            raise Refused(f"{model} only scores: it has no words. Choose another model.")
        if question:
            yield from _streamed(file, chosen, lambda options: chosen.answer(media, question, **options).text)
        else:
            yield from _streamed(file, chosen, lambda options: chosen.describe(media, **options))

    def chat(
        self, file: str | None, question: str, history: list[dict[str, Any]], model: str
    ) -> Iterator[list[dict[str, str]]]:
        """Continues a conversation about one picture or clip.

        Args:
            file (`str`, *optional*): its path.
            question (`str`): what to ask; empty at the beginning for a description.
            history (`list[dict]`): what was said before, `role` (`"user"` or `"assistant"`) and `content` each.
            model (`str`): one of `names`.

        Yields:
            `list[dict]`: the conversation so far, as the answer comes.

        Raises:
            Refused: for a file that cannot be used, no question, more than `MAX_TURNS` of them, or texts that are too
                long or not a conversation.
        """
        question, said = _question(question), _conversation(history)
        if said and not question:
            raise Refused("Write a question first.")
        media, chosen = _read(file), self._model(model)
        said.append({"role": "user", "content": question or DESCRIBE})
        if len(said) == 1:
            pieces = self.describe(file, question, model)
        else:
            pieces = _streamed(file, chosen, lambda options: _answer(chosen, media, said, options))
        for text in pieces:
            yield [*said, {"role": "assistant", "content": text}]

    def compare(self, a: str | None, b: str | None, model: str) -> dict[str, Any]:
        """Says which of two is better, and how surely.

        Returns:
            `dict`: `winner` (`"a"`, `"b"` or `"tie"`), `probability` that A is better, the scores `a` and `b`.

        Raises:
            Refused: for a file that cannot be used.
        """
        first, second = _read(a, "A: "), _read(b, "B: ")
        with _plain_words(a, b):
            return {**self._model(model).compare(first, second).to_dict(), "model": model}

    def zoo(self, file: str | None, models: list[str]) -> list[dict[str, Any]]:
        """Scores one item with several models: a record each, as `score` gives."""
        if not models:
            raise Refused("Choose at least one model.")
        if len(models) > len(set(models)):
            raise Refused("Choose each model once.")
        return [self.score(file, model) for model in models]

    def batch(self, files: list[str] | None, model: str) -> Iterator[list[dict[str, Any]]]:
        """Scores several files.

        Yields:
            `list[dict]`: after each file, a record each so far, in order, as `score` gives, with `error`: why a file
            has no score, or `None`.

        Raises:
            Refused: for no file, or more than `MAX_BATCH`.
        """
        if not files:
            raise Refused("Add at least one file first.")
        if len(files) > MAX_BATCH:
            raise Refused(f"That is {len(files)} files; this demo takes {MAX_BATCH} at a time.")
        records: list[dict[str, Any]] = []
        for file in files:
            try:
                records.append({**self.score(file, model), "error": None})
            except Refused as error:
                records.append({"file": Path(file).name, "model": model, "error": str(error)})
            yield list(records)

    def _model(self, name: str) -> VitalForConditionalGeneration:
        if not isinstance(name, str) or name not in self._models:
            raise Refused(f"There is no model {str(name)[:60]!r} here; choose one of {', '.join(self.names)}.")
        return self._models[name]


def _sources(given: list[str]) -> dict[str, str]:
    """Returns what to load by the name that visitors see: each model once, none in the place of another."""
    resolved = {name: zoo.resolve(name) for name in given}
    names = {
        str(Path(source).resolve()) if Path(source).is_dir() else source: name for name, source in resolved.items()
    }
    short = {name: Path(name).name if Path(name).is_dir() else name for name in names.values()}
    taken = Counter(short.values())
    return {short[name] if taken[short[name]] == 1 else name: resolved[name] for name in names.values()}


def _loaded(source: str) -> VitalForConditionalGeneration | VitalForQualityProbe:
    """A model or a linear probe, by what its configuration says, ready to score."""
    is_probe = PreTrainedConfig.get_config_dict(source)[0].get("model_type") == VitalProbeConfig.model_type
    model = (VitalForQualityProbe if is_probe else VitalForConditionalGeneration).from_pretrained(source)
    return pack_linears(model.to("cuda" if torch.cuda.is_available() else "cpu").eval())


def preview(file: str | None) -> Image.Image | None:
    """A small picture of the file: the picture itself, or the first frame of a clip.

    Raises:
        Refused: for a file that cannot be used.
    """
    if file is None:
        return None
    media = _read(file)
    with _plain_words(file):
        picture = media if isinstance(media, Image.Image) else Image.fromarray(media.get_frames([0])[0])
    picture = picture.copy()
    picture.thumbnail((PREVIEW_PX, PREVIEW_PX))
    return picture


def side_by_side(a: str, b: str) -> tuple[Image.Image, Image.Image]:
    """Previews of two files for a slider: the second fitted into the size of the first, on grey.

    Raises:
        Refused: for a file that cannot be used.
    """
    first, second = preview(a), preview(b)
    if second.size != first.size:
        scale = min(first.width / second.width, first.height / second.height)
        second = second.resize((max(1, round(second.width * scale)), max(1, round(second.height * scale))))
        page = Image.new("RGB", first.size, "gray")
        page.paste(second, ((first.width - second.width) // 2, (first.height - second.height) // 2))
        second = page
    return first, second


def write_csv(records: list[dict[str, Any]], folder: Path) -> str:
    """Writes records of a batch to a file in a folder, and returns its path."""
    columns = ("file", "modality", "score", "std", "level", "model", "error")
    path = folder / "vital-scores.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = CsvWriter(file)
        writer.writerow(columns)
        for record in records:
            writer.writerow(record.get(name) for name in columns)
    return str(path)


# ------------------------------------------------------------------------------------------------- what is refused
def _read(file: str | None, where: str = "") -> Any:
    if file is None:
        raise Refused(f"{where}Add a picture or a clip first.")
    try:
        size = Path(file).stat().st_size / 2**20
    except FileNotFoundError as error:  # swept, while the page stayed open
        raise Refused(
            f"{where}{Path(file).name} is no longer here: it is kept for about an hour. Add it again."
        ) from error
    if size > MAX_FILE_MB:
        raise Refused(f"{where}{Path(file).name} has {size:.0f} MB; this demo takes {MAX_FILE_MB} MB.")
    with _plain_words(file):
        media = load_media(file, max_pixels=MAX_PIXELS)
    seconds = 0 if isinstance(media, Image.Image) else media.num_frames / media.fps
    if seconds > MAX_CLIP_S:
        raise Refused(f"{where}{Path(file).name} is {seconds:.0f} s long; this demo takes {MAX_CLIP_S} s. Cut it.")
    return media


class _Stopped(BaseException):
    """Raised in the work whose result nobody waits for any more; not an error, so nothing on the way catches it."""


def _in_steps(work: Callable[[Callable[[Any], None]], Any]) -> Iterator[tuple[bool, Any]]:
    """Runs work in another thread and yields what it tells on the way; closing the iterator stops it at its next word.

    Args:
        work (`Callable`): gets a function to tell something with.

    Yields:
        `tuple[bool, Any]`: `False` and what was told; at the end `True` and what the work returned.
    """
    said: queue.SimpleQueue = queue.SimpleQueue()
    stopped = threading.Event()

    def tell(value: Any) -> None:
        if stopped.is_set():
            raise _Stopped
        said.put((False, value))

    def run() -> None:
        try:
            said.put((True, work(tell)))
        except _Stopped:
            pass
        except Exception as error:  # raised below, in the thread that was asked
            said.put((True, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        done = False
        while not done:
            done, value = said.get()
            if done and isinstance(value, Exception):
                raise value
            yield done, value
    finally:
        stopped.set()


class _Telling(TextStreamer):
    """Tells the text so far, again and again, while a model writes it."""

    def __init__(self, tokenizer: Any, tell: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._tell, self._text = tell, ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Tells, where there is more than before."""
        self._text += text
        if text:
            self._tell(self._text.strip())


def _streamed(file: str, model: VitalForConditionalGeneration, work: Callable[[dict[str, Any]], str]) -> Iterator[str]:
    """The text so far, again and again, while `work`, given options of `generate`, writes it in another thread."""
    tokenizer = model.processor.tokenizer
    with _plain_words(file):
        for done, text in _in_steps(
            lambda tell: work({"streamer": _Telling(tokenizer, tell), "max_time": MAX_TEXT_S})
        ):
            yield (text or SILENT) if done else text  # the last with the words that the model was made to begin with


def _answer(
    model: VitalForConditionalGeneration, media: Any, said: list[dict[str, str]], options: dict[str, Any]
) -> str:
    """The next turn of a conversation whose first turn shows the item."""
    processor, prepared = model.processor, model.processor.prepare(media)
    first = said[0]["content"]
    shown = [{"type": prepared.modality}]
    if first != DESCRIBE:  # a description was asked for without words, as in training
        shown.append(_text_part(first))
    turns = [{"role": turn["role"], "content": [_text_part(turn["content"])]} for turn in said[1:]]
    prompt = processor.apply_chat_template([{"role": "user", "content": shown}, *turns], add_generation_prompt=True)
    kind = "images" if prepared.modality == "image" else "videos"
    inputs = processor(text=[prompt], **{kind: [prepared]}).to(model.device)
    tokenizer = processor.tokenizer
    ids = model.generate(**inputs, max_new_tokens=64, do_sample=False, pad_token_id=tokenizer.pad_token_id, **options)
    return tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


def _text_part(content: str) -> dict[str, str]:
    """The content of a turn; as a part, because the processor takes no word of a part for a placeholder."""
    return {"type": "text", "text": "" if content == SILENT else content}


def _question(question: Any) -> str:
    """A question as it is asked: the page has the same limit, but programs do not come by the page."""
    if not isinstance(question, str | None):
        raise Refused("A question is a text.")
    if len(question or "") > MAX_QUESTION_CHARS:
        raise Refused(f"A question has up to {MAX_QUESTION_CHARS} characters here; this one has {len(question):,}.")
    return (question or "").strip()


def _conversation(history: Any) -> list[dict[str, str]]:
    """Checks the earlier turns, `role` and `content` of each: they come back from the visitor."""
    if not isinstance(history, list | None):
        raise Refused("This is no conversation; start a new one.")
    if len(history or []) >= 2 * MAX_TURNS:
        raise Refused(f"A conversation has {MAX_TURNS} questions here; start a new one.")
    said = []
    for turn, role in zip(history or [], ("user", "assistant") * MAX_TURNS, strict=False):
        if not isinstance(turn, dict) or turn.get("role") != role:
            raise Refused("This is no conversation; start a new one.")
        said.append({"role": role, "content": _plain(turn.get("content"))})
        if len(said[-1]["content"]) > (MAX_QUESTION_CHARS if role == "user" else MAX_ANSWER_CHARS):
            raise Refused("A text of this conversation is too long; start a new one.")
    if len(said) % 2:
        raise Refused("The last question of this conversation has no answer; start a new one.")
    return said


def _plain(content: Any) -> str:
    """Returns the text of a turn: a page's conversation has it in parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Refused("This is no conversation; start a new one.")
    return " ".join(str(part["text"]) if isinstance(part, dict) and "text" in part else str(part) for part in content)


class _plain_words:  # noqa: N801 -- reads as a statement: `with _plain_words(file):`
    """Makes a `MediaError` a `Refused` that names the file as the visitor knows it."""

    def __init__(self, *files: str | None) -> None:
        self._files = files

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, MediaError):
            raise Refused(_told(error, *self._files)) from error


def _told(error: MediaError, *files: str | None) -> str:
    """Explains an error about a file in a visitor's words: without what only a programmer can do or understand."""
    text = _without_place(str(error), *files)
    what, _, remedy = text.partition("; ")
    what = re.sub(r" \((?:[^()]|\([^()]*\))*\)", "", what).replace("this library knows", "this demo knows")
    if "damaged" in remedy or "decoded" in what:
        remedy = "It may be damaged or cut short: try another copy."
    elif "too large" in what:
        what = what.partition(" is too large")[0] + " is too large"
        remedy = f"This demo takes pictures up to {MAX_PIXELS / 1e6:.0f} megapixels: make it smaller."
    else:
        remedy = remedy[:1].upper() + remedy[1:]
        remedy = "" if _FOR_PROGRAMMERS.search(remedy) else remedy
    return f"{what.rstrip('.')}. {remedy}".strip()


_FOR_PROGRAMMERS = re.compile(r"`|pip |max_pixels|\w+\(\)|\w_\w|--\w")


def _without_place(text: str, *files: str | None) -> str:
    """A text about files that names them as the visitor does, not where this machine keeps them."""
    for file in files:
        text = text.replace(str(file), Path(file).name)
    return text
