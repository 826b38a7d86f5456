"""Every wording that is sent to a model. Answers are kept under the words asked, so a new wording asks anew."""

DESCRIBE = """\
You see {media}. Describe how good it looks technically, not what it shows or whether it is beautiful.
Say what is well done and what is damaged, and where: sharpness and focus, noise and grain, compression traces, \
exposure and contrast, colour{motion}. Name only what you can see. Write two to five plain sentences and no list."""

MOTION = ", steadiness, smoothness of motion, flicker and repeated frames"

POLISH = """\
Here is a description of the technical quality of {media}:

{description}

Rewrite it as separate statements. Each statement is one complete sentence that says one thing that can be checked \
by looking. Keep the meaning and add nothing. Leave out phrases that say nothing definite, such as "the quality is \
good", and everything about what is shown. Answer with a JSON list of strings and nothing else."""

POLISH_AGAIN = """\
That was not a JSON list of strings. Answer again with nothing but the list, such as ["First sentence.", "Second \
sentence."]; answer [] if no statement is left."""

JUDGE = """\
Look closely at {media}. Somebody says of its technical quality:

"{statement}"

Is this statement true in full of what you see? If any part of it is wrong, or cannot be seen, it is not. \
Answer with the one word yes or no."""

ANSWER_AGAIN = "Answer with the one word yes or no."

REVIEW = (
    ('Check this claim about the technical quality of {media}: "{statement}" Does it hold? Answer yes or no.', True),
    (
        'Somebody wrote about the technical quality of {media}: "{statement}" '
        "Would a careful viewer disagree with any part of that? Answer yes or no.",
        False,
    ),
    (
        'Imagine this caption under {media}: "{statement}" '
        "Judging by the technical quality alone, is the caption mistaken? Answer yes or no.",
        False,
    ),
)
"""Re-worded questions of the self-review, each with the answer that speaks for the statement (`True` is yes)."""


def media_words(modality: str, pictures: int) -> str:
    """Returns the prompts' words for the item: `"this picture"`, or the frames of a video with their number."""
    return "this picture" if modality == "image" else f"this video, given as {pictures} frames in order"
