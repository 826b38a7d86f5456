"""Media in: every kind of item, every mode, every decoder, every way a file can be bad."""

import io
import struct
import subprocess
import sys
import zlib
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from modeling_vital import clip_vital, picture_vital, video_decoding_vital
from modeling_vital.media_vital import Clip, MediaError, describe_item, load_media, picture_size
from modeling_vital.picture_vital import to_rgb
from modeling_vital.video_decoding_vital import video_format


NUM_FRAMES, WIDTH, HEIGHT = 40, 96, 64


def gray_level(index):
    return 16 + 5 * index


QUICK = {"libvpx": {"deadline": "realtime", "cpu-used": "8"}, "libx264": {"preset": "ultrafast"}}
"""Options of the encoders that take the longest."""


def write_video(path, num_frames=NUM_FRAMES, codec="libx264", fps=25, size=(WIDTH, HEIGHT), options=None, step=1):
    """Frame i, shown at `i * step / fps`, is gray at `gray_level(i)`, with a white square in the top left corner."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = 8
        stream.codec_context.bit_rate = 4_000_000
        for index in range(num_frames):
            frame = np.full((size[1], size[0], 3), gray_level(index), dtype=np.uint8)
            frame[:16, :16] = 255
            shown = av.VideoFrame.from_ndarray(frame, format="rgb24")
            shown.pts, shown.time_base = index * step, Fraction(1, fps)
            container.mux(stream.encode(shown))
        container.mux(stream.encode())
    return path


def cut_start(source, target, packets):
    """A stream copy that does not begin with a key frame, as careless cutting tools make."""
    av = pytest.importorskip("av")
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for number, packet in enumerate(reader.demux(reader.streams.video[0])):
            if packet.dts is not None and number >= packets:
                packet.stream = stream
                writer.mux(packet)
    return target


def rotate_clockwise(source, target):
    """Writes the display matrix a phone held upright writes, over the one in the track header."""
    data = bytearray(source.read_bytes())
    matrix = data.find(b"tkhd") + 4 + 40
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    target.write_bytes(data)
    return target


def shown_levels(frames):
    return frames[:, -1, -1, 0].astype(int)


@pytest.fixture(scope="module")
def mp4(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4")


@pytest.fixture(params=["decord", "av"])
def one_decoder(request, monkeypatch):
    """Runs a test with one decoder installed, then with the other."""
    module = pytest.importorskip(request.param)
    monkeypatch.setattr(video_decoding_vital, "_decoders", lambda: {request.param: module})
    return request.param


def animation(num_frames=5):
    return [Image.new("RGB", (20, 10), (40 * index, 0, 255 - 40 * index)) for index in range(num_frames)]


def picture():
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (12, 20, 3), dtype=np.uint8))


# ---------------------------------------------------------------------------------------------------- to_rgb
def rgba(mode, color):
    return Image.new(mode, (2, 2), color)


def palette_with_transparency():
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30] + [0] * 762)
    image.info["transparency"] = 1
    return image


@pytest.mark.parametrize(
    "image, expected",
    [
        (rgba("RGB", (1, 2, 3)), (1, 2, 3)),
        (rgba("L", 7), (7, 7, 7)),
        (rgba("1", 1), (255, 255, 255)),
        (rgba("RGBA", (255, 0, 0, 0)), (255, 255, 255)),
        (rgba("RGBA", (255, 0, 0, 51)), (255, 204, 204)),
        (rgba("LA", (0, 51)), (204, 204, 204)),
        (palette_with_transparency(), (255, 255, 255)),
        (rgba("CMYK", (0, 255, 255, 0)), (255, 0, 0)),
        (rgba("YCbCr", (128, 128, 128)), (128, 128, 128)),
        (rgba("HSV", (0, 255, 255)), (255, 0, 0)),
        (rgba("LAB", (255, 128, 128)), (255, 255, 255)),
        (rgba("I;16", 65535), (255, 255, 255)),
        (rgba("I;16", 32768), (128, 128, 128)),
        (rgba("I;16B", 257), (1, 1, 1)),
        (rgba("F", 0.2), (51, 51, 51)),
        (rgba("F", 1.0009), (255, 255, 255)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value),
)
def test_every_mode_becomes_rgb(image, expected):
    before = (image.mode, image.tobytes())
    result = to_rgb(image)
    assert result.mode == "RGB"
    assert result is not image
    assert np.abs(np.asarray(result)[0, 0].astype(int) - expected).max() <= (2 if image.mode == "LAB" else 0)
    assert (image.mode, image.tobytes()) == before


def test_rgb_with_a_transparent_color_goes_over_white():
    image = Image.new("RGB", (2, 2), (1, 2, 3))
    image.info["transparency"] = (1, 2, 3)
    assert to_rgb(image).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_exif_orientation_is_applied_once(tmp_path, orientation, name):
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # The transpose that turns an upright picture into that tag's.
    upright = Image.fromarray(np.arange(6 * 4 * 3, dtype=np.uint8).reshape(4, 6, 3))
    stored = upright if orientation == 1 else upright.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / name, exif=exif)
    once = load_media(tmp_path / name)
    assert once.tobytes() == upright.tobytes()
    assert picture_size(str(tmp_path / name)) == (4, 6)
    assert load_media(once).tobytes() == upright.tobytes()


def test_unreadable_exif_is_reported_and_ignored(monkeypatch, caplog):
    def fail(image):
        raise SyntaxError("not a TIFF file")

    monkeypatch.setattr(Image.Image, "getexif", fail)
    assert to_rgb(picture()).tobytes() == picture().tobytes()
    assert "unreadable EXIF" in caplog.text


def test_float_picture_with_nan_is_an_error():
    with pytest.raises(MediaError, match="4 values .*NaN"):
        to_rgb(Image.fromarray(np.full((2, 2), np.nan, dtype=np.float32)))


def with_one(value, top, dtype):
    pixels = np.full((8, 8), value, dtype)
    pixels[0, 0] = top
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    "image, kind",
    [
        (with_one(0.9, 1.02, np.float32), "TIFF"),
        (with_one(0.9 * 255, 255, np.float32), "TIFF"),
        (with_one(0.9 * 65535, 65535, np.float32), "TIFF"),
        (with_one(0.9, -0.5, np.float32), "TIFF"),
        (with_one(230, 230, np.int32), "TIFF"),
        (with_one(60000, 65535, np.int32), "TIFF"),
    ],
)
def test_a_scale_that_is_not_known_is_an_error(tmp_path, image, kind):
    image.save(tmp_path / "a.file", format=kind)
    for item in (image, tmp_path / "a.file", [image, image]):
        with pytest.raises(MediaError, match=r"convert .*floats in \[0, 1\]"):
            load_media(item)
    with pytest.raises(MediaError, match="a.file"):
        load_media(tmp_path / "a.file")


def test_scales_that_are_known(tmp_path):
    with_one(0.9, 1.0009, np.float32).save(tmp_path / "float.tif")
    (tmp_path / "12.tif").write_bytes(plain_tiff(np.full((8, 8), 0), bits=12, data=bytes([0xE6, 0x6E, 0x66] * 32)))
    with_one(round(0.9 * 65535), 65535, np.uint16).save(tmp_path / "16.png")
    (tmp_path / "10.pgm").write_bytes(b"P5 8 8 1023\n" + np.full((8, 8), round(0.9 * 1023), ">u2").tobytes())
    (tmp_path / "black-is-large.tif").write_bytes(
        plain_tiff(np.full((8, 8), round(0.1 * 65535), np.uint16), bits=16, photometric=0)
    )
    for path in tmp_path.iterdir():
        assert np.abs(np.asarray(load_media(path)).astype(int)[1:] - 230).max() <= 1, path.name


def plain_tiff(pixels, bits, sample_format=1, photometric=1, data=None):
    """A grey TIFF of a kind that Pillow reads and does not write."""
    data = pixels.tobytes() if data is None else data
    tags = {256: 8, 257: 8, 258: bits, 259: 1, 262: photometric, 273: 8 + 2 + 9 * 12 + 4, 277: 1, 279: len(data)}
    tags[339] = sample_format
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def curve_profile(space, curve=None, primaries=None, description="sRGB IEC61966-2.1"):
    """An ICC profile of a gamma (1: linear; `None`: the curve of sRGB) that calls itself sRGB."""

    def xyz(values):
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    srgb = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    kind, numbers = (3, srgb) if curve is None else (0, (curve,))
    para = (
        b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + b"".join(struct.pack(">i", round(v * 65536)) for v in numbers)
    )
    text = b"desc\0\0\0\0" + struct.pack(">I", len(description) + 1) + description.encode() + bytes(79)
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0CC0\0", b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    if space == b"GRAY":
        tags[b"kTRC"] = para
    else:
        columns = primaries or ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
        for name, column in zip(b"rgb", columns, strict=True):
            tags |= {bytes([name]) + b"XYZ": xyz(column), bytes([name]) + b"TRC": para}
    table, data, start = b"", b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    head = struct.pack(
        ">I4sI4s4s4s12s4s", start + len(data), b"lcms", 0x02400000, b"mntr", space, b"XYZ ", bytes(12), b"acsp"
    )
    head = head.ljust(68, b"\0") + struct.pack(">iii", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def srgb_level(share):
    return 255 * (12.92 * share if share <= 0.0031308 else 1.055 * share ** (1 / 2.4) - 0.055)


P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))


def test_a_profile_is_judged_by_its_curves_and_primaries_not_by_its_name():
    picture = Image.new("RGB", (8, 8), (200, 60, 60))
    plain = np.asarray(picture)[0, 0]
    shown = {}
    for name, profile in {
        "really sRGB": curve_profile(b"RGB ", None, description="Made by nobody"),
        "linear": curve_profile(b"RGB ", 1.0, description="Linear sRGB built-in"),
        "gamma 1.8": curve_profile(b"RGB ", 1.8),
        "wide": curve_profile(b"RGB ", None, P3),
    }.items():
        picture.info["icc_profile"] = profile
        shown[name] = np.asarray(load_media(picture))[0, 0].astype(float)
    assert np.array_equal(shown["really sRGB"], plain)
    assert np.abs(shown["linear"] - [srgb_level(v / 255) for v in plain]).max() <= 1
    assert np.abs(shown["gamma 1.8"] - [srgb_level((v / 255) ** 1.8) for v in plain]).max() <= 1
    assert shown["wide"][0] > 210 and shown["wide"][1] < 50


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "F", "P", "RGB", "RGBA", "CMYK"])
def test_no_mode_ignores_its_profile(mode, tmp_path):
    gray = mode in ("1", "L", "LA", "I;16", "F")
    picture = {
        "I;16": Image.fromarray(np.full((8, 8), 60 * 257, np.uint16)),
        "F": Image.fromarray(np.full((8, 8), 60 / 255, np.float32)),
        "P": Image.new("RGB", (8, 8), (60, 60, 60)).quantize(4),
    }.get(mode) or Image.new("RGB", (8, 8), (60, 60, 60)).convert(mode)
    picture.info["icc_profile"] = curve_profile(b"GRAY" if gray else b"RGB ", 1.0)
    level = np.asarray(load_media(picture)).astype(int)
    dark_share = 60 / 255
    if mode == "1":
        assert set(level.ravel()) <= {0, 255}
    else:
        assert np.abs(level - srgb_level(dark_share)).max() <= 1.5
    if mode in ("L", "LA", "I;16", "RGB", "RGBA"):
        picture.save(tmp_path / "a.png", icc_profile=picture.info["icc_profile"])
        assert np.array_equal(np.asarray(load_media(tmp_path / "a.png")), level)
    assert np.array_equal(np.asarray(load_media(load_media(picture))), level)  # applied once


def test_colors_are_converted_before_alpha_goes_over_white():
    for mode, space in (("LA", b"GRAY"), ("RGBA", b"RGB "), ("La", b"GRAY"), ("P", b"RGB ")):
        picture = Image.new("LA" if space == b"GRAY" else "RGBA", (8, 8))
        picture.paste((60, 0) if space == b"GRAY" else (60, 60, 60, 0), (0, 0, 8, 8))
        picture = picture.convert(mode) if mode != "P" else picture.quantize(4)
        picture.info["icc_profile"] = curve_profile(space, 1.0)
        assert np.asarray(load_media(picture)).min() == 255, mode


def test_a_profile_of_another_kind_of_picture_is_reported_and_ignored(caplog):
    gray = Image.new("RGB", (8, 8), (60, 60, 60))
    for picture, space in ((gray, b"GRAY"), (gray.quantize(4), b"GRAY"), (gray.convert("RGBA"), b"GRAY")):
        picture.info["icc_profile"] = curve_profile(space, 1.0)
        assert np.abs(np.asarray(load_media(picture)).astype(int) - 60).max() <= 1
    assert caplog.text.count("another kind of picture") == 3


def test_large_pictures_are_converted_in_bands_without_a_seam(monkeypatch):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (50, 30, 4), dtype=np.uint8), "RGBA")
    picture.info["icc_profile"] = curve_profile(b"RGB ", 1.0)
    whole = to_rgb(picture, 6)
    monkeypatch.setattr(picture_vital, "_BAND_PIXELS", 30 * 7)
    assert to_rgb(picture, 6).tobytes() == whole.tobytes() and whole.size == (50, 30)


# ------------------------------------------------------------------------------------------- pictures and files
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff", ".gif"])
def test_picture_from_path_bytes_and_dict_agree(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    picture().save(path)
    wanted = to_rgb(Image.open(path)).tobytes()
    items = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), Image.open(path)]
    items += [{"bytes": path.read_bytes(), "path": "x.txt"}, {"bytes": None, "path": str(path)}]
    for item in items:
        result = load_media(item)
        assert isinstance(result, Image.Image)
        assert result.tobytes() == wanted


def test_content_decides_not_the_suffix(tmp_path, mp4):
    picture().save(tmp_path / "a.mp4", format="PNG")
    assert isinstance(load_media(tmp_path / "a.mp4"), Image.Image)
    (tmp_path / "b.jpg").write_bytes(mp4.read_bytes())
    assert isinstance(load_media(tmp_path / "b.jpg"), Clip)


def test_sixteen_bit_png_and_tiff_are_scaled(tmp_path):
    ramp = np.array([[0, 128, 129, 32896, 65535]], dtype=np.uint16)
    for name in ("a.png", "a.tiff"):
        Image.fromarray(ramp).save(tmp_path / name)
        assert np.asarray(load_media(tmp_path / name))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_what_is_skipped_of_a_tiff_is_said(tmp_path, caplog):
    first, *rest = animation()
    first.save(tmp_path / "pages.tiff", save_all=True, append_images=rest)
    with Image.open(tmp_path / "pages.tiff") as opened:
        assert load_media(opened).tobytes() == first.tobytes() and opened.tell() == 0
    assert "pages.tiff' holds 5 images, 0 of them previews" in caplog.text and "20x10" in caplog.text


def test_several_tiff_pages_are_a_picture(tmp_path):
    first, *rest = animation()
    first.save(tmp_path / "a.tiff", save_all=True, append_images=rest)
    assert load_media(tmp_path / "a.tiff").tobytes() == first.tobytes()


def test_arrays_and_tensors():
    array = np.asarray(picture())
    chw = array.transpose(2, 0, 1)
    floats = array / 255.0
    for item in (
        array,
        chw,
        torch.tensor(chw),
        torch.tensor(array),
        floats,
        floats.astype(np.float32),
        torch.tensor(chw) / 255,
        array.astype(np.uint16) * 257,
        array[:, ::-1][:, ::-1],
        np.dstack([array, np.full(array.shape[:2], 255, np.uint8)]),
    ):
        assert np.array_equal(np.asarray(load_media(item)), array)
    half = torch.tensor(chw).div(255).to(torch.bfloat16)
    assert np.abs(np.asarray(load_media(half)).astype(int) - array).max() <= 1


def test_gray_arrays():
    gray = np.array([[0, 7], [255, 1]], dtype=np.uint8)
    for item in (gray, gray[..., None], gray[None], torch.tensor(gray)):
        assert np.array_equal(np.asarray(load_media(item))[..., 1], gray)
    assert np.array_equal(np.asarray(load_media(gray > 5))[..., 0], np.where(gray > 5, 255, 0))


def test_loading_never_changes_the_input():
    array = np.random.default_rng(0).random((4, 5, 3))
    before = array.copy()
    load_media(array)
    assert np.array_equal(array, before)
    image = picture().convert("P")
    load_media(image)
    assert image.mode == "P"


def holed(shape, place, value, dtype=np.float64):
    """Black, with one value that is no number."""
    array = np.zeros(shape, dtype)
    array[place] = value
    return array


@pytest.mark.parametrize(
    "item, reason",
    [
        (np.zeros((4, 4, 3), dtype=np.int64), "int64 .*uint8 .*uint16"),
        (np.full((4, 4, 3), 2.0), "from 2 to 2"),
        (holed((4, 5, 3), (1, 2, 0), np.nan), "1 values .*NaN .* row 1, column 2;"),
        (holed((3, 4, 5), (0, 1, 2), np.inf), "row 1, column 2;"),
        (holed((4, 5), (3, 4), -np.inf), "row 3, column 4;"),
        (holed((2, 4, 5, 3), (1, 2, 3, 0), np.nan), "row 2, column 3 of frame 1;"),
        (torch.tensor(holed((3, 4, 5), (0, 1, 2), np.nan)), "row 1, column 2;"),
        ([np.zeros((4, 5, 3)), holed((4, 5, 3), (1, 2, 0), np.nan)], "row 1, column 2;"),
        (Image.fromarray(holed((4, 5), (3, 4), np.nan, np.float32)), "row 3, column 4;"),
        (np.full((4, 4, 3), -1.0), "from -1 to -1"),
        (np.zeros((5, 6, 2), dtype=np.uint8), "channels"),
        (np.zeros((0, 4, 3), dtype=np.uint8), "shape"),
        (np.zeros(5, dtype=np.uint8), "shape"),
        (torch.zeros(1, 1, 1, 3, 3), "shape"),
        (3.5, "<float> "),
        (None, "<NoneType> "),
        ({}, "neither"),
        ({"bytes": None, "path": None}, "neither"),
        ([], "<list of 0> .*frames"),
        (["a.png", "b.png"], "Item 0"),
        ([Image.new("RGB", (2, 2)), Image.new("RGB", (3, 2))], "Frame 1"),
        ([np.zeros((2, 3, 4, 3), np.uint8)], "Item 0"),
        (b"", "empty"),
        (b"hello, I am a text", "(18|46|16) bytes.*PNG"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/secret.ts\n", "(18|46|16) bytes.*PNG"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "(18|46|16) bytes.*PNG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "EPS"),
    ],
    ids=lambda value: value if isinstance(value, str) else "item",
)
def test_bad_items_are_media_errors(item, reason):
    with pytest.raises(MediaError, match=reason):
        load_media(item)


def test_bad_paths_are_media_errors_that_name_the_file(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "notes.txt").write_text("just words\n" * 99)
    cases = {
        "missing.png": "missing.png",
        "empty.png": "empty.png.*0 bytes",
        ".": "folder",
        "notes.txt": "notes.txt.*PNG",
        "a\0b": "opened",
    }
    for name, reason in cases.items():
        with pytest.raises(MediaError, match=reason) as caught:
            load_media(str(tmp_path / name) if name != "." else tmp_path)
        assert tmp_path.name in str(caught.value)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff", "gif"])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_truncated_pictures_are_errors(tmp_path, suffix, share):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(MediaError, match=f"cut.{suffix}"):
        load_media(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_damaged_png_and_closed_image_are_errors(tmp_path):
    path = tmp_path / "a.png"
    picture().save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(MediaError, match="decoded"):
        load_media(bytes(data))
    image = Image.open(path)
    image.close()
    with pytest.raises(MediaError, match="a.png"):
        load_media(image)


def test_decompression_bombs_are_errors(tmp_path, mp4):
    data = io.BytesIO()
    picture().save(data, format="PNG")
    header = b"IHDR" + struct.pack(">II", 20_000, 9_000) + data.getvalue()[24:29]
    (tmp_path / "bomb.png").write_bytes(
        data.getvalue()[:12] + header + struct.pack(">I", zlib.crc32(header)) + data.getvalue()[33:]
    )
    with pytest.raises(MediaError, match="bomb.png.*180000000"):
        load_media(tmp_path / "bomb.png")
    for item in (picture(), mp4):
        with pytest.raises(MediaError, match="max_pixels"):
            load_media(item, max_pixels=100)


def test_a_picture_with_the_sync_byte_of_a_transport_stream_is_a_picture():
    data = io.BytesIO()
    palette = Image.new("P", (8, 8))
    palette.putpalette([0] * 768)
    palette.save(data, format="GIF")
    odd = bytearray(data.getvalue().ljust(600, b"\0"))
    odd[188] = 0x47  # in the palette
    assert video_format(bytes(odd[:512])) is None
    assert isinstance(load_media(bytes(odd)), Image.Image)


# -------------------------------------------------------------------------------------------------- animations
@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_animations_are_clips(tmp_path, suffix):
    first, *rest = animation()
    path = tmp_path / f"a.{suffix}"
    lossless = {"lossless": True} if suffix == "webp" else {}
    first.save(path, save_all=True, append_images=rest, duration=50, **lossless)
    for item in (path, path.read_bytes(), Image.open(path)):
        clip = load_media(item)
        assert isinstance(clip, Clip)
        assert (clip.num_frames, len(clip), clip.width, clip.height) == (5, 5, 20, 10)
        assert clip.fps == pytest.approx(20)
        frames = clip.get_frames([4, 0, 2, 2])
        expected = np.stack([np.asarray(animation()[index]) for index in (4, 0, 2, 2)])
        assert np.abs(frames.astype(int) - expected).max() <= 8  # GIF palettes and WebP's colour space round.


def test_animated_pil_image_keeps_its_position(tmp_path):
    first, *rest = animation()
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest)
    image = Image.open(tmp_path / "a.gif")
    image.seek(3)
    clip = load_media(image)
    assert image.tell() == 3
    image.close()
    assert clip.get_frames([0, 4]).shape == (2, 10, 20, 3)


def test_single_frame_gif_is_a_picture(tmp_path):
    animation()[0].save(tmp_path / "a.gif", save_all=True)
    assert isinstance(load_media(tmp_path / "a.gif"), Image.Image)


def test_animation_without_durations_plays_at_ten_frames_a_second(tmp_path):
    first, *rest = animation()
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest, duration=0)
    assert load_media(tmp_path / "a.gif").fps == pytest.approx(10)


def test_cut_animation_counts_what_is_there(tmp_path):
    rng = np.random.default_rng(0)
    first, *rest = [Image.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8)) for _ in range(6)]
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest)
    data = (tmp_path / "a.gif").read_bytes()
    clip = load_media(data[: int(len(data) * 0.7)])
    assert 2 <= clip.num_frames < 6
    assert clip.get_frames(range(clip.num_frames)).shape == (clip.num_frames, 40, 40, 3)


# ------------------------------------------------------------------------------------------------------- clips
UNINDEXED = [
    ("ts", "mpegts", "libx264"),
    ("mpeg2.ts", "mpegts", "mpeg2video"),
    ("mpg", "mpeg", "mpeg2video"),
    ("vob", "vob", "mpeg2video"),
    ("flv", "flv", "libx264"),
    ("wmv", "asf", "wmv2"),
    ("ogg", "ogg", "libvpx"),
]


@pytest.mark.parametrize("suffix, kind, codec", UNINDEXED)
def test_containers_without_an_index_are_sought_in(tmp_path, monkeypatch, suffix, kind, codec):
    """Few frames are decoded, and they are those that decoding all gives."""
    av = pytest.importorskip("av")
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.bit_rate = 10, 2_000_000
        stream.codec_context.options = QUICK.get(codec, {})
        for _ in range(200):
            noise = np.roll(noise, 1, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        every = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    decoded, count = [], video_decoding_vital._AvSource._decode

    def counting(self, *args):
        for frame in count(self, *args):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(video_decoding_vital._AvSource, "_decode", counting)
    clip = load_media(path)
    assert clip.num_frames == len(every) == 200
    assert len(decoded) < 60
    decoded.clear()
    wanted = [3, 57, 58, 120, 199]
    assert all(np.array_equal(frame, every[i]) for frame, i in zip(clip.get_frames(wanted), wanted, strict=True))
    assert len(decoded) < 100


# --------------------------------------------------------------------------------------------- what would be too much
def test_clips_are_limited_by_the_frame_and_in_total(tmp_path, monkeypatch):
    size = (WIDTH, HEIGHT)
    Image.new("L", size).save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("L", size, 9)])
    Image.new("1", size).save(tmp_path / "a.png", save_all=True, append_images=[Image.new("1", size, 1)])
    with monkeypatch.context() as patch:
        patch.setattr(video_decoding_vital, "MAX_FRAME_PIXELS", WIDTH * HEIGHT - 1)
        for name in ("a.gif", "a.png"):
            with pytest.raises(MediaError, match="96x64.* 6143 pixels"):
                load_media(tmp_path / name)
        assert load_media(Image.new("RGB", size)).size == size  # a picture may be as large
    monkeypatch.setattr(clip_vital, "MAX_TOTAL_BYTES", 12 * WIDTH * HEIGHT * 3)
    clip = load_media(np.zeros((20, HEIGHT, WIDTH, 3), np.uint8))
    assert len(clip.get_frames(range(12))) == 12 and sum(1 for _ in clip.iter_frames(range(20))) == 20
    with pytest.raises(MediaError, match="20 frames .*96x64 "):
        clip.get_frames(range(20))


def test_the_size_of_a_video_is_looked_at_before_it_is_decoded(mp4, monkeypatch):
    monkeypatch.setattr(video_decoding_vital, "MAX_FRAME_PIXELS", WIDTH * HEIGHT - 1)
    for source in ("_DecordSource", "_AvSource"):
        monkeypatch.setattr(video_decoding_vital, source, None)
    with pytest.raises(MediaError, match="96x64.* 6143 pixels"):
        load_media(mp4)


def test_clips_of_arrays_and_lists():
    frames = np.stack([np.asarray(image) for image in animation()])
    for item in (
        frames,
        frames.transpose(0, 3, 1, 2),
        torch.tensor(frames) / 255,
        list(frames),
        animation(),
        tuple(torch.tensor(frames).permute(0, 3, 1, 2)),
    ):
        clip = load_media(item)
        assert isinstance(clip, Clip)
        assert clip.fps == 30
        assert np.array_equal(clip.get_frames([3, 1]), frames[[3, 1]])
        assert load_media(clip) is clip
    assert load_media(frames, fps=8).fps == 8


def test_clip_get_frames_contract():
    clip = load_media(np.arange(6 * 2 * 2 * 3, dtype=np.uint8).reshape(6, 2, 2, 3))
    assert clip.get_frames([]).shape == (0, 2, 2, 3)
    assert clip.get_frames(np.array([5, 5, 0])).dtype == np.uint8
    assert [int(frame[0, 0, 0]) for frame in clip.iter_frames([1, 4])] == [12, 48]
    for bad in ([-1], [6], [0, 99]):
        with pytest.raises(IndexError, match="0 to 5"):
            clip.get_frames(bad)


CONTAINERS = {
    "a.mp4": "libx264",
    "a.mov": "libx264",
    "a.mkv": "libx264",
    "a.webm": "libvpx",
    "a.avi": "mpeg4",
    "a.ts": "libx264",
    "a.mpg": "mpeg1video",
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_gives_the_frames_asked_for(tmp_path, name):
    path = write_video(tmp_path / name, codec=CONTAINERS[name])
    for item in (path, path.read_bytes()):
        clip = load_media(item)
        assert (clip.num_frames, clip.width, clip.height) == (NUM_FRAMES, WIDTH, HEIGHT)
        assert clip.fps == pytest.approx(25, rel=0.05)
        indices = [39, 0, 17, 17, 5, 23]
        levels = shown_levels(clip.get_frames(indices))
        assert np.abs(levels - [gray_level(index) for index in indices]).max() <= 2
        assert clip.get_frames([0])[0, 4, 4, 0] > 240


@pytest.mark.parametrize("name", ["a.webm", "a.mkv"])
def test_a_rate_that_the_time_stamps_belie_is_not_believed(tmp_path, one_decoder, name):
    """A browser's recording: FFmpeg tells 1000 frames a second, for the clock of its time stamps."""
    clip = load_media(write_video(tmp_path / name, codec=CONTAINERS[name], fps=1000, step=40))
    assert clip.num_frames == NUM_FRAMES and clip.fps == pytest.approx(25)


