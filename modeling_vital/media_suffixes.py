"""Suffixes, in lower case, by which files count as media where nobody named them one by one."""

IMAGE_SUFFIXES = frozenset(
    ".apng .avif .bmp .gif .heic .heif .jfif .jp2 .jpe .jpeg .jpg .pgm .png .pnm .ppm .tif .tiff .webp".split()
)
# Not `.ts`: in a folder of code that is TypeScript. Such a clip can be given by name.
VIDEO_SUFFIXES = frozenset(".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .webm .wmv .y4m".split())
MEDIA_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES

__all__ = ["IMAGE_SUFFIXES", "MEDIA_SUFFIXES", "VIDEO_SUFFIXES"]
