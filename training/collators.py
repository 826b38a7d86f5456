"""Rows of the data -> one batch of model inputs and targets.

A row is read, its media decoded and cut into tiles, and its words turned into tokens here, in the worker processes of
the data loader. Nothing is random, so a batch is the same whenever it is made. What several rows of a batch show is
prepared and encoded once.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from modeling_vital.cutting_vital import PreparedMedia
from modeling_vital.levels_vital import LEVEL_WORDS, level_token_ids
from modeling_vital.media_vital import MediaError
from modeling_vital.processing_vital import VitalProcessor


DEFAULT_QUESTIONS = {
    "score": "How would you rate the quality of this {modality}?",
    "text": "What does the quality of this {modality} suffer from?",
}
"""What a human turn without words asks when prompt decoupling is off."""

MODEL_INPUTS = (
    "input_ids",
    "attention_mask",
    "position_ids",
    "pixel_values",
    "motion_values",
    "motion_lengths",
    "tile_index",
    "frame_index",
)


class RowError(ValueError):
    """A row of the data cannot be trained on; the message names it and says why."""


@dataclass
class EncodedRow:
    """One sequence: a conversation about one picture or clip.

    Attributes:
        input_ids (`list[int]`): tokens, placeholders expanded.
        labels (`list[int]`): -100 but for the answers and the token that ends each.
        level_place (`int` or `None`): where in `input_ids` the level word is; `None` in a text.
        media (`PreparedMedia`): what the placeholders stand for.
    """

    input_ids: list[int]
    labels: list[int]
    level_place: int | None
    media: PreparedMedia


class MediaReader:
    """Prepares media, each of a batch once.

    Args:
        processor (`MediaPreparationMixin`): of the model to be trained.
    """

    def __init__(self, processor):
        self.processor = processor
        self.known: dict[Any, tuple[Any, PreparedMedia]] = {}  # pixels are kept: the id of what is gone is given anew

    def __call__(self, row: dict) -> list[PreparedMedia]:
        """The media of a row, the same objects where the same were read before.

        Args:
            row (`dict`): its pictures and clips are `{"bytes", "path"}`, or `{"pixels"}`: uint8 RGB, `[H, W, 3]` or
                `[T, H, W, 3]`.

        Raises:
            RowError: one cannot be read, or is not of the row's modality.
        """
        found = []
        for source in [*(row.get("images") or []), *(row.get("videos") or [])]:
            pixels = source.get("pixels")
            key = source["bytes"] or source["path"] if pixels is None else id(pixels)
            if key not in self.known:
                self.known[key] = (pixels, self._prepare(row, source))
            _, prepared = self.known[key]
            if prepared.modality != row["modality"]:
                kinds = f"its modality is {row['modality']!r}, but its file is of kind {prepared.modality!r}"
                raise RowError(f"row {row['id']!r}: {kinds}")
            found.append(prepared)
        return found

    def _prepare(self, row: dict, source: dict) -> PreparedMedia:
        pixels = source.get("pixels")
        item = source["bytes"] or source["path"] if pixels is None else pixels
        if isinstance(pixels, np.ndarray) and pixels.ndim == 3:
            item = Image.fromarray(pixels)
        try:
            return self.processor.prepare(item)
        except MediaError as error:
            raise RowError(f"row {row['id']!r}: {error}") from error


def row_targets(row: dict, first: int) -> dict[str, Any]:
    """Opinions and preferences of a row: of one item, a pair, or a group of any size.

    Args:
        row (`dict`): with `level_probs` and `mos`, one or a list of them, and of several `preference`: one for a pair,
            a list for all pairs of a group in the order of `itertools.combinations`.
        first (`int`): place in the batch of its first sequence.

    Returns:
        `dict`: `level_probs` and `mos` of each scored sequence, `pairs` (places of A and B) and `preference`.

    Raises:
        RowError: there are not as many preferences as pairs.
    """
    if row.get("level_probs") is None:
        return {"level_probs": [], "mos": [], "pairs": [], "preference": []}
    if row.get("preference") is None:
        return {"level_probs": [row["level_probs"]], "mos": [row["mos"]], "pairs": [], "preference": []}
    count = len(row["level_probs"])
    pairs = [[first + a, first + b] for a, b in itertools.combinations(range(count), 2)]
    preference = row["preference"] if isinstance(row["preference"], list) else [row["preference"]]
    if len(preference) != len(pairs):
        raise RowError(f"row {row['id']!r} has {len(preference)} preferences for {len(pairs)} pairs")
    return {"level_probs": row["level_probs"], "mos": row["mos"], "pairs": pairs, "preference": preference}


class VitalCollator:
    """Makes batches of rows of any configuration, mixed.

    A placeholder or special token written in a text of the data is text, see [`VitalProcessor.plain_text`].

    Args:
        processor (`VitalProcessor`): of the model to be trained.
        tables (`Mapping[str, Sequence[dict]]`): rows by name of their table, see [`training.data.load_data`].
        prompt_decoupling (`bool`, *optional*, defaults to `True`): the human turn shows the picture or clip and says
            nothing, whatever the data says there. `False`: its words are kept, and where there are none it asks one of
            `DEFAULT_QUESTIONS`.
        level_words (`Sequence[str]`, *optional*): of the model, best first.
        max_length (`int`, *optional*): a longer sequence is an error. It is never cut: that would part placeholders
            from what they stand for.
    """

    def __init__(
        self,
        processor: VitalProcessor,
        tables: Mapping[str, Sequence[dict]],
        prompt_decoupling: bool = True,
        level_words: Sequence[str] = LEVEL_WORDS,
        max_length: int | None = None,
    ):
        self.processor = processor
        self.tables = tables
        self.prompt_decoupling = prompt_decoupling
        self.level_words = tuple(level_words)
        self.level_ids = level_token_ids(processor.tokenizer, level_words)
        self.max_length = max_length

    def __call__(self, examples: list[dict]) -> dict[str, Any]:
        """
        Args:
            examples (`list[dict]`): `table` and `row` of each item.

        Returns:
            `dict`: the model's inputs, padded on the left so that answers end together, their pixels as bytes for
            `processor.normalize_inputs`; and `targets`: `labels`
            `(num_rows, L)`, `level_mask` `(num_rows, L)`, `level_probs` `(num_rows, 5)`, `item` `(num_rows,)`, `pairs`
            `(num_pairs, 2)`, `preference` `(num_pairs,)`, `mos` `(num_rows,)` (NaN for text), `is_video`
            `(num_rows,)`, `num_items`, and `answer_length`, the longest stretch at the end that has labels.

        Raises:
            RowError: for a row that cannot be read or does not hold what it should.
        """
        rows, item = [], []
        found = {"level_probs": [], "mos": [], "pairs": [], "preference": []}
        read = MediaReader(self.processor)
        for number, example in enumerate(examples):
            row = self.tables[example["table"]][int(example["row"])]
            encoded = self.encode(row, read)
            targets = row_targets(row, len(rows))
            texts = len(encoded) - len(targets["mos"])
            targets["level_probs"] = [*targets["level_probs"], *[[0.0] * len(self.level_words)] * texts]
            targets["mos"] = [*targets["mos"], *[float("nan")] * texts]
            for name, values in targets.items():
                found[name] += values
            rows += encoded
            item += [number] * len(encoded)
        batch = self._pad(rows)
        batch["targets"] |= {
            "level_probs": torch.tensor(found["level_probs"], dtype=torch.float32),
            "mos": torch.tensor(found["mos"], dtype=torch.float32),
            "is_video": torch.tensor([row.media.modality == "video" for row in rows]),
            "item": torch.tensor(item),
            "pairs": torch.tensor(found["pairs"], dtype=torch.long).reshape(-1, 2),
            "preference": torch.tensor(found["preference"], dtype=torch.float32),
            "num_items": len(examples),
        }
        return batch

    def encode(self, row: dict, read: MediaReader | None = None) -> list[EncodedRow]:
        """The sequences of one row: one an item of media, so two for a pair; and, behind those, the texts of a group.

        Args:
            row (`dict`): of any configuration, or a group.
            read (`MediaReader`, *optional*): of the batch.

        Raises:
            RowError: see `__call__`.
        """
        media = (read or MediaReader(self.processor))(row)
        scored = row.get("level_probs") is not None
        several = row.get("preference") is not None
        count = len(row["level_probs"]) if several else 1
        if len(media) != count:
            raise RowError(f"row {row['id']!r} has {len(media)} pictures or clips; it needs {count}")
        messages = row["messages"]
        turns = [messages[2 * i : 2 * i + 2] for i in range(count)] if several else [messages]
        encoded = [
            self._encode_conversation(row["id"], turn, prepared, scored)
            for turn, prepared in zip(turns, media, strict=True)
        ]
        for turn, prepared, text in zip(turns, media, row.get("texts") or [None] * len(media), strict=True):
            if text is not None:
                said = [turn[0], {"role": "assistant", "content": [{"type": "text", "text": text}]}]
                encoded.append(self._encode_conversation(row["id"], said, prepared, False))
        return encoded

    def _encode_conversation(self, name: str, messages: list[dict], media: PreparedMedia, scored: bool) -> EncodedRow:
        tokenize = self.processor.tokenizer
        input_ids, labels, level_place, done = [], [], None, ""
        shown = []
        visual = iter([self.processor.media_text(media)])
        for message in messages:
            if message["role"] != "assistant":
                shown.append(self._human_turn(message, media.modality, scored))
                continue
            if not shown:
                break  # said below
            prompt = self._render(shown, True)
            piece = prompt.removeprefix(done)
            placeholder = f"<{media.modality}>"
            if placeholder in piece and (text := next(visual, None)) is not None:
                piece = piece.replace(placeholder, text, 1)
            ids = tokenize(piece, add_special_tokens=False)["input_ids"]
            input_ids += ids
            labels += [-100] * len(ids)
            answer = self.processor.plain_text(
                "".join(part["text"] for part in message["content"] if part["type"] == "text")
            )
            shown.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
            before, done = done, self._render(shown, False)
            if not (prompt.startswith(before) and done.startswith(prompt + answer)):
                raise RowError(f"row {name!r}: the chat template does not write its turns one after the other")
            ending = done.removeprefix(prompt + answer)
            if scored:
                ids, place = self._level_answer(name, answer, media.modality)
                level_place = len(input_ids) + place
            else:
                ids = tokenize(answer, add_special_tokens=False)["input_ids"]
            ids = ids + tokenize(ending.rstrip("\n"), add_special_tokens=False)["input_ids"]
            input_ids += ids
            labels += ids
        if next(visual, None) is not None:
            raise RowError(f"row {name!r}: no human turn before an answer shows the {media.modality}")
        if not any(label != -100 for label in labels):
            raise RowError(f"row {name!r} has no answer to learn")
        if self.max_length is not None and len(input_ids) > self.max_length:
            raise RowError(
                f"row {name!r} is {len(input_ids)} tokens, more than max_length ({self.max_length}): raise that, or "
                "let the processor cut fewer tiles (`max_tiles`) or take fewer frames (`frame_sampling`)"
            )
        return EncodedRow(input_ids, labels, level_place, media)

    def _human_turn(self, message: dict, modality: str, scored: bool) -> dict:
        content = [
            {"type": p["type"], **({"text": p["text"]} if p["type"] == "text" else {})} for p in message["content"]
        ]
        if message["role"] != "user":
            return {"role": message["role"], "content": content}
        shows = [part for part in content if part["type"] != "text"]
        if self.prompt_decoupling:
            return {"role": "user", "content": shows}
        if shows and len(shows) == len(content):
            question = DEFAULT_QUESTIONS["score" if scored else "text"].format(modality=modality)
            content = [*content, {"type": "text", "text": question}]
        return {"role": "user", "content": content}

    def _render(self, messages: list[dict], prompt: bool) -> str:
        return self.processor.apply_chat_template(messages, add_generation_prompt=prompt)

    def _level_answer(self, name: str, answer: str, modality: str) -> tuple[list[int], int]:
        """Tokens of a scoring answer, in the processor's words: what is learned is what scoring asks for."""
        word = answer.split()[-1].strip(".") if answer.split() else ""
        if word not in self.level_words:
            raise RowError(f"row {name!r}: {answer!r} does not end in one of {', '.join(self.level_words)}")
        prefix = self.processor.tokenizer(self.processor.answer_prefixes[modality], add_special_tokens=False)
        return [*prefix["input_ids"], self.level_ids[self.level_words.index(word)]], len(prefix["input_ids"])

    def _pad(self, rows: list[EncodedRow]) -> dict[str, Any]:
        length = max(len(row.input_ids) for row in rows)
        shape = (len(rows), length)
        input_ids = torch.full(shape, self.processor.tokenizer.pad_token_id)
        attention_mask, labels = torch.zeros(shape, dtype=torch.long), torch.full(shape, -100)
        level_mask = torch.zeros(shape, dtype=torch.bool)
        for i, row in enumerate(rows):
            start = length - len(row.input_ids)
            input_ids[i, start:] = torch.tensor(row.input_ids)
            labels[i, start:] = torch.tensor(row.labels)
            attention_mask[i, start:] = 1
            if row.level_place is not None:
                level_mask[i, start + row.level_place] = True
        media = list({id(row.media): row.media for row in rows}.values())
        batch = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "position_ids": (attention_mask.cumsum(-1) - 1).clamp_min(0),
            **self.processor.visual_bytes(media),
        }
        if "motion_lengths" in batch:  # numbers, as `answer_length`: the host would wait for a tensor on the device
            batch["motion_lengths"] = batch["motion_lengths"].tolist()
        if len(media) < len(rows):
            batch["tile_index"] = _places(rows, media, lambda m: len(m.tiles))
            if "motion_values" in batch:
                batch["frame_index"] = _places(rows, media, lambda m: len(m.motion_frames))
        first = int((labels != -100).any(0).nonzero()[0])
        batch["targets"] = {"labels": labels, "level_mask": level_mask, "answer_length": length - first}
        return batch


def _places(
    rows: Sequence[EncodedRow], media: Sequence[PreparedMedia], length: Callable[[PreparedMedia], int]
) -> torch.Tensor:
    """Places of each row's tiles or frames among those of distinct media, rows in order."""
    lengths = [length(m) for m in media]
    starts = dict(zip(map(id, media), itertools.accumulate(lengths, initial=0), strict=False))
    return torch.cat([starts[id(row.media)] + torch.arange(length(row.media)) for row in rows])