def test_each_decoder_alone_gives_every_frame(mp4, one_decoder):
    clip = load_media(mp4)
    levels = shown_levels(clip.get_frames(range(NUM_FRAMES)))
    assert np.abs(levels - [gray_level(index) for index in range(NUM_FRAMES)]).max() <= 2
    assert one_decoder.title() in type(clip._source).__name__


def test_decoders_agree_on_every_pixel(mp4, monkeypatch):
    frames = []
    for name in ("decord", "av"):
        module = pytest.importorskip(name)
        monkeypatch.setattr(video_decoding_vital, "_decoders", lambda name=name, module=module: {name: module})
        frames.append(load_media(mp4).get_frames([0, 13, 39]))
    assert np.array_equal(*frames)


@pytest.mark.parametrize("size", [(96, 64), (64, 48)])  # decord cannot turn the second.
def test_rotation_metadata_is_applied(tmp_path, size):
    path = rotate_clockwise(write_video(tmp_path / "a.mp4", num_frames=9, size=size), tmp_path / "turned.mp4")
    clip = load_media(path)
    assert (clip.width, clip.height) == size[::-1]
    frame = clip.get_frames([0])[0]
    assert frame[4, -4, 0] > 240  # The white square was top left, and a clockwise turn puts it top right.
    assert frame[4, 4, 0] < 40


