"""VITAL: scores the quality of images and videos.

Names are imported when they are first used, so `import modeling_vital` costs nothing and does not load torch.

Example:
    >>> from modeling_vital import VitalForConditionalGeneration
    >>> model = VitalForConditionalGeneration.from_pretrained("vital-tiny")
    >>> model.score("photo.jpg").score
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__


if TYPE_CHECKING:
    from . import zoo
    from .configuration_vital import VitalConfig
    from .image_processing_vital import VitalImageProcessor
    from .media_vital import MediaError, load_media
    from .modeling_vital import VitalForConditionalGeneration, VitalModel
    from .outputs_vital import Answer, Comparison, QualityScore
    from .pipeline_vital import pipeline
    from .probe_vital import VitalForQualityProbe, VitalProbeConfig, VitalProbeProcessor
    from .processing_vital import VitalProcessor
    from .video_backend_vital import set_video_backend

_MODULE_OF = {
    "Answer": "outputs_vital",
    "Comparison": "outputs_vital",
    "MediaError": "media_vital",
    "QualityScore": "outputs_vital",
    "VitalConfig": "configuration_vital",
    "VitalForConditionalGeneration": "modeling_vital",
    "VitalForQualityProbe": "probe_vital",
    "VitalImageProcessor": "image_processing_vital",
    "VitalModel": "modeling_vital",
    "VitalProbeConfig": "probe_vital",
    "VitalProbeProcessor": "probe_vital",
    "VitalProcessor": "processing_vital",
    "load_media": "media_vital",
    "pipeline": "pipeline_vital",
    "set_video_backend": "video_backend_vital",
}

__all__ = [
    "Answer",
    "Comparison",
    "MediaError",
    "QualityScore",
    "VitalConfig",
    "VitalForConditionalGeneration",
    "VitalForQualityProbe",
    "VitalImageProcessor",
    "VitalModel",
    "VitalProbeConfig",
    "VitalProbeProcessor",
    "VitalProcessor",
    "__version__",
    "load_media",
    "pipeline",
    "set_video_backend",
    "zoo",
]


def __getattr__(name: str) -> object:
    if name in ("evaluation", "zoo"):
        return import_module(f".{name}", __name__)
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
