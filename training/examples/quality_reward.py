"""Quality as a reward in TRL, in a minute on a CPU: `python -m training.examples.quality_reward PHOTO`.

A tiny language model learns with GRPO which word to say. Each word is something done to a photo, and its reward is the
quality of the result: the smallest whole example of generated text that is made into a picture, and a picture into a
reward. In your own work the policy is larger, and the words are settings, prompts or code.
"""

import argparse
import functools
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageFilter
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from modeling_vital import load_media
from modeling_vital.rewards import quality_reward
from modeling_vital.whole_files import require_output_folder


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blur": lambda photo: photo.filter(ImageFilter.GaussianBlur(3)),
    "shrink": lambda photo: photo.reduce(6).resize(photo.size),
    "darken": lambda photo: photo.point(lambda value: value // 4),
    "keep": lambda photo: photo,
}
"""What the policy can say, and what that does."""

PROMPT = "photo"


def edit_reward(photo: Image.Image, completions: Sequence[str], **columns: Any) -> list[float | None]:
    """Rewards words by the quality of the photo after what they say; `None` for a word that is no edit.

    Args:
        photo (`Image.Image`): what is edited.
        completions (`Sequence[str]`): what the policy said.
        columns: what else TRL passes.
    """
    words = [completion.strip() for completion in completions]
    known = list(dict.fromkeys(word for word in words if word in EDITS))  # a batch says the same word often
    rewards = dict(zip(known, quality_reward([EDITS[word](photo) for word in known]), strict=True))
    return [rewards.get(word) for word in words]


def make_policy() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A language model of two layers, and a tokenizer whose words are the edits."""
    words = ["<pad>", "<eos>", PROMPT, *EDITS]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = LlamaConfig(**sizes, vocab_size=len(words), pad_token_id=0, eos_token_id=1, bos_token_id=None)
    return LlamaForCausalLM(config), fast


def probabilities(policy: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> dict[str, float]:
    """Returns the probability of each edit under the policy."""
    ids = torch.tensor([[tokenizer.convert_tokens_to_ids(PROMPT)]]).to(policy.device)
    with torch.no_grad():
        probs = policy(ids).logits[0, -1].softmax(-1)
    return {word: probs[tokenizer.convert_tokens_to_ids(word)].item() for word in EDITS}


def train(photo: Image.Image, steps: int, output: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Trains a policy with GRPO.

    Args:
        photo (`Image.Image`): what is edited.
        steps (`int`): of training.
        output (`Path`): folder of the trainer.

    Returns:
        `tuple[dict[str, float], dict[str, float]]`: probability of each edit before and after.
    """
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    policy, tokenizer = make_policy()
    before = probabilities(policy, tokenizer)
    config = GRPOConfig(
        output_dir=str(output),
        max_steps=steps,
        learning_rate=2e-2,
        per_device_train_batch_size=16,
        num_generations=16,
        max_completion_length=1,
        beta=0.0,
        report_to="none",
        save_strategy="no",
        logging_steps=5,
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        gradient_checkpointing=False,
        seed=0,
    )
    rows = Dataset.from_dict({"prompt": [PROMPT] * (2 * steps)})
    reward = functools.partial(edit_reward, photo)
    functools.update_wrapper(reward, edit_reward)
    trainer = GRPOTrainer(policy, reward_funcs=reward, args=config, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    return before, probabilities(trainer.accelerator.unwrap_model(trainer.model), tokenizer)


def main(argv: Sequence[str] | None = None) -> int:
    """Trains, and prints what the policy says before and after, with the rewards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", help="a photo")
    parser.add_argument("--steps", type=int, default=30, help="of training (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("build/quality-reward"), help="folder of the trainer")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    require_output_folder(parser, "--output", args.output)
    photo = load_media(args.photo)
    photo.thumbnail((256, 256))
    before, after = train(photo, args.steps, args.output)
    rewards = edit_reward(photo, list(EDITS))
    sys.stdout.write(f"{'word':<10} {'reward':>6} {'before':>7} {'after':>6}\n")
    for word, reward in zip(EDITS, rewards, strict=True):
        sys.stdout.write(f"{word:<10} {reward:6.3f} {before[word]:7.3f} {after[word]:6.3f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
