"""One's own image files, of any kind that Pillow knows."""

import io
import pathlib

import numpy as np
import PIL.Image

# Larger images are stored with so long a longer side: no network here sees more.
_LARGEST = 2048  # pixels


class UnreadableError(Exception):
    """An image cannot be read; says why."""


def decode(path: pathlib.Path) -> PIL.Image.Image:
    """Returns the image in 8-bit colours, whatever it is stored as.

    Raises:
        UnreadableError: It is no image, or damaged.
    """
    try:
        with PIL.Image.open(path) as file:
            if file.mode.startswith("I"):  # 16-bit grey, which `convert` would clip
                high_bytes = (np.asarray(file).astype(np.int64) >> 8).clip(0, 255)
                return PIL.Image.fromarray(high_bytes.astype(np.uint8)).convert("RGB")
            return file.convert("RGB")
    except PIL.UnidentifiedImageError as error:
        raise UnreadableError("no image of a known kind") from error
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise UnreadableError(str(error).rstrip(".")) from error


def stored(path: pathlib.Path) -> tuple[bytes, tuple[int, int], float]:
    """Returns what is to be kept of an image that can be decoded.

    Args:
        path: Of the file.

    Returns:
        PNG or JPEG: the file itself where it is one of 8-bit grey or colours; its
        height and width, and how many times those of the file they are, 1 at most.
    """
    image = decode(path)
    with PIL.Image.open(path) as file:
        as_it_is = file.format in ("JPEG", "PNG") and file.mode in ("RGB", "L")
    largest = max(image.size)
    if as_it_is and largest <= _LARGEST:
        return path.read_bytes(), (image.height, image.width), 1.0
    scale = min(_LARGEST / largest, 1.0)
    if scale < 1:
        size = [max(round(side * scale), 1) for side in image.size]
        image = image.resize(size, PIL.Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    image.save(file, "png", compress_level=1)
    return file.getvalue(), (image.height, image.width), scale
