"""transformers' own InternVL used the ordinary way: one padded batch, logits of every position."""

import torch
from PIL import Image
from transformers import InternVLForConditionalGeneration

from modeling_vital.levels_vital import expected_score, level_token_ids
from modeling_vital.processing_vital import VitalProcessor


class PlainInternVL:
    """Scores pictures, the same prompt and tiles as ours.

    Args:
        native (`InternVLForConditionalGeneration`): the model.
        processor (`VitalProcessor`): cuts tiles and writes prompts; transformers' own needs torchvision.
        level_words (`list[str]`): best first.
        level_values (`list[float]`): what they are worth.
    """

    def __init__(
        self,
        native: InternVLForConditionalGeneration,
        processor: VitalProcessor,
        level_words: list[str],
        level_values: list[float],
    ):
        self.native, self.processor, self.level_values = native, processor, level_values
        self.level_ids = level_token_ids(processor.tokenizer, level_words)

    @torch.no_grad()
    def score(self, pictures: list[Image.Image]) -> list[float]:
        """Scores of pictures, in their order, in one batch."""
        inputs = self.processor.score_inputs(pictures, self.native.device, self.native.dtype)
        logits = self.native(**inputs, use_cache=False).logits
        last = inputs["attention_mask"].sum(-1) - 1
        probs = logits[torch.arange(len(last), device=last.device), last][:, self.level_ids].double().softmax(-1)
        return [expected_score(row, self.level_values).item() for row in probs]
