"""Decoding of one untrusted image file into a square of pixels."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from metatui.utils.text import sanitize

MAX_PIXELS = 89_478_485
"""Maximum number of pixels in an image file. If there are more, Pillow warns about a decompression bomb."""

_LARGE = 16_000_000
"""Images with more pixels than this are decoded one at a time, because conversion may need eight bytes per pixel."""

_one_large = threading.Lock()

_REDUCED = 3
"""A fast method first reduces images to this multiple of the final size. The Lanczos filter then reduces them to the
final size."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that turns an image upright, for each EXIF orientation of the image."""


class UnusableImageError(Exception):
    """An image that cannot be used. The message completes a sentence that begins with the image's name."""


def decode_image(data: bytes, size: int, *, rgb: bool) -> NDArray[np.uint8]:
    """Decode a PNG or JPEG file to uint8 [3 or 1, size, size], in which white is 255.

    Both sides are resized to `size` with the Lanczos filter, so a non-square image is squeezed and not cropped (as Ravi
    and Larochelle 2017 and Finn et al. 2017 do with miniImageNet). Transparency becomes white, an animation is reduced
    to its first frame, and 16-bit values are rounded to 8 bits.

    Raises:
        UnusableImageError: if the file is damaged, truncated, too large, or of another type.
    """
    if not data:
        raise UnusableImageError("is empty")
    try:
        with Image.open(BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnusableImageError(_too_large(f"{image.width:,}x{image.height:,}"))
            image.draft(None, (_REDUCED * size, _REDUCED * size))
            with _one_large if image.width * image.height > _LARGE else nullcontext():
                image.load()  # before EXIF is read, because damaged EXIF is ignored and damaged pixels are not
                turn = _UPRIGHT.get(_orientation(image))
                square = _eight_bits(image, rgb=rgb).resize(
                    (size, size), Image.Resampling.LANCZOS, reducing_gap=float(_REDUCED)
                )
    except UnusableImageError:
        raise
    except UnidentifiedImageError:
        known = data.startswith((b"\x89PNG", b"\xff\xd8\xff"))
        raise UnusableImageError("is damaged near its start" if known else "is not a PNG or JPEG image") from None
    except Image.DecompressionBombError:
        raise UnusableImageError(_too_large(f"more than {2 * MAX_PIXELS:,}")) from None
    except Exception as error:  # decoders raise many kinds of errors
        raise UnusableImageError(f"is damaged: {sanitize(str(error), limit=80)}") from None
    pixels = np.asarray(square.transpose(turn) if turn is not None else square)
    return pixels.transpose(2, 0, 1) if rgb else pixels[np.newaxis]


def is_square(data: bytes) -> bool:
    """Return whether the image in a valid PNG or JPEG file is as wide as it is high."""
    with Image.open(BytesIO(data), formats=("PNG", "JPEG")) as image:
        return image.width == image.height


def _too_large(pixels: str) -> str:
    return f"has {pixels} pixels, more than the allowed {MAX_PIXELS:,}"


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # unreadable EXIF does not affect the pixels
        return 1


def _eight_bits(image: Image.Image, *, rgb: bool) -> Image.Image:
    """Convert an image to eight bits per channel, with one grey channel or three colour channels."""
    if image.mode.startswith("I"):
        # Pillow's own conversion from 16 bits to 8 clips values above 255.
        values = np.asarray(image).clip(0, 65535).astype(np.int32)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    elif image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert("RGB" if rgb else "L")
