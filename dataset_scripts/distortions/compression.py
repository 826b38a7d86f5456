"""Still-picture compression: JPEG 2000 and JPEG, types 9 and 10 of KADID-10k.

Both run a real encoder and decoder in memory. Every function takes and returns an RGB picture, `uint8 [H, W, 3]`, and
leaves its input as it was.
"""

import io
import math

import cv2
import numpy as np
from PIL import Image


# What OpenJPEG and Pillow take when nothing is said; small pictures allow fewer.
_JPEG2000_RESOLUTIONS = 6


def jpeg2000(image: np.ndarray, ratio: float) -> np.ndarray:
    """Encodes as lossy JPEG 2000 (9/7 wavelet) at a fixed compression ratio and decodes.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        ratio: raw size over compressed size, above 1.

    Returns:
        The decoded picture, `uint8 [H, W, 3]`.

    Note:
        The encoder codes every bit plane before it cuts to the rate, so the time does not fall with the ratio.
    """
    picture = Image.fromarray(image)
    # A resolution more than the shorter side can be halved is refused by the encoder.
    resolutions = min(_JPEG2000_RESOLUTIONS, int(math.log2(max(min(picture.size), 1))) + 1)
    buffer = io.BytesIO()
    picture.save(
        buffer,
        format="JPEG2000",
        no_jp2=True,
        irreversible=True,
        quality_mode="rates",
        quality_layers=[ratio],
        num_resolutions=resolutions,
    )
    buffer.seek(0)
    with Image.open(buffer) as decoded:
        return np.array(decoded.convert("RGB"))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Encodes as JPEG (colour at half resolution) and decodes.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        quality: libjpeg quality, 1 (worst)..100.

    Returns:
        The decoded picture, `uint8 [H, W, 3]`.

    Raises:
        RuntimeError: the encoder refused the picture.
    """
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality))
    if not done:
        raise RuntimeError(f"the JPEG encoder refused a picture of shape {image.shape}: check its size")
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
