"""Any transformers model that takes pictures and text, ours included, as a chat model."""

import hashlib
import io
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from dataset_scripts.interpretation.chat import (
    ChatError,
    ChatRefusalError,
    ChatSetupError,
    Completion,
    Message,
    Sampling,
    Usage,
)


_END_BYTES = 1 << 16


class TransformersChat:
    """A model of `AutoModelForImageTextToText` with its `AutoProcessor`, loaded on the first question.

    Args:
        model (`str` or `Path`): folder or Hub id.
        revision (`str`, *optional*): of a Hub id.
        device (`str`, *optional*): by default a GPU where there is one.
        dtype (`str`, *optional*, defaults to `"auto"`): of the weights.
        trust_remote_code (`bool`, *optional*, defaults to `False`): run code that comes with the model.
    """

    def __init__(
        self,
        model: str | Path,
        revision: str | None = None,
        device: str | None = None,
        dtype: str = "auto",
        trust_remote_code: bool = False,
    ) -> None:
        self.path = str(model)
        version = weights_digest(Path(model)) if Path(model).is_dir() else revision
        self.name = (Path(model).name if Path(model).is_dir() else str(model)) + (f"@{version}" if version else "")
        self.device = device
        self._options = {"revision": revision, "trust_remote_code": trust_remote_code}
        self._dtype = dtype
        self._loaded: tuple[Any, Any] | None = None
        self._lock = threading.Lock()  # one question at a time: the random state is the process's

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModelForImageTextToText, AutoProcessor

            import modeling_vital.modeling_vital  # noqa: F401  registers our own model type

            try:
                processor = AutoProcessor.from_pretrained(self.path, **self._options)
                model = AutoModelForImageTextToText.from_pretrained(self.path, dtype=self._dtype, **self._options)
            except (OSError, ValueError) as error:
                raise ChatSetupError(
                    f"{self.path} cannot be loaded as a model of pictures and text: {error}"
                ) from error
            self.device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            self._loaded = processor, model.to(self.device).eval()
        return self._loaded

    def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Generates an answer. The same question and sampling give the same answer on the same machine.

        Raises:
            ChatSetupError: the model cannot be loaded, or has no chat template.
            ChatRefusalError: the processor cannot take these messages.
            ChatError: generation failed, such as for want of memory.
        """
        import torch
        from jinja2 import TemplateError

        with self._lock:
            processor, model = self._load()
            start = time.monotonic()
            try:
                inputs = self._inputs(processor, messages)
                options: dict[str, Any] = {
                    "max_new_tokens": sampling.max_tokens,
                    "do_sample": sampling.temperature > 0,
                }
                if sampling.temperature > 0:
                    options["temperature"] = sampling.temperature
                with torch.random.fork_rng(devices=[]), torch.inference_mode():
                    torch.manual_seed(sampling.seed)
                    output = model.generate(**inputs, **options)
            except ChatError:
                raise
            except RuntimeError as error:
                raise ChatError(f"{self.name} failed: {error}") from error
            except (ValueError, TypeError, LookupError, StopIteration, TemplateError) as error:
                # Some processors take `<image>` in a text for a picture, some templates refuse a turn.
                raise ChatRefusalError(f"{self.name} cannot take the question: {error!r}") from error
        prompt_tokens = inputs["input_ids"].shape[1]
        written = output[0, prompt_tokens:]
        text = processor.tokenizer.decode(written, skip_special_tokens=True).strip()
        cut_off = len(written) >= sampling.max_tokens and int(written[-1]) not in _end_tokens(model)
        usage = Usage(prompt_tokens, len(written), time.monotonic() - start)
        return Completion(text, "length" if cut_off else "stop", usage)

    def _inputs(self, processor: Any, messages: Sequence[Message]) -> Any:
        if not getattr(processor, "chat_template", None):
            raise ChatSetupError(f"{self.name} has no chat template: take an instruction-tuned model")
        turns = []
        for message in messages:
            pictures = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in message.pictures]
            shown = [{"type": "image", "image": picture} for picture in pictures]
            turns.append({"role": message.role, "content": [*shown, {"type": "text", "text": message.text}]})
        inputs = processor.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        return inputs.to(self.device)


def weights_digest(folder: Path) -> str:
    """Short hash that tells checkpoints apart: sizes and both ends of the weight files, names aside."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        with path.open("rb") as file:
            digest.update(f"{path.name} {size} ".encode() + file.read(_END_BYTES))
            file.seek(max(0, size - _END_BYTES))
            digest.update(file.read())
    return digest.hexdigest()[:12]


def _end_tokens(model: Any) -> list[int]:
    """Ids that end an answer, as the model's generation settings name them."""
    ends = model.generation_config.eos_token_id
    return [] if ends is None else ends if isinstance(ends, list) else [ends]
