"""A warning where most of what was scored is no photograph: pages, screenshots and line art."""

import logging
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import numpy as np

    from ..cutting_vital import PreparedMedia

_FLAT_SHARE = 0.6  # Of neighbouring pixels that are alike, and of pixels near the commonest grey: photos have less.
_COMMON_SHARE = 0.5
_NEAR = 2  # levels of 255

logger = logging.getLogger(__name__)


def looks_drawn(pixels: "np.ndarray") -> bool:
    """Detects a page, a screenshot or line art: one colour fills most of the picture, without any grain.

    Args:
        pixels (`np.ndarray` of shape `(num_tiles, height, width, 3)`): uint8.
    """
    import numpy as np

    gray = pixels.mean(-1).round().astype(np.int16)
    common = np.bincount(gray.ravel(), minlength=256).argmax()
    near = (np.abs(gray - common) <= _NEAR).mean()
    flat = (np.abs(np.diff(gray, axis=-1)) == 0).mean()
    return bool(near >= _COMMON_SHARE and flat >= _FLAT_SHARE)


class PageCount:
    """Counts pictures that look drawn, and says so once if they are most of all."""

    def __init__(self) -> None:
        self._drawn = self._pictures = 0

    def add(self, media: "PreparedMedia") -> None:
        """Looks at one item; clips do not count."""
        if media.modality == "image":
            self._pictures += 1
            self._drawn += looks_drawn(media.tiles)

    def warn(self) -> None:
        """Warns if more than half of the pictures look drawn."""
        if 2 * self._drawn > self._pictures:
            logger.warning(
                "%d of %d pictures look like pages, screenshots or line art, whose scores mean little and may even "
                "rank in reverse; see 'When not to trust it' in the docs",
                *(self._drawn, self._pictures),
            )


__all__ = ["PageCount", "looks_drawn"]