def test_truncated_video_counts_what_can_be_decoded(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", options={"movflags": "faststart"})
    data = whole.read_bytes()
    body = data.find(b"mdat")
    (tmp_path / "cut.mp4").write_bytes(data[: body + (len(data) - body) * 2 // 3])
    clip = load_media(tmp_path / "cut.mp4")
    assert 4 <= clip.num_frames < NUM_FRAMES
    levels = shown_levels(clip.get_frames(range(clip.num_frames)))
    assert np.abs(levels - [gray_level(index) for index in range(clip.num_frames)]).max() <= 2


def test_video_cut_between_key_frames_has_no_frames_made_up(tmp_path, mp4):
    clip = load_media(cut_start(mp4, tmp_path / "cut.mp4", packets=3))
    assert clip.num_frames < NUM_FRAMES - 3
    levels = shown_levels(clip.get_frames(range(clip.num_frames)))
    assert (np.diff(levels) > 0).all()
    assert abs(levels[-1] - gray_level(NUM_FRAMES - 1)) <= 2


def test_video_damaged_in_the_middle_is_an_error_when_read(tmp_path):
    data = bytearray(write_video(tmp_path / "whole.mp4", options={"movflags": "faststart"}).read_bytes())
    middle = data.find(b"mdat") + (len(data) - data.find(b"mdat")) // 2
    data[middle : middle + 200] = bytes(200)
    (tmp_path / "holed.mp4").write_bytes(data)
    clip = load_media(tmp_path / "holed.mp4")
    with pytest.raises(MediaError, match="holed.mp4.* frame"):
        clip.get_frames(range(clip.num_frames))
    assert abs(shown_levels(clip.get_frames([2]))[0] - gray_level(2)) <= 2


def test_video_without_frames_or_stream_is_an_error(tmp_path):
    (tmp_path / "header.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + b"\0\0\0\x08mdat")
    with pytest.raises(MediaError, match="header.mp4"):
        load_media(tmp_path / "header.mp4")
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(MediaError, match="sound.mp4"):
        load_media(tmp_path / "sound.mp4")


def test_video_without_a_decoder_says_what_to_install(mp4, monkeypatch):
    monkeypatch.setattr(video_decoding_vital, "_decoders", dict)
    with pytest.raises(MediaError, match="pip install"):
        load_media(mp4)


def test_decord_alone_points_to_pyav(tmp_path, monkeypatch):
    decord = pytest.importorskip("decord")
    path = write_video(tmp_path / "a.ts")
    monkeypatch.setattr(video_decoding_vital, "_decoders", lambda: {"decord": decord})
    with pytest.raises(MediaError, match="pip install av"):
        load_media(path)


def test_missing_decoders_are_not_an_import_error(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "decord", None)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    assert video_decoding_vital._decoders() == {}


# ----------------------------------------------------------------------------------------------------- describe
def test_describe_item(tmp_path):
    picture().save(tmp_path / "a.png")
    assert describe_item("x/cat.png") == "'x/cat.png'"
    assert describe_item(b"abc") == "<3 bytes>"
    assert describe_item(picture()) == "<RGB image 20x12>"
    assert "a.png" in describe_item(Image.open(tmp_path / "a.png"))
    assert describe_item(np.zeros((2, 3))) == "<float64 array [2, 3]>"
    assert describe_item(torch.zeros(2, dtype=torch.uint8)) == "<uint8 array [2]>"
    assert describe_item([1, 2]) == "<list of 2>"
    assert describe_item({"bytes": b"abc", "path": None}) == "<3 bytes>"
    assert describe_item({"bytes": b"abc", "path": "cat.png"}) == "'cat.png'"
    assert describe_item(load_media(np.zeros((2, 4, 4, 3), np.uint8))) == "<uint8 array [2, 4, 4, 3]>"
    assert len(describe_item("data:" + "A" * 10_000)) < 400


# ------------------------------------------------------------------------------------ pictures of phones, broken clips
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_heic_is_read_without_more_ado(tmp_path, mode):
    """In a process of its own: registering the plug-in is not left to the user."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra `cli`")
    picture = Image.radial_gradient("L").resize((96, 64)).convert(mode)
    pillow_heif.from_pillow(picture).save(tmp_path / "IMG_0001.HEIC", quality=95)
    code = (
        "import sys; from modeling_vital.media_vital import load_media; "
        "p = load_media(sys.argv[1]); print(p.mode, p.size, p.getpixel((48, 32))[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "IMG_0001.HEIC")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("RGB (96, 64)")
    expected = np.asarray(load_media(picture))[32, 48, 1]
    assert abs(int(done.stdout.split()[-1]) - int(expected)) < 12


def test_heic_that_was_turned_is_upright_and_too_large_is_refused(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra `cli`")
    picture = Image.new("RGB", (96, 64), "red")
    picture.paste("blue", (0, 0, 48, 64))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: left becomes top
    pillow_heif.from_pillow(picture).save(tmp_path / "turned.heic", quality=95, exif=exif.tobytes())
    found = load_media(tmp_path / "turned.heic")
    assert found.size == (64, 96) and found.getpixel((32, 10))[2] > 200 and found.getpixel((32, 86))[0] > 200
    with pytest.raises(MediaError, match="turned.heic.*64x96"):
        load_media(tmp_path / "turned.heic", max_pixels=1000)


def test_without_its_package_heic_is_refused_with_a_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    with pytest.raises(MediaError, match="HEIC.*pillow-heif"):
        load_media(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))


def _clip_bytes(path, codec, options=None):
    av = pytest.importorskip("av", reason="needs the extra `video`")
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 80, 64, "yuv420p", 12
        stream.codec_context.options = QUICK.get(codec, {})
        for _ in range(100):
            pixels = rng.integers(0, 255, (64, 80, 3), dtype=np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mkv", "libx264", {}),
        ("a.webm", "libvpx", {}),
        ("a.avi", "mpeg4", {}),
        ("a.mp4", "libx264", {"movflags": "faststart"}),
        ("a.gif", None, {}),
    ],
)
def test_a_clip_that_breaks_off_is_read_with_a_warning(tmp_path, caplog, name, codec, options):
    if codec is None:
        rng = np.random.default_rng(0)
        pages = [Image.fromarray(rng.integers(0, 255, (128, 160), dtype=np.uint8)) for _ in range(30)]
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:], duration=40)
        data = (tmp_path / name).read_bytes()
    else:
        data = _clip_bytes(tmp_path / name, codec, options)
    whole = load_media(tmp_path / name)
    assert whole.warning is None and caplog.text == ""
    (tmp_path / f"cut {name}").write_bytes(data[: len(data) // 2])
    clip = load_media(tmp_path / f"cut {name}")
    assert 0.2 * whole.num_frames < clip.num_frames < 0.8 * whole.num_frames
    assert f"cut {name}' breaks off after {clip.duration_s:.1f} s" in clip.warning and clip.warning in caplog.text
    clip.get_frames([0, clip.num_frames - 1])
