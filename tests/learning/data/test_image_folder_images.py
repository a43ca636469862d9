"""Tests of decoding all kinds of PNG and JPEG files, and of refusing other files."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from metatui.learning.data.image_folder.images import MAX_PIXELS, UnusableImageError, decode_image
from tests.folder_files import chunk, encode_image, pattern, png

RED = (200, 10, 30)


def plain(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (20, 20), colour)  # type: ignore[arg-type]


def indexed(**options: Any) -> bytes:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, *RED])
    return encode_image(image, **options)


def grey_16(value: int) -> bytes:
    return encode_image(Image.fromarray(np.full((20, 20), value, np.uint16)))


def colours_16(*values: int) -> bytes:
    row = b"\0" + struct.pack(">3H", *values) * 20
    return png(20, 20, depth=16, rows=row * 20)


def animated() -> bytes:
    return encode_image(plain("RGB", RED), save_all=True, append_images=[plain("RGB", (0, 0, 255))])


KINDS: dict[str, tuple[Callable[[], bytes], tuple[int, int, int]]] = {
    "colours": (lambda: encode_image(plain("RGB", RED)), RED),
    "grey": (lambda: encode_image(plain("L", 77)), (77, 77, 77)),
    "black and white": (lambda: encode_image(plain("1", 1)), (255, 255, 255)),
    "a palette": (indexed, RED),
    "a palette with a transparent colour": (lambda: indexed(transparency=1), (255, 255, 255)),
    "a palette with a half-transparent colour": (lambda: indexed(transparency=b"\xff\x80"), (227, 132, 142)),
    "a transparent colour": (lambda: encode_image(plain("RGB", RED), transparency=RED), (255, 255, 255)),
    "alpha, opaque": (lambda: encode_image(plain("RGBA", (*RED, 255))), RED),
    "alpha, half": (lambda: encode_image(plain("RGBA", (*RED, 128))), (227, 132, 142)),
    "alpha, transparent": (lambda: encode_image(plain("RGBA", (*RED, 0))), (255, 255, 255)),
    "grey with alpha": (lambda: encode_image(plain("LA", (0, 128))), (127, 127, 127)),
    "16 bits of grey": (lambda: grey_16(100 * 257 + 100), (100, 100, 100)),
    "16 bits of dark grey": (lambda: grey_16(300), (1, 1, 1)),
    "16 bits of white": (lambda: grey_16(65535), (255, 255, 255)),
    "16 bits of colours": (lambda: colours_16(200 * 257, 10 * 257, 30 * 257), RED),
    "an animation": (animated, RED),
    "JPEG": (lambda: encode_image(plain("RGB", RED), "JPEG", quality=95), RED),
    "JPEG, progressive": (lambda: encode_image(plain("RGB", RED), "JPEG", quality=95, progressive=True), RED),
    "JPEG, grey": (lambda: encode_image(plain("L", 77), "JPEG", quality=95), (77, 77, 77)),
    "JPEG, CMYK": (lambda: encode_image(plain("CMYK", (0, 255, 255, 55)), "JPEG", quality=95), (200, 0, 0)),
    "JPEG, two images": (
        lambda: encode_image(plain("RGB", RED), "MPO", save_all=True, append_images=[plain("L", 0)]),
        RED,
    ),
    "JPEG, invalid EXIF": (
        lambda: encode_image(plain("RGB", RED), "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff"),
        RED,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_to_rgb(kind: str) -> None:
    make, colour = KINDS[kind]
    pixels = decode_image(make(), 16, rgb=True)
    assert pixels.shape == (3, 16, 16)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.array(colour)[:, None, None]).max() <= (3 if "JPEG" in kind else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_to_grey(kind: str) -> None:
    make, (red, green, blue) = KINDS[kind]
    pixels = decode_image(make(), 8, rgb=False)
    assert pixels.shape == (1, 8, 8)
    assert np.abs(pixels.astype(int) - (0.299 * red + 0.587 * green + 0.114 * blue)).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, kind: str) -> None:
    image = Image.fromarray(np.arange(40 * 24 * 3, dtype=np.int64).reshape(40, 24, 3).astype(np.uint8) // 2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode_image(image, kind, exif=exif, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}))
    with Image.open(io.BytesIO(data)) as opened:
        upright = encode_image(ImageOps.exif_transpose(opened))
    assert np.abs(decode_image(data, 24, rgb=True).astype(int) - decode_image(upright, 24, rgb=True)).max() <= 2


def test_non_square_images_are_squeezed() -> None:
    wide = Image.new("RGB", (90, 10), "red")
    wide.paste("blue", (45, 0, 90, 10))
    red, green, blue = decode_image(encode_image(wide), 16, rgb=True).astype(int)
    assert red[:, :6].min() > 250
    assert red[:, 10:].max() < 5
    assert blue[:, 10:].min() > 250
    assert green.max() < 5


def test_large_photographs_match_exact_resizing() -> None:
    large = pattern(1).resize((1200, 900), Image.Resampling.BICUBIC)
    quick = decode_image(encode_image(large, "JPEG", quality=95), 32, rgb=True).astype(int)
    exact = np.asarray(large.resize((32, 32), Image.Resampling.LANCZOS)).transpose(2, 0, 1).astype(int)
    assert np.abs(quick - exact).max() <= 6


def long_text() -> bytes:
    return chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(2 * PngImagePlugin.MAX_TEXT_CHUNK)))


GOOD = encode_image(pattern(2))
PHOTOGRAPH = encode_image(pattern(2), "JPEG")

BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "is empty"),
    "text": (lambda: b"not an image at all", "is not a PNG or JPEG image"),
    "a web page": (lambda: b"<!DOCTYPE html><html>404</html>" * 50, "is not a PNG or JPEG image"),
    "GIF": (lambda: encode_image(pattern(2), "GIF"), "is not a PNG or JPEG image"),
    "BMP": (lambda: encode_image(pattern(2), "BMP"), "is not a PNG or JPEG image"),
    "TIFF": (lambda: encode_image(pattern(2), "TIFF"), "is not a PNG or JPEG image"),
    "zeros": (lambda: bytes(1000), "is not a PNG or JPEG image"),
    "PNG truncated in its header": (lambda: GOOD[:20], "is damaged"),
    "PNG truncated after its header": (lambda: GOOD[:40], "is damaged near its start"),
    "PNG truncated in its pixels": (lambda: GOOD[: len(GOOD) // 2], "is damaged"),
    "JPEG truncated in its header": (lambda: PHOTOGRAPH[:200], "is damaged"),
    "JPEG truncated in its pixels": (lambda: PHOTOGRAPH[: len(PHOTOGRAPH) - 200], "is damaged: "),
    "PNG without pixels": (lambda: png(0, 0), "is damaged"),
    "a bomb": (lambda: png(12_000, 12_000), f"has 12,000x12,000 pixels, more than the allowed {MAX_PIXELS:,}"),
    "a large bomb": (lambda: png(2**31 - 1, 2**31 - 1), "pixels, more than the"),
    "a bomb of text": (lambda: png(20, 20, more=long_text(), rows=bytes(61 * 20)), "is damaged"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # the cache ignores it too
def test_unusable_files_are_named(kind: str) -> None:
    make, said = BAD[kind]
    with pytest.raises(UnusableImageError) as caught:
        decode_image(make(), 16, rgb=True)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([GOOD, PHOTOGRAPH]), st.data())
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_decoded_or_refused(good: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(place + 1, len(good)))
    with contextlib.suppress(UnusableImageError):
        assert decode_image(good[:place] + bytes([byte]) + good[place + 1 : cut], 16, rgb=True).shape == (3, 16, 16)
