"""Image codec: pixels against straightforward references, and bytes that are no honest image."""

import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from server.codecs import CodecLimits, ImageCodec
from server.errors import EmptyInput, PayloadTooLarge, UndecodableInput
from server.manifest import ImageCodecSpec


def codec(limits: CodecLimits | None = None, **spec: object) -> ImageCodec:
    return ImageCodec(ImageCodecSpec.model_validate({"height": 4, "width": 6, **spec}), limits)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(width: int = 6, height: int = 4) -> Image.Image:
    noise = np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def pixels(content: bytes, used: ImageCodec | None = None) -> NDArray[np.float32]:
    array = (used or codec()).encode(content).inputs["pixels"]
    assert array.dtype == np.float32
    return array.astype(np.float32)


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_that_declares(width: int, height: int) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(b"\0" * 64))
    return b"\x89PNG\r\n\x1a\n" + header + body + png_chunk(b"IEND", b"")


def test_pixels_are_channels_first_from_zero_to_one() -> None:
    image = picture()

    array = pixels(encoded(image))

    assert array.shape == (1, 3, 4, 6)
    assert array.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(array[0], np.asarray(image).transpose(2, 0, 1) / 255, atol=1e-6)


def test_each_channel_is_normalised_by_its_own_statistics() -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    plain = pixels(encoded(picture()))

    normalised = pixels(encoded(picture()), codec(mean=mean, std=std))

    np.testing.assert_allclose(normalised[0], [(plain[0, c] - mean[c]) / std[c] for c in range(3)], atol=1e-6)


