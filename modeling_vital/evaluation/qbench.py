"""Multiple-choice questions about quality: Q-Bench (LLVisionQA) and Q-Bench-Video.

The options of each question are put in an order drawn from the seed and the question, for in the published files the
first one is right more often than not; what a model that always says A would score is reported beside the accuracy.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..media_vital import MediaError
from .benchmarks import Benchmark, BenchmarkError, BenchmarkItem, LoadedBenchmark
from .benchmarks.definition import readable
from .benchmarks.loading import MediaFiles, list_hash, listed
from .scorers import VitalScorer


LETTERS = "ABCDEFGH"
NO_OPTION = -1.0
"""The pick where a generated text names no option."""


@dataclass(frozen=True)
class QuestionFile:
    """A list of questions as it is distributed.

    Args:
        file (`str`): its name.
        media, options (`str`): keys of the file name and of the options.
        kinds (`tuple[str]`): keys by which accuracy is reported.
        count (`int`): published number of questions.
        title, modality (`str`): of the benchmark.
    """

    file: str
    media: str
    options: str
    kinds: tuple[str, ...]
    count: int
    title: str
    modality: str


QUESTION_FILES = {
    "qbench": QuestionFile(
        "llvisionqa_dev.json", "img_path", "candidates", ("type", "concern"), 1495, "Q-Bench (dev)", "image"
    ),
    "qbench_video": QuestionFile(
        "qbvideo_dev_single.json",
        "video",
        "answers",
        ("question_type", "quality_concern", "video_type"),
        892,
        "Q-Bench-Video (dev, single)",
        "video",
    ),
}


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        media (`str`): path of the picture or clip.
        text (`str`): the question.
        options (`tuple[str]`): at least two different answers, in the order of the file.
        kinds (`dict[str, str]`): what it is about.
    """

    media: str
    text: str
    options: tuple[str, ...]
    kinds: Mapping[str, str]


def load_questions(name: str, root: str | Path, partial_copy: bool = False) -> LoadedBenchmark:
    """Reads the questions of a benchmark from the user's copy.

    Args:
        name (`str`): a key of `QUESTION_FILES`.
        root (`str` or `Path`): the folder with the list and the media, at any depth.
        partial_copy (`bool`, *optional*, defaults to `False`): accept another count or missing files.

    Returns:
        [`LoadedBenchmark`]: items whose `mos` is the place of the right option in the file's order, whose group is the
        picture or clip, and whose `media` gives the [`Question`]. Questions with fewer than two different options, of
        which the published lists have some, cannot be asked: they are in `missing`.

    Raises:
        BenchmarkError: if the list is not there or not as it should be, or the copy is not whole.
    """
    about = QUESTION_FILES[name]
    paths = sorted(Path(root).rglob(about.file))
    if not paths:
        raise BenchmarkError(f"no {about.file} under {root}")
    with readable(paths[0]):
        entries = json.loads(paths[0].read_text(encoding="utf-8"))
    if not isinstance(entries, list):
        raise BenchmarkError(f"{paths[0]} holds no list of questions")
    items, missing, unasked, files = [], [], [], MediaFiles(Path(root))
    for number, entry in enumerate(entries):
        with readable(f"{paths[0]}: question {number}"):
            options = tuple(
                dict.fromkeys(str(option).strip() for option in entry[about.options] if str(option).strip())
            )
            right, file, text = str(entry["correct_ans"]).strip(), entry[about.media], entry["question"]
            if not isinstance(file, str) or not isinstance(text, str):
                raise TypeError(f"{about.media} and question are texts")
            kinds = {kind: str(entry.get(kind, "")) for kind in about.kinds}
        label = f"{number}:{file}"
        if right not in options:
            raise BenchmarkError(f"{paths[0]}: the answer {right!r} of question {number} is none of its options")
        path = files.find(file)
        if len(options) < 2:
            unasked.append(label)
        elif path is None:
            missing.append(label)
        else:
            ask = partial(Question, str(path), text, options, kinds)
            items.append(BenchmarkItem(label, float(options.index(right)), file, "dev", media=ask))
    complaints = []
    if len(entries) != about.count:
        complaints.append(f"{paths[0].name} has {len(entries)} questions, published are {about.count}")
    if missing:
        complaints.append(f"no file under {root} for {len(missing)} questions: {listed(missing)}")
    if complaints and not partial_copy:
        raise BenchmarkError("; ".join(complaints) + ". Complete the copy, or allow a partial one (--partial)")
    if not items:
        raise BenchmarkError(f"no question of {paths[0]} can be asked")
    note = "; ".join([*complaints, *([f"{len(unasked)} questions have one option only"] if unasked else [])])
    benchmark = Benchmark(name, about.title, about.modality, (0, len(LETTERS)), {"dev": about.count}, (), note=note)
    return LoadedBenchmark(benchmark, "dev", items, [*missing, *unasked], bool(complaints), list_hash(items))


