"""Words of training texts besides those of the levels: how severe a distortion is, and what it is called.

`dataset_scripts.distortions` takes them from here, and `vital audit vocab` asks a decoder about them.
"""

SEVERITY_WORDS: tuple[str, ...] = ("slight", "mild", "moderate", "relatively severe", "severe")
"""Severities 1 to 5."""

IMAGE_DISTORTION_WORDS = {
    "gaussian_blur": "gaussian blur",
    "lens_blur": "lens blur",
    "motion_blur": "motion blur",
    "color_diffusion": "color diffusion",
    "color_shift": "color shift",
    "color_quantization": "color quantization",
    "color_saturation_hsv": "HSV color saturation change",
    "color_saturation_lab": "Lab color saturation change",
    "jpeg2000": "JPEG2000 compression",
    "jpeg": "JPEG compression",
    "white_noise": "white noise",
    "white_noise_color": "white noise in color component",
    "impulse_noise": "impulse noise",
    "multiplicative_noise": "multiplicative noise",
    "denoise": "denoising artifacts",
    "brighten": "brightening",
    "darken": "darkening",
    "mean_shift": "mean shift",
    "jitter": "jitter",
    "non_eccentricity_patch": "non-eccentricity patch",
    "pixelate": "pixelation",
    "quantization": "quantization",
    "color_block": "color block",
    "high_sharpen": "high sharpening",
    "contrast_change": "contrast change",
}
"""Distortion of pictures, by its key in `dataset_scripts.distortions` -> what texts call it."""

VIDEO_DISTORTION_WORDS = {
    "h264_compression": "H264 compression",
    "h265_compression": "H265 compression",
    "stutter": "stutter",
    "frame_drop_rate": "frame rate drop",
    "flicker": "flicker",
    "temporal_noise": "temporal noise bursts",
    "bitrate_switch": "bitrate switching",
}
"""The same for clips."""
