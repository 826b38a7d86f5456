"""Scores, comparisons, descriptions and answers about pictures and clips: the methods that people call on a model."""

import contextlib
import logging
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from .batching_vital import CPU_ITEMS, BatchLimit, exact_float32, in_parts
from .calibration_vital import Calibration, find_calibration
from .cutting_vital import PreparedMedia
from .levels_vital import expected_score, level_of, level_token_ids, preference_probability, score_std
from .media_vital import MediaError
from .outputs_vital import Answer, Comparison, QualityScore
from .pipeline_vital import CUSTOM_PIPELINES
from .preparation_vital import prepare_ahead


logger = logging.getLogger(__name__)


@dataclass
class EncodedMedia:
    """One picture or clip after the encoders and projectors: read by the decoder as often as there are prompts.

    Attributes:
        modality (`str`): `"image"` or `"video"`.
        text (`str`): what stands for it in the prompt, placeholders expanded.
        image_hidden_states (`torch.FloatTensor` of shape `(num_tiles, image_seq_length, hidden_size)`): image tokens.
        motion_hidden_states (`torch.FloatTensor` of shape `(num_frames, hidden_size)`): motion tokens, none for
            pictures.
    """

    modality: str
    text: str
    image_hidden_states: torch.Tensor
    motion_hidden_states: torch.Tensor