def test_grey_model_gets_one_channel_of_luminance() -> None:
    image = picture()

    array = pixels(encoded(image), codec(mode="L", mean=(0.5,), std=(0.5,)))

    assert array.shape == (1, 1, 4, 6)
    luminance = np.asarray(image, np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(array[0, 0], (luminance / 255 - 0.5) / 0.5, atol=0.01)


@pytest.mark.parametrize("resample", ["nearest", "box", "bilinear", "bicubic"])
def test_image_is_resized_with_the_named_filter(resample: str) -> None:
    image = picture(31, 17)
    expected = image.resize((6, 4), Image.Resampling[resample.upper()])

    array = pixels(encoded(image), codec(resample=resample))

    np.testing.assert_allclose(array[0], np.asarray(expected).transpose(2, 0, 1) / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 100})]
)
def test_every_format_gives_the_same_picture(kind: str, options: dict[str, object]) -> None:
    smooth = Image.linear_gradient("L").resize((64, 64)).convert("RGB")

    array = pixels(encoded(smooth, kind, **options))

    np.testing.assert_allclose(array, pixels(encoded(smooth)), atol=0.02)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_first_of_several_frames_counts(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue", "lime")]

    content = encoded(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )

    np.testing.assert_allclose(pixels(content)[0, :, 0, 0], [1, 0, 0], atol=0.01)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    image = Image.new("RGBA", (6, 4), (0, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 128))

    first_row = pixels(encoded(image), codec(mode=mode, resample="nearest"))[0, 0, 0]

    np.testing.assert_allclose(first_row[:3], [0, 0.5, 1], atol=0.01)


def test_transparent_palette_entry_is_laid_on_white() -> None:
    image = Image.new("P", (6, 4), 1)
    image.putpalette([0, 255, 0, 255, 0, 0])
    image.putpixel((0, 0), 0)

    array = pixels(encoded(image, transparency=b"\x00\xff"), codec(resample="nearest"))

    assert array[0, :, 0, 0].tolist() == [1, 1, 1]
    assert array[0, :, 1, 1].tolist() == [1, 0, 0]


def test_grey_with_alpha_is_laid_on_white() -> None:
    assert pixels(encoded(Image.new("LA", (6, 4), (0, 0))), codec(mode="L")).min() == 1


def test_palette_is_looked_up() -> None:
    image = Image.new("P", (6, 4), 1)
    image.putpalette([0, 0, 0, 0, 0, 255])

    assert pixels(encoded(image, "GIF"))[0, :, 0, 0].tolist() == [0, 0, 1]


def test_sixteen_bit_grey_keeps_its_shades() -> None:
    ramp = np.linspace(0, 65535, 24).round().astype(np.uint16).reshape(4, 6)

    array = pixels(encoded(Image.fromarray(ramp)), codec(mode="L"))

    np.testing.assert_allclose(array[0, 0], ramp / 65535, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("mode", ["1", "CMYK"])
def test_black_is_black_in_rarer_modes(mode: str) -> None:
    image = Image.new("RGB", (6, 4), "black").convert(mode)

    assert pixels(encoded(image, "JPEG" if mode == "CMYK" else "PNG")).max() < 0.01


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    stored = picture(6, 4)
    exif = Image.Exif()
    exif[0x0112] = orientation
    # What a viewer shows, by the standard's own words: where row 0 and column 0 of the stored pixels lie.
    rows = np.asarray(stored)
    shown = {
        1: rows,
        2: rows[:, ::-1],
        3: rows[::-1, ::-1],
        4: rows[::-1],
        5: rows.transpose(1, 0, 2),
        6: rows[::-1].transpose(1, 0, 2),
        7: rows[::-1, ::-1].transpose(1, 0, 2),
        8: rows[:, ::-1].transpose(1, 0, 2),
    }[orientation]

    array = pixels(encoded(stored, exif=exif), codec(height=shown.shape[0], width=shown.shape[1]))

    np.testing.assert_allclose(array[0], shown.transpose(2, 0, 1) / 255, atol=1e-6)


def test_no_bytes_are_an_empty_input() -> None:
    with pytest.raises(EmptyInput):
        codec().encode(b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6])
def test_truncated_image_is_undecodable(kind: str, share: float) -> None:
    content = encoded(picture(64, 64), kind)

    with pytest.raises(UndecodableInput, match="PNG, JPEG, WEBP, GIF, BMP"):
        codec().encode(content[: max(1, int(len(content) * share))])


def test_other_formats_are_refused_even_where_pillow_reads_them() -> None:
    for kind in ("TIFF", "PPM", "ICO", "EPS"):
        with pytest.raises(UndecodableInput):
            codec().encode(encoded(picture(16, 16), kind))


def test_image_bomb_is_refused_by_its_header() -> None:
    bomb = png_that_declares(50_000, 50_000)

    assert len(bomb) < 200
    with pytest.raises(PayloadTooLarge, match=str(CodecLimits().max_image_pixels)):
        codec().encode(bomb)


def test_pixels_are_counted_before_they_are_decoded() -> None:
    # 400 pixels declared, hardly any there: the size is refused although decoding would fail.
    with pytest.raises(PayloadTooLarge, match="20 x 20") as refused:
        codec(CodecLimits(max_image_pixels=399)).encode(png_that_declares(20, 20))

    assert refused.value.metadata == {"max_pixels": "399"}


def test_image_of_exactly_the_limit_passes() -> None:
    assert pixels(encoded(picture(20, 20)), codec(CodecLimits(max_image_pixels=400))).shape == (1, 3, 4, 6)


def test_limit_above_the_librarys_own_still_refuses_a_bomb() -> None:
    with pytest.raises(PayloadTooLarge, match=r"at most 178956970 "):
        codec(CodecLimits(max_image_pixels=10**12)).encode(png_that_declares(50_000, 50_000))


def test_webp_that_declares_a_huge_canvas_is_refused() -> None:
    content = bytearray(encoded(Image.new("RGB", (8, 8)), "WEBP", lossless=True))
    (bits,) = struct.unpack_from("<I", content, 21)
    struct.pack_into("<I", content, 21, (bits & ~0x0FFFFFFF) | 16382 | 16382 << 14)

    with pytest.raises(PayloadTooLarge):
        codec().encode(bytes(content))


def test_gif_frame_larger_than_its_screen_is_refused() -> None:
    content = bytearray(encoded(Image.new("P", (8, 8)), "GIF"))
    descriptor = content.index(b",\0\0\0\0\x08\0\x08\0")
    struct.pack_into("<HH", content, descriptor + 5, 65535, 65535)

    with pytest.raises(PayloadTooLarge):
        codec().encode(bytes(content))


def test_many_frames_cost_no_more_than_the_first() -> None:
    frames = [picture(64, 64).rotate(angle) for angle in range(40)]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    whole = len(content)

    # Cut within the later frames, the first still decodes: nothing beyond it is looked at.
    np.testing.assert_array_equal(pixels(content[: whole // 2]), pixels(content))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_make_the_pixels_unreadable() -> None:
    broken = encoded(picture(), "JPEG", exif=b"Exif\0\0" + b"II*\0\xff\xff\xff\x7f")

    np.testing.assert_allclose(pixels(broken), pixels(encoded(picture(), "JPEG")))


def test_odd_images_leave_nothing_in_the_warning_registry() -> None:
    # In a process of its own: the test runner replaces the filters that the module sets.
    script = """
import sys
from PIL import Image
from server.codecs import ImageCodec
from server.errors import PayloadTooLarge
from server.manifest import ImageCodecSpec
codec = ImageCodec(ImageCodecSpec(height=4, width=6))
for content in sys.argv[1:]:
    try:
        codec.encode(bytes.fromhex(content))
    except PayloadTooLarge:
        continue
    raise SystemExit("not refused")
raise SystemExit(len([key for key in getattr(Image, "__warningregistry__", {}) if key != "version"]))
"""
    contents = [png_that_declares(10_000, height).hex() for height in (9_000, 9_001, 9_002)]

    done = subprocess.run([sys.executable, "-c", script, *contents], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_threads_share_one_codec() -> None:
    shared = codec()
    contents = [encoded(Image.new("RGB", (50, 50), (shade, 0, 0))) for shade in range(64)]

    with ThreadPoolExecutor(4) as pool:
        shades = list(pool.map(lambda content: float(pixels(content, shared)[0, 0, 0, 0]) * 255, contents))

    np.testing.assert_allclose(shades, range(64), atol=1e-3)


MAGIC = (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\x20\0\0\0WEBPVP8 ", b"BM")


@given(magic=st.sampled_from(MAGIC), rest=st.binary(max_size=200))
def test_random_bytes_are_refused_by_name(magic: bytes, rest: bytes) -> None:
    try:
        array = pixels(magic + rest)
    except (EmptyInput, UndecodableInput, PayloadTooLarge):
        return
    assert array.shape == (1, 3, 4, 6)


IMAGES = [encoded(picture(16, 16), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP")]


@given(content=st.sampled_from(IMAGES), data=st.data())
def test_flipped_bytes_give_pixels_or_a_named_refusal(content: bytes, data: st.DataObject) -> None:
    flipped = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        flipped[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        array = pixels(bytes(flipped))
    except (UndecodableInput, PayloadTooLarge):
        return
    assert np.isfinite(array).all()
