"""One image file of the user's own, made a square of pixels without trusting it."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from metatui.utils.text import sanitize

MOST_PIXELS = 89_478_485
"""Of an image as it is stored: what Pillow itself warns of as a decompression bomb."""

_LARGE = 16_000_000
"""Pixels from which on images are decoded one at a time: each step on the way to eight bits may take eight bytes of
every pixel."""

_one_large = threading.Lock()

_REDUCED = 3
"""How many times the wanted size an image is quickly brought down to before the Lanczos filter does the rest."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright that EXIF says was taken otherwise."""


class Unusable(Exception):
    """An image that cannot be shown; `str()` goes on after its name."""


def decoded(data: bytes, size: int, *, rgb: bool) -> NDArray[np.uint8]:
    """The image in `data`, a PNG or JPEG file, as uint8 [3 or 1, size, size], bright as 255.

    Both sides are brought to `size` with the Lanczos filter, so an image that is not square is squeezed and nothing of
    it cut off (as Ravi and Larochelle 2017 and Finn et al. 2017 do with miniImageNet). What is transparent becomes
    white, of an animation the first picture counts, and 16 bits are rounded to 8.

    Raises:
        Unusable: it is damaged, cut short, too large, or something else.
    """
    if not data:
        raise Unusable("is empty")
    try:
        with Image.open(BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Unusable(_too_large(f"{image.width:,}x{image.height:,}"))
            image.draft(None, (_REDUCED * size, _REDUCED * size))
            with _one_large if image.width * image.height > _LARGE else nullcontext():
                image.load()  # here, because EXIF is allowed to be broken and pixels are not
                turn = _UPRIGHT.get(_orientation(image))
                square = _eight_bits(image, rgb=rgb).resize(
                    (size, size), Image.Resampling.LANCZOS, reducing_gap=float(_REDUCED)
                )
    except Unusable:
        raise
    except UnidentifiedImageError:
        known = data.startswith((b"\x89PNG", b"\xff\xd8\xff"))
        raise Unusable("is damaged at its beginning" if known else "is not a PNG or JPEG image") from None
    except Image.DecompressionBombError:
        raise Unusable(_too_large(f"more than {2 * MOST_PIXELS:,}")) from None
    except Exception as error:  # decoders raise whatever they stumble over
        raise Unusable(f"is damaged: {sanitize(str(error), limit=80)}") from None
    pixels = np.asarray(square.transpose(turn) if turn is not None else square)
    return pixels.transpose(2, 0, 1) if rgb else pixels[np.newaxis]


def _too_large(pixels: str) -> str:
    return f"has {pixels} pixels, more than the {MOST_PIXELS:,} that are decoded"


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF that cannot be read says nothing of the picture
        return 1


def _eight_bits(image: Image.Image, *, rgb: bool) -> Image.Image:
    """`image` as eight bits of grey or of each colour."""
    if image.mode.startswith("I"):
        # Pillow's own way from 16 bits to 8 cuts off what is above 255.
        values = np.asarray(image).clip(0, 65535).astype(np.int32)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    elif image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert("RGB" if rgb else "L")