class VitalScoringMixin:
    """`processor`, `score` and `compare`, for any model with `level_logits`; a base before `PreTrainedModel`.

    A media item is a path, bytes, PIL image, array or tensor, list of frames: anything `media_vital.load_media` takes.
    A `list` or `tuple` is always several items, so wrap a clip given as a list of frames in a list.

    Attributes:
        _processor_class (`type`): class of its processor.
        _auto_map (`dict[str, str]`): where the code files beside a checkpoint have the classes that transformers' auto
            classes look for.
        _processor: the processor, `None` until it is known.
        _calibrations (`list[Calibration]`): the calibration beside the weights, none or one; `None` until looked for.
    """

    _processor_class: Any
    _auto_map: dict[str, str]
    _processor: Any = None
    _calibrations: list[Calibration] | None = None

    # Of the class that this one is a base of.
    config: Any
    device: torch.device
    dtype: torch.dtype
    training: bool
    level_logits: Callable[..., torch.Tensor]

    @property
    def processor(self):
        """The checkpoint's processor, loaded from beside the weights on first use; assign one to replace it.

        Raises:
            ValueError: if there is none, or it cannot be loaded.
        """
        if self._processor is None:
            source = self.config._name_or_path
            if not source:
                raise ValueError(
                    "This model was not loaded from a checkpoint: assign `model.processor` before scoring."
                )
            revision = getattr(self.config, "_commit_hash", None)
            try:
                self._processor = self._processor_class.from_pretrained(
                    source, **({"revision": revision} if revision else {})
                )
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"The checkpoint {source!r} has no processor that can be loaded, so it cannot score. One that was "
                    "converted without a tokenizer has none: convert it again with a tokenizer, or assign "
                    f"`model.processor`. ({str(error).partition(chr(10))[0]})"
                ) from error
        return self._processor

    @processor.setter
    def processor(self, processor):
        self._processor = processor

    @property
    def calibration(self) -> Calibration | None:
        """The calibration beside the checkpoint's weights, looked for on first use; assign one to replace it.

        `None` where there is none, and, with a warning, where it was fitted to other weights or scoring settings.
        """
        if self._calibrations is None:
            found = find_calibration(self.config._name_or_path, getattr(self.config, "_commit_hash", None))
            self._calibrations = [] if found is None else [found]
        for calibration in self._calibrations:
            try:
                calibration.check(self)
            except ValueError as error:
                logger.warning("Scores get no MOS. %s", error)
                return None
            return calibration
        return None

    @calibration.setter
    def calibration(self, calibration: Calibration | None):
        if calibration is not None:
            calibration.check(self)
        self._calibrations = [] if calibration is None else [calibration]

    @classmethod
    def name_code(cls, config) -> None:
        """Writes into a configuration where transformers finds the classes in the code files beside a checkpoint."""
        config.auto_map = dict(cls._auto_map)
        config.custom_pipelines = CUSTOM_PIPELINES

    def save_pretrained(self, save_directory, **kwargs):
        """Writes weights, configuration, the code files and, when it is known, the processor: a folder that scores.

        A processor that can no longer be loaded costs a warning, not the weights. See
        `PreTrainedModel.save_pretrained` for the arguments.
        """
        self.name_code(self.config)
        super().save_pretrained(save_directory, **kwargs)  # type: ignore[misc]  # of the base after this one
        if self._processor is not None or self.config._name_or_path:
            try:
                processor = self.processor
            except ValueError as error:
                logger.warning("Saved %s without a processor, so it cannot score yet. %s", save_directory, error)
            else:
                processor.save_pretrained(save_directory)

    def score(
        self,
        items,
        batch_size: int | str = "auto",
        errors: str = "raise",
        calibration: Calibration | str | os.PathLike | None = None,
    ):
        """Scores pictures and clips, mixed as they come.

        Args:
            items (a media item or `list`):
                What to score. An array or tensor of four axes is one clip, `[T, 3, H, W]`, not a batch of pictures:
                give `list(batch)` to score them one by one.
            batch_size (`int` or `str`, *optional*, defaults to `"auto"`):
                Items a forward pass. `"auto"` is 8 on a CPU, and on a CUDA device what its memory has room for. A
                batch that is too large for it is halved until it fits.
            errors (`str`, *optional*, defaults to `"raise"`):
                `"raise"` stops at the first item that cannot be read, `"return"` puts its `MediaError` in its place.
            calibration (`Calibration`, `str` or `os.PathLike`, *optional*):
                What turns scores into mean opinions on the scale of your ratings, or its file; `vital calibrate`
                makes one. By default the one beside the weights, if there is one.

        Returns:
            [`QualityScore`], or for a list of items `list[QualityScore]`, in their order (with `errors="return"`,
            `MediaError` for unreadable ones). Scores are in [0, 1], higher is better, for the default `level_values`.

        Raises:
            MediaError: for an item that cannot be read, with `errors="raise"`.
            ValueError: for a calibration that cannot be read, or was fitted to another model.
        """
        if isinstance(calibration, (str, os.PathLike)):
            calibration = Calibration.load(calibration)
        if calibration is None:
            calibration = self.calibration
        else:
            calibration.check(self)
        results = self._in_batches(_as_list(items), self._begin_scores, batch_size, errors)
        if calibration is not None:
            results = [r if isinstance(r, MediaError) else calibration.apply(r) for r in results]
        return _as_given(items, results)

    def compare(self, a, b, tie_margin: float = 0.02, batch_size: int | str = "auto", errors: str = "raise"):
        """Says which of two pictures or clips is better, and how surely: the paper's pairwise form.

        Both are scored, each by itself; a picture can be compared with a clip.

        Args:
            a, b (a media item, or `list` of the same length): what to compare; lists are compared pair by pair.
            tie_margin (`float`, *optional*, defaults to 0.02):
                A tie is a probability within this of 0.5. The default is a difference of a twentieth of the joint
                standard deviation.
            batch_size (`int` or `str`, *optional*, defaults to `"auto"`):
                Items a forward pass. `"auto"` is 8 on a CPU, and on a CUDA device what its memory has room for. A
                batch that is too large for it is halved until it fits.
            errors (`str`, *optional*, defaults to `"raise"`): as in `score`.

        Returns:
            [`Comparison`], or for lists `list[Comparison]`, in their order (with `errors="return"`, the `MediaError`
            of a pair's first unreadable item in its place).

        Raises:
            MediaError: for an item that cannot be read, with `errors="raise"`.
            ValueError: for lists of different lengths.
        """
        first, second = _as_list(a), _as_list(b)
        if len(first) != len(second):
            raise ValueError(f"`a` has {len(first)} items and `b` {len(second)}: give one of `b` for each of `a`.")
        if not 0 <= tie_margin <= 0.5:
            raise ValueError(f"`tie_margin` is in [0, 0.5], got {tie_margin}.")
        scores = self.score([*first, *second], batch_size=batch_size, errors=errors)
        pairs = zip(scores[: len(first)], scores[len(first) :], strict=True)
        results = [_compare_scores(x, y, tie_margin) for x, y in pairs]
        return results if isinstance(a, (list, tuple)) or isinstance(b, (list, tuple)) else results[0]

    def batch_limit(self, batch_size: int | str) -> BatchLimit:
        """Returns the limit of one forward pass of this model, on its device.

        Args:
            batch_size (`int` or `str`): items, or `"auto"`.

        Raises:
            ValueError: for another batch size.
        """
        return BatchLimit(batch_size, self.device, self._cost)

    def score_batches(
        self, batches: Iterable[list[PreparedMedia]], limit: BatchLimit | None = None
    ) -> Iterator[list[QualityScore | MediaError]]:
        """Scores prepared items, for a program that reads them itself: what `score` is made of.

        On a CUDA device, a batch is taken and begun while the one before is computed, so that the device never waits.
        A batch that is too large for its memory is halved until it fits.

        Args:
            batches (`Iterable[list[PreparedMedia]]`): of a forward pass each.
            limit ([`BatchLimit`], *optional*): lowered to what did fit.

        Yields:
            `list[QualityScore]`: one an item, for each batch in turn; a `MediaError` for an item that is too large for
            the device by itself.

        Raises:
            RuntimeError: if the model is in training mode.
        """
        self._check_ready()
        return self._run(batches, self._begin_scores, limit)

    def _in_batches(self, items: list, begin: Callable, batch_size: int | str, errors: str) -> list:
        """Results of the items, prepared ahead in threads; what cannot be read is raised or returned in its place.

        Args:
            begin (`Callable`): takes the prepared items of a batch; returns what gives their results when called.
        """
        if errors not in ("raise", "return"):
            raise ValueError(f"`errors` is 'raise' or 'return', got {errors!r}.")
        limit = self.batch_limit(batch_size)
        self._check_ready()
        places: list[MediaError | None] = []

        def readable() -> Iterator[PreparedMedia]:
            for media in prepared:
                if not isinstance(media, MediaError):
                    places.append(None)
                    yield media
                elif errors == "raise":
                    raise media
                else:
                    places.append(media)

        ahead = min(limit.items, len(items) - 1)
        with contextlib.closing(prepare_ahead(self.processor.cutter, items, ahead)) as prepared:
            found = [each for batch in self._run(limit.batches(readable()), begin, limit) for each in batch]
        if errors == "raise":
            for result in found:
                if isinstance(result, MediaError):
                    raise result
        done = iter(found)
        return [next(done) if error is None else error for error in places]

    def _check_ready(self) -> None:
        if self.training:
            raise RuntimeError("The model is in training mode: call `model.eval()` first.")

    def _run(
        self, batches: Iterable[list[PreparedMedia]], begin: Callable, limit: BatchLimit | None = None
    ) -> Iterator[list]:
        """Begins batch after batch; on a CUDA device, one before the results of the last are waited for."""
        begun: deque[Callable[[], list]] = deque()
        depth = int(self.device.type == "cuda")
        for batch in batches:
            begun.append(self._begin(batch, begin, limit))
            if len(begun) > depth:
                yield begun.popleft()()
        yield from (finish() for finish in begun)

    def _begin(self, batch: list[PreparedMedia], begin: Callable, limit: BatchLimit | None) -> Callable[[], list]:
        """Begins a batch, or where memory runs out its halves, one after the other."""

        def begun(part: Sequence[PreparedMedia]) -> Callable[[], list]:
            with torch.no_grad(), exact_float32(self.device, self.dtype):
                return begin(part)

        parts = in_parts(begun, batch, self.device, limit)
        return lambda: [each for part in parts for each in ([part] if isinstance(part, MediaError) else part())]

    def _cost(self, media: PreparedMedia) -> tuple[int, int]:
        """Decoder tokens of an item, and bytes on the device: its pixels, as they travel and as they are encoded."""
        return 0, media.num_bytes * (1 + self.dtype.itemsize)

    def _begin_scores(self, media: list[PreparedMedia]) -> Callable[[], list[QualityScore]]:
        inputs = self.processor.score_inputs(media, self.device, self.dtype)
        logits = self.level_logits(**inputs)
        # What a result says besides; the pixels are let go.
        about = [(m.modality, m.video_backend) for m in media]

        def finish() -> list[QualityScore]:
            level_probs = F.softmax(logits.cpu().double(), dim=-1)
            return [self._quality_score(probs, *each) for probs, each in zip(level_probs, about, strict=True)]

        return finish

    def _quality_score(self, level_probs: torch.Tensor, modality: str, video_backend: str | None) -> QualityScore:
        words, values = self.config.level_words, self.config.level_values
        score = expected_score(level_probs, values).item()
        return QualityScore(
            score=score,
            std=score_std(level_probs, values).item(),
            level=level_of(score, words, values),
            level_probs=dict(zip(words, level_probs.tolist(), strict=True)),
            modality=modality,
            video_backend=video_backend,
        )