class QuestionScorer(VitalScorer):
    """A VITAL model that is asked questions; its score is the place of the option it picks, in the file's order.

    Args:
        name, source, model, batch_size: as for `VitalScorer`.
        method (`str`): `"likelihood"`, of the letters; or `"generate"`, where the text must begin with a letter or be
            an option.
        seed (`int`): of the order of the options.
    """

    def __init__(self, name: str, source: str, model: Any, batch_size: int, method: str, seed: int) -> None:
        super().__init__(name, source, model, batch_size)
        self.method, self.seed = method, seed

    def describe(self) -> dict[str, Any]:
        """Extends the description of `VitalScorer` by how it is asked."""
        return {**super().describe(), "method": self.method, "option_seed": self.seed}

    def score(self, media: Sequence[Question]) -> list[tuple[float, float | None] | str]:
        """See `Scorer`."""
        return [self._pick(question) for question in media]

    def _pick(self, question: Question) -> tuple[float, float | None] | str:
        order = option_order(question, self.seed)
        shown = [question.options[i] for i in order]
        text = prompt(question.text, shown)
        try:
            if self.method == "likelihood":
                answer = self.model.answer(question.media, text, choices=list(LETTERS[: len(shown)])).text
            else:
                answer = self.model.answer(question.media, text, max_new_tokens=32).text
        except MediaError as error:
            return str(error)
        place = read_answer(answer, shown)
        return (NO_OPTION if place is None else float(order[place]), None)


def option_order(question: Question, seed: int) -> list[int]:
    """The order in which options are shown: of the seed and the question alone, whatever else is asked."""
    digest = hashlib.sha256(f"{seed}\n{question.media.rsplit('/', 1)[-1]}\n{question.text}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(len(question.options)).tolist()


def prompt(question: str, options: Sequence[str]) -> str:
    """The question with its options, a letter before each."""
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    return "\n".join([question, *lines, "Answer with the letter of the right option."])


def read_answer(text: str, options: Sequence[str]) -> int | None:
    """Finds the option that a text means: by the letter it begins with, alone or marked, or as the option itself.

    Returns:
        `int`: place in `options`; `None` if it names none of them.
    """
    cleaned = text.strip()
    same = [i for i, option in enumerate(options) if cleaned.rstrip(".").lower() == option.rstrip(".").lower()]
    if same:
        return same[0]
    found = re.match(r"\(?([A-H])(?:[.):,]|\s*$)", cleaned)
    place = LETTERS.index(found[1]) if found else len(options)
    return place if place < len(options) else None


def accuracy_report(loaded: LoadedBenchmark, scorer: QuestionScorer, records: Sequence[Mapping]) -> dict[str, Any]:
    """Accuracy, by kind of question, beside what always saying A gives.

    Args:
        loaded ([`LoadedBenchmark`]): of [`load_questions`].
        scorer ([`QuestionScorer`]): what answered.
        records (`Sequence[Mapping]`): as `score_benchmark` returns them.

    Returns:
        `dict`: the model's description, `n`, `accuracy` in [0, 1], `always_a_in_the_file` and `always_a_as_shown`,
        `letters` (how often each was picked, as shown), `no_option` (answers that name none, counted as wrong),
        `by` (kind -> value -> `n` and `accuracy`) and `failed`.
    """
    rows: list[tuple[BenchmarkItem, Question, Mapping]] = [
        (item, cast(Callable[[], Question], item.media)(), record)
        for item, record in zip(loaded.items, records, strict=True)
        if record["error"] is None
    ]
    right = [record["score"] == item.mos for item, _, record in rows]
    orders = [option_order(question, scorer.seed) for _, question, _ in rows]
    letters = Counter(
        LETTERS[order.index(int(record["score"]))]
        for order, (_, _, record) in zip(orders, rows, strict=True)
        if record["score"] != NO_OPTION
    )
    by: dict[str, dict[str, list[bool]]] = {}
    for (_, question, _), correct in zip(rows, right, strict=True):
        for kind, value in question.kinds.items():
            by.setdefault(kind, {}).setdefault(value, []).append(correct)
    return {
        **scorer.describe(),
        "n": len(rows),
        "accuracy": _share(right),
        "always_a_in_the_file": _share([item.mos == 0 for item, _, _ in rows]),
        "always_a_as_shown": _share([o[0] == item.mos for o, (item, _, _) in zip(orders, rows, strict=True)]),
        "letters": dict(sorted(letters.items())),
        "no_option": sum(record["score"] == NO_OPTION for _, _, record in rows),
        "by": {
            kind: {value: {"n": len(found), "accuracy": _share(found)} for value, found in sorted(values.items())}
            for kind, values in by.items()
        },
        "failed": [{"id": r["id"], "error": r["error"]} for r in records if r["error"] is not None],
    }


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None
