"""`pipeline("visual-quality-assessment")`: scoring in the form of transformers' pipelines."""

import transformers
from transformers import AutoModel, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from .media_vital import MediaError
from .preparation_vital import prepare_ahead
from .zoo_names_vital import from_zoo


TASK = "visual-quality-assessment"

CUSTOM_PIPELINES = {TASK: {"impl": "pipeline_vital.VitalQualityPipeline", "pt": ["AutoModel"], "type": "multimodal"}}
"""What a checkpoint's `config.json` says, so that `pipeline` finds the class below beside the weights."""


class VitalQualityPipeline(Pipeline):
    """Scores pictures and clips: items in, dicts of a `QualityScore` out.

    Takes a media item, a list of them, a generator or a `torch.utils.data.Dataset`, and `batch_size`; called with
    `errors="return"`, gives the `MediaError` of an item that cannot be read, or is too large for the device, in its
    place.

    Example:

    ```python
    >>> from transformers import pipeline

    >>> assess = pipeline("visual-quality-assessment", model="org/vital-8b", trust_remote_code=True)
    >>> assess(["photo.jpg", "clip.mp4"], batch_size=2)[0]["score"]
    ```
    """

    _load_processor = False
    _load_tokenizer = False
    _load_image_processor = False
    _load_feature_extractor = False

    def __init__(self, model, **kwargs):
        super().__init__(model, **kwargs)
        if self.processor is not None:
            self.model.processor = self.processor
        self.feature_extractor = self.model.processor.image_processor  # without one, pipelines refuse to make batches

    def _sanitize_parameters(self, errors: str | None = None, **unknown):
        if unknown:
            raise TypeError(f"{type(self).__name__} has no parameters {sorted(unknown)}; it has `errors`.")
        if errors not in (None, "raise", "return"):
            raise ValueError(f"`errors` is 'raise' or 'return', got {errors!r}.")
        chosen = {} if errors is None else {"errors": errors}
        return chosen, chosen, {}

    def get_iterator(self, inputs, num_workers: int, batch_size: int, *params):
        """That of transformers; items of a list are prepared ahead in threads, unless `num_workers` processes do."""
        if isinstance(inputs, list) and not num_workers:
            inputs = prepare_ahead(self.model.processor.cutter, inputs, min(max(batch_size, 2), len(inputs) - 1))
        return super().get_iterator(inputs, num_workers, batch_size, *params)

    def preprocess(self, item, errors: str = "raise") -> dict:
        """Reads one item and makes its tiles and frames, unless that was done ahead."""
        try:
            if isinstance(item, MediaError):
                raise item
            return {"media": self.model.processor.prepare(item)}
        except MediaError as error:
            if errors == "raise":
                raise
            return {"media": error}

    def _forward(self, inputs: dict, errors: str = "raise") -> dict:
        batched = isinstance(inputs["media"], list)
        batch = inputs["media"] if batched else [inputs["media"]]
        media = [m for m in batch if not isinstance(m, MediaError)]
        scores = iter(self.model.score(media, batch_size=len(batch), errors=errors))
        results = [m if isinstance(m, MediaError) else next(scores) for m in batch]
        return {"result": results if batched else results[0]}

    def postprocess(self, outputs: dict) -> dict | MediaError:
        """The record as plain Python values."""
        result = outputs["result"]
        return result if isinstance(result, MediaError) else result.to_dict()


def pipeline(task: str | None = TASK, model=None, **kwargs) -> Pipeline:
    """transformers' `pipeline` that also takes a name of the zoo.

    Args:
        task (`str`, *optional*, defaults to `"visual-quality-assessment"`): any task of transformers.
        model (`str`, `Path` or `PreTrainedModel`): a name of the zoo, a folder, a Hub id or a model.
        kwargs: go to `transformers.pipeline`.

    Returns:
        `Pipeline`: for the default task, a [`VitalQualityPipeline`].

    Raises:
        ValueError: without a model; for a name of the zoo whose weights are not inside the package; with the default
            task, for a word that is neither a name of the zoo nor a file.
    """
    if model is None:
        raise ValueError("Give a `model`: a name of the zoo such as 'vital-tiny', a folder, a Hub id or a model.")
    found = from_zoo(model, vital=task in (None, TASK))
    if found is not model and task in (None, TASK):  # a checkpoint of this package needs no code from beside it
        task, kwargs = TASK, {"pipeline_class": VitalQualityPipeline, **kwargs}
    return transformers.pipeline(task, model=found, **kwargs)


if TASK not in PIPELINE_REGISTRY.supported_tasks:  # a second copy of this file, from a checkpoint, changes nothing
    PIPELINE_REGISTRY.register_pipeline(TASK, pipeline_class=VitalQualityPipeline, pt_model=AutoModel)

__all__ = ["VitalQualityPipeline", "pipeline"]