class VitalAssessmentMixin(VitalScoringMixin):
    """`describe` and `answer` besides, for a model that reads and writes: [`VitalForConditionalGeneration`]."""

    # Of the class that this one is a base of.
    model: Any
    lm_head: torch.nn.Module
    generation_config: Any
    generate: Callable[..., torch.Tensor]

    def level_logits(self, **inputs) -> torch.Tensor:
        """Logits of the five level words as the next token.

        Only the answer position goes through the head, whatever the padding side. Differentiable.

        Args:
            inputs: what `processor.score_inputs` returns, on the model's device.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, 5)`, float32, best level first.
        """
        attention_mask = inputs["attention_mask"]
        position_ids = (attention_mask.long().cumsum(-1) - 1).clamp_min(0)
        hidden_states = self.model(
            **inputs, position_ids=position_ids, use_cache=False, return_dict=True
        ).last_hidden_state
        rows = torch.arange(attention_mask.shape[0], device=hidden_states.device)
        last = (position_ids * attention_mask).argmax(-1).to(hidden_states.device)
        ids = level_token_ids(self.processor.tokenizer, self.config.level_words)
        return self.lm_head(hidden_states[rows, last])[:, ids].float()

    def _cost(self, media: PreparedMedia) -> tuple[int, int]:
        text = self.config.text_config
        tokens = self._num_tokens(media)
        width = 8 * text.hidden_size + 3 * getattr(text, "intermediate_size", 4 * text.hidden_size)
        return tokens, super()._cost(media)[1] + tokens * width * self.dtype.itemsize

    def _num_tokens(self, media: PreparedMedia) -> int:
        return self.processor.image_seq_length * sum(media.num_tiles) + sum(media.motion_lengths)

    def _begin_scores(self, media: list[PreparedMedia]) -> Callable[[], list[QualityScore]]:
        """Rows of like length go through the decoder together: padding costs it as much as tokens do."""
        groups = _like_lengths([self._num_tokens(m) for m in media])
        begun = [super(VitalAssessmentMixin, self)._begin_scores([media[i] for i in group]) for group in groups]

        def finish() -> list[QualityScore]:
            scores: dict[int, QualityScore] = {}
            for group, done in zip(groups, begun, strict=True):
                scores.update(zip(group, done(), strict=True))
            return [scores[i] for i in range(len(scores))]

        return finish

    def encode_media(self, media: list[PreparedMedia]) -> list[EncodedMedia]:
        """Runs the encoders and projectors over prepared items, all of them in one batch.

        Args:
            media (`list[PreparedMedia]`): what `processor.prepare` returns.

        Returns:
            `list[EncodedMedia]`, in the order of `media`.
        """
        inputs = self.processor.visual_inputs(media, self.device, self.dtype)
        images = self.model.encode_tiles(inputs["pixel_values"]).split([sum(m.num_tiles) for m in media])
        motions = [images[0].new_zeros(0, images[0].shape[-1])] * len(media)
        if "motion_values" in inputs:
            features = self.model.get_motion_features(inputs["motion_values"], inputs["motion_lengths"])
            motions = features.split([sum(m.motion_lengths) for m in media])
        texts = [self.processor.media_text(m) for m in media]
        return [
            EncodedMedia(m.modality, text, image, motion)
            for m, text, image, motion in zip(media, texts, images, motions, strict=True)
        ]

    def describe(
        self,
        items,
        prompt: str | Sequence[str] | None = None,
        prefix: str | None = None,
        batch_size: int | str = "auto",
        errors: str = "raise",
        **generate_kwargs,
    ):
        """Describes the quality of pictures and clips in words.

        Args:
            items (a media item or `list`): what to describe.
            prompt (`str` or `list[str]`, *optional*):
                What the model is asked. Several prompts read one visual encoding. By default nothing is asked, and the
                model continues the processor's `description_prefixes`, as in pre-training.
            prefix (`str`, *optional*): how the description begins; the model continues it. Defaults to the
                processor's `description_prefixes` without a prompt, and to nothing with one.
            batch_size (`int` or `str`, *optional*, defaults to `"auto"`):
                Items through the encoders, as in `score`, and rows through the decoder; `"auto"` is 8 of those.
            errors (`str`, *optional*, defaults to `"raise"`): as in `score`.
            generate_kwargs: go to `generate`; by default the decoding is greedy and stops at 64 new tokens.

        Returns:
            `str`, the prefix included; for several prompts `list[str]`; for a list of items a `list` of these (with
            `errors="return"`, `MediaError` for unreadable ones).

        Raises:
            MediaError: for an item that cannot be read, with `errors="raise"`.
        """
        prompts = [""] if prompt is None else _as_list(prompt)
        _check_request(prompts, "prompt", generate_kwargs)

        def work(media: list[PreparedMedia]) -> list:
            encoded = self.encode_media(media)
            if prefix is not None:
                begin = [prefix] * len(encoded)
            else:
                begin = [self.processor.description_prefixes[m.modality] if prompt is None else "" for m in encoded]
            rows = [(m, text, start) for m, start in zip(encoded, begin, strict=True) for text in prompts]
            texts = _in_groups(self._generate(rows, _rows_at_once(batch_size), generate_kwargs), len(prompts))
            return texts if isinstance(prompt, (list, tuple)) else [text for (text,) in texts]

        return _as_given(items, self._in_batches(_as_list(items), _at_once(work), batch_size, errors))

    def answer(
        self,
        items,
        question: str | Sequence[str],
        choices: Sequence[str] | None = None,
        prefix: str = "",
        batch_size: int | str = "auto",
        errors: str = "raise",
        **generate_kwargs,
    ):
        """Answers a question about pictures and clips, freely or by choosing an option.

        With `choices`, each option is judged by the mean log-probability of its tokens as the answer (the mean, so
        that long options are not at a disadvantage); the visual encoding is made once for all options. The question is
        put as it stands: to show the model the options, write them in it.

        Args:
            items (a media item or `list`): what the question is about.
            question (`str` or `list[str]`): what the model is asked. Several questions read one visual encoding.
            choices (`list[str]`, *optional*): at least two different options; without them, the answer is generated.
            prefix (`str`, *optional*): how the answer begins; options follow it after a space.
            batch_size (`int` or `str`, *optional*, defaults to `"auto"`):
                Items through the encoders, as in `score`, and rows through the decoder; `"auto"` is 8 of those.
            errors (`str`, *optional*, defaults to `"raise"`): as in `score`.
            generate_kwargs: go to `generate` where there are no choices; by default the decoding is greedy and stops
                at 64 new tokens.

        Returns:
            [`Answer`]; for several questions `list[Answer]`; for a list of items a `list` of these (with
            `errors="return"`, `MediaError` for unreadable ones).

        Raises:
            MediaError: for an item that cannot be read, with `errors="raise"`.
            ValueError: for choices that are not at least two different options.
        """
        questions = _as_list(question)
        _check_request(questions, "question", generate_kwargs)
        options = None if choices is None else self._option_ids(choices, " " if prefix else "")
        if options is not None and generate_kwargs:
            raise TypeError(f"Nothing is generated where there are `choices`: {sorted(generate_kwargs)} have no use.")

        def work(media: list[PreparedMedia]) -> list:
            rows = [(m, text, prefix) for m in self.encode_media(media) for text in questions]
            if options is None:
                flat = [Answer(text) for text in self._generate(rows, _rows_at_once(batch_size), generate_kwargs)]
            else:
                flat = self._choose(rows, options, _rows_at_once(batch_size))
            answers = _in_groups(flat, len(questions))
            return answers if isinstance(question, (list, tuple)) else [each for (each,) in answers]

        return _as_given(items, self._in_batches(_as_list(items), _at_once(work), batch_size, errors))

    # --------------------------------------------------------------------------------------------------- the parts
    def _prompt(self, media: EncodedMedia, question: str, prefix: str) -> str:
        prompt = self.processor.question_prompt(media.modality, question, prefix)
        return prompt.replace(f"<{media.modality}>", media.text, 1)

    def _generate(self, rows: list[tuple[EncodedMedia, str, str]], batch_size: int, kwargs: dict) -> list[str]:
        """Generates after (media, question, prefix); returns the texts, prefixes included."""
        tokenizer = self.processor.tokenizer
        defaults = {"max_new_tokens": 64, "do_sample": False, "pad_token_id": tokenizer.pad_token_id}
        if self.generation_config.eos_token_id is None:
            defaults["eos_token_id"] = tokenizer.eos_token_id
        texts = []
        for start in range(0, len(rows), batch_size):
            chunk = rows[start : start + batch_size]
            prompts = [self._prompt(*row) for row in chunk]
            inputs = tokenizer(
                prompts, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt"
            ).to(self.device)
            ids = self.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                **_stack([m for m, *_ in chunk]),
                **{**defaults, **kwargs},
            )
            written = tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            texts += [f"{prefix}{text}".strip() for (*_, prefix), text in zip(chunk, written, strict=True)]
        return texts

    def _option_ids(self, choices: Sequence[str], space: str) -> dict[str, list[int]]:
        if isinstance(choices, str) or len(choices) < 2 or len(set(choices)) < len(choices):
            raise ValueError(f"`choices` is a list of at least two different options, got {choices!r}.")
        texts = [f"{space}{self.processor.plain_text(choice)}" for choice in choices]
        ids = [self.processor.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        if [] in ids:
            raise ValueError(f"`choices` has an option without any text: {choices!r}.")
        return dict(zip(choices, ids, strict=True))

    def _choose(
        self, rows: list[tuple[EncodedMedia, str, str]], options: dict[str, list[int]], batch_size: int
    ) -> list[Answer]:
        """Answers (media, question, prefix) with the likeliest option."""
        tokenizer = self.processor.tokenizer
        # Options that differ in their last token only (single-token ones, for instance) are read off one row.
        stems = list(dict.fromkeys(tuple(ids[:-1]) for ids in options.values()))
        prompts = [tokenizer(self._prompt(*row), add_special_tokens=False)["input_ids"] for row in rows]
        work = [(i, stem) for i in range(len(rows)) for stem in stems]
        likelihoods: list[dict[str, float]] = [{} for _ in rows]
        for start in range(0, len(work), batch_size):
            chunk = work[start : start + batch_size]
            sequences = [torch.tensor([*prompts[i], *stem]) for i, stem in chunk]
            hidden_states = self.model(
                input_ids=pad_sequence(sequences, batch_first=True, padding_value=tokenizer.pad_token_id or 0).to(
                    self.device
                ),
                attention_mask=pad_sequence([torch.ones_like(s) for s in sequences], batch_first=True).to(self.device),
                use_cache=False,
                return_dict=True,
                **_stack([rows[i][0] for i, _ in chunk]),
            ).last_hidden_state
            for (i, stem), hidden in zip(chunk, hidden_states, strict=True):
                end = len(prompts[i]) + len(stem)
                log_probs = self.lm_head(hidden[len(prompts[i]) - 1 : end]).float().log_softmax(-1).cpu()
                for option, ids in options.items():
                    if tuple(ids[:-1]) == stem:
                        likelihoods[i][option] = log_probs[range(len(ids)), ids].double().mean().item()
        return [_pick({option: likelihood[option] for option in options}) for likelihood in likelihoods]


def _check_request(texts: list, name: str, generate_kwargs: dict) -> None:
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"`{name}` is a text or a list of at least one, got {texts!r}.")
    if generate_kwargs.get("num_return_sequences", 1) != 1:
        raise ValueError("One text a row is returned: for several, ask several times, or call `generate`.")


