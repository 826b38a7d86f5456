"""Common part of the adapters: conversations with pictures and clips, through the chat template and `generate`."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from modeling_vital import VitalForConditionalGeneration


class ChatAnswers:
    """A loaded model that answers conversations.

    Args:
        model (`str`): a name of the zoo, a folder, or a Hub id.
        device (`str`, *optional*): by default a GPU where there is one.
        dtype (`str`, *optional*, defaults to `"auto"`): of the weights.
    """

    def __init__(self, model: str = "vital-tiny", device: str | None = None, dtype: str = "auto") -> None:
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.model = VitalForConditionalGeneration.from_pretrained(model, dtype=dtype).to(self.device).eval()

    def __call__(self, messages: Sequence[Mapping[str, Any]], settings: Mapping[str, Any] | None = None) -> str:
        """Answers the last turn.

        Args:
            messages (`list[dict]`): turns as `apply_chat_template` takes them, pictures and clips in their content.
            settings (`dict`, *optional*): what a harness asks for: `max_new_tokens` (64), `temperature` (0: greedy),
                `top_p`, `num_beams`, and `until`, a text or texts that end the answer. Others are ignored.

        Returns:
            `str`: the answer, without white space around it and without the text that ended it.
        """
        settings = dict(settings or {})
        options: dict[str, Any] = {"max_new_tokens": int(settings.get("max_new_tokens") or 64)}
        options["num_beams"] = int(settings.get("num_beams") or 1)
        options["do_sample"] = float(settings.get("temperature") or 0) > 0
        if options["do_sample"]:
            options["temperature"] = float(settings["temperature"])
            if settings.get("top_p") is not None:
                options["top_p"] = float(settings["top_p"])
        processor = self.model.processor
        inputs = processor.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            output = self.model.generate(**inputs.to(self.device), **options)
        written = output[0, inputs["input_ids"].shape[1] :]
        text = processor.tokenizer.decode(written, skip_special_tokens=True)
        until = settings.get("until") or []
        for end in [until] if isinstance(until, str) else until:
            text = text.split(end, 1)[0] if end else text
        return text.strip()
