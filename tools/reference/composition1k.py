"""Published composition of the test set, pixel by pixel in Python."""

import math

from PIL import Image


def composite(foreground: Image.Image, alpha: Image.Image, background: Image.Image) -> Image.Image:
    """RGB foreground and alpha over an RGB background of any size.

    The alpha is grey or colour, of the foreground's size.
    """
    width, height = foreground.size
    back_width, back_height = background.size
    width_ratio, height_ratio = width / back_width, height / back_height
    ratio = width_ratio if width_ratio > height_ratio else height_ratio
    if ratio > 1:
        size = math.ceil(back_width * ratio), math.ceil(back_height * ratio)
        background = background.resize(size, Image.BICUBIC)
    result = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(width):
            value = alpha.getpixel((x, y))
            value = value[0] if isinstance(value, tuple) else value
            a = value / 255
            front, back = foreground.getpixel((x, y)), background.getpixel((x, y))
            result.putpixel((x, y), tuple(int(a * f + (1 - a) * b) for f, b in zip(front, back, strict=True)))
    return result