def _pick(likelihood: dict[str, float]) -> Answer:
    probs = F.softmax(torch.tensor(list(likelihood.values()), dtype=torch.float64), dim=-1).tolist()
    choice_probs = dict(zip(likelihood, probs, strict=True))
    return Answer(max(choice_probs, key=choice_probs.__getitem__), choice_probs)


def _compare_scores(a: QualityScore | MediaError, b: QualityScore | MediaError, tie_margin: float):
    if isinstance(a, MediaError):
        return a
    if isinstance(b, MediaError):
        return b
    probability = preference_probability(a.score, a.std, b.score, b.std)
    winner = "tie" if abs(probability - 0.5) <= tie_margin else "a" if probability > 0.5 else "b"
    return Comparison(probability, winner, a, b)


def _stack(media: list[EncodedMedia]) -> dict[str, torch.Tensor]:
    """The visual tokens of a batch of rows, as arguments of the model."""
    tokens = {"image_hidden_states": torch.cat([m.image_hidden_states for m in media])}
    if any(len(m.motion_hidden_states) for m in media):
        tokens["motion_hidden_states"] = torch.cat([m.motion_hidden_states for m in media])
    return tokens


def _rows_at_once(batch_size: int | str) -> int:
    return CPU_ITEMS if isinstance(batch_size, str) else batch_size


def _at_once(work: Callable[[list[PreparedMedia]], list]) -> Callable:
    """Work with words, whose every step depends on the one before: nothing of it can be left to be waited for."""

    def begin(media: list[PreparedMedia]) -> Callable[[], list]:
        results = work(media)
        return lambda: results

    return begin


def _in_groups(flat: list, size: int) -> list[list]:
    return [flat[i : i + size] for i in range(0, len(flat), size)]


def _like_lengths(lengths: Sequence[int], slack: int = 128) -> list[list[int]]:
    """Groups of positions: within one, none is longer than another by both `slack` and a quarter."""
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        shortest = lengths[groups[-1][0]] if groups else -math.inf
        if lengths[i] > max(1.25 * shortest, shortest + slack):
            groups.append([])
        groups[-1].append(i)
    return groups


def _as_list(items) -> list:
    return list(items) if isinstance(items, (list, tuple)) else [items]


def _as_given(items, results: list):
    """One result for one item, a list for a list."""
    return results if isinstance(items, (list, tuple)) else results[0]


__all__ = ["EncodedMedia", "VitalAssessmentMixin", "VitalScoringMixin"]
