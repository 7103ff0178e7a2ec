"""Objects in photos, of which large ones are asked about in tiles.

A detector makes a photo fit into a square, and in a photo much larger than that square
small objects would vanish. So it is cut into tiles of the square's size that overlap by
two fifths: an object up to that size lies whole in one of them at least. Put together,
what lies whole in its tile comes before what an edge may have cut.
"""

import dataclasses
import io
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import PIL.Image

from pipelines import _boxes, _images
from pipelines._inputs import Inputs, UnreadableError
from pipelines._sources import Refusal, Row, Source
from serving.errors import ServingError
from serving.servable import SignatureInfo

# What a model may say of the square that it looks at: its side in pixels.
SIDE = "canvas_size"

_OVERLAP = 0.4  # share of a tile
_LARGE = 2  # times the square: larger photos are cut into tiles
_ROWS = 16  # tiles a request
_SAME = 0.5  # shared over joint area: two boxes of one object
_INSIDE = 0.6  # share of a box that lies in another one: a part of the same object
_ORIENTATION = 0x0112  # EXIF's tag; 1 is upright
_EDGE = 0.03  # share of a tile: what ends so near to its edge may be cut

Outputs = dict[str, np.ndarray]  # without the batch axis
Frame = tuple[int, int, int, int]  # top, left, bottom, right in pixels
Told = Refusal | tuple[Row, Outputs, PIL.Image.Image]


@dataclasses.dataclass(frozen=True)
class Detector:
    """A model that finds objects in images.

    Attributes:
        ask: Runs one batch, alias to array in and out.
        signature: Takes an image, gives boxes.
        tile: Side of a tile in pixels; 0 for whole photos; None for tiles of the
            model's square in photos of more than twice its size.
        note: Told once what is changed on the way, and of tiles.
    """

    ask: Callable[[Inputs], Mapping[str, np.ndarray]]
    signature: SignatureInfo
    tile: int | None
    note: _images.Note

    def answers(self, source: Source) -> Iterator[Told]:
        """Yields what is found in each image file, or why it cannot be asked about."""
        for name in source.files:
            try:
                encoded = (source.root / name).read_bytes()
                image = _images.decode(encoded, "RGB", self.note)
                yield Row(name, name, None, {}), self.find(name, encoded, image), image
            except UnreadableError as error:
                yield Refusal(name, None, str(error))
            except OSError as error:
                reason = f"The file cannot be read: {error.strerror or error}."
                yield Refusal(name, None, reason)
            except ServingError as error:
                yield Refusal(name, None, f"The model refused it: {error}")

    def find(self, name: str, encoded: bytes, image: PIL.Image.Image) -> Outputs:
        """Returns the outputs for one image, in tiles where it is large.

        Args:
            name: What it is called in messages.
            encoded: The file.
            image: The same, decoded and upright.
        """
        size = image.height, image.width
        side = self.tile
        if not side or max(size) <= side:
            # A file is sent as it is, unless the model would see it lying.
            (outputs,) = self._ask([encoded if _is_upright(encoded) else _png(image)])
            fits = side == 0 or max(size) <= _LARGE * int(outputs.get(SIDE, max(size)))
            if side is not None or fits:
                return outputs
            side = int(outputs[SIDE])
        places = frames(*size, side)
        self.note(
            f"tiles of {name}",
            f"{name} has {image.width}x{image.height} pixels: asked about in "
            f"{len(places)} tiles of up to {side}x{side} that overlap. TILE=0 asks "
            "about the whole, TILE=<pixels> in other tiles.",
        )
        parts: list[Outputs] = []
        for start in range(0, len(places), _ROWS):
            cut = [
                _png(image.crop((left, top, right, bottom)))
                for top, left, bottom, right in places[start : start + _ROWS]
            ]
            parts += self._ask(cut)
        return merge(parts, places, size)

    def _ask(self, files: Sequence[bytes]) -> list[Outputs]:
        """The outputs for images of one size."""
        alias = _images.image_alias(self.signature)
        if alias is None:
            raise ValueError("The signature takes no image.")
        info = self.signature.inputs[alias]
        images = [_images.from_image(file, alias, info, self.note) for file in files]
        answer = self.ask({alias: np.stack(images)})
        return [
            {name: value[row] for name, value in answer.items()}
            for row in range(len(files))
        ]


def frames(height: int, width: int, side: int) -> list[Frame]:
    """Returns where the tiles of a photo lie.

    Args:
        height: Of the photo, in pixels.
        width: Likewise.
        side: Of a tile. All are of one size, which is smaller only where the photo is.
    """
    return [
        (top, left, top + min(side, height), left + min(side, width))
        for top in _starts(height, side)
        for left in _starts(width, side)
    ]


def merge(
    parts: Sequence[Outputs], places: Sequence[Frame], size: tuple[int, int]
) -> Outputs:
    """Returns the objects of all tiles in shares of the photo, each of them once.

    Args:
        parts: The outputs for each tile.
        places: Where the tiles lie, in pixels of the photo.
        size: Height and width of the photo.

    Returns:
        `detection_boxes` [objects, 4], `detection_scores`, `detection_labels`
        [objects] object and `num_detections`; the highest score first.
    """
    found, cut = [], []
    for outputs, (top, left, bottom, right) in zip(parts, places, strict=True):
        one = _boxes.from_outputs(outputs)
        tile = np.array([bottom - top, right - left] * 2)
        inner = np.array([top > 0, left > 0, bottom < size[0], right < size[1]])
        near = np.concatenate([one.boxes[:, :2], 1 - one.boxes[:, 2:]], 1) < _EDGE
        cut.append((near & inner).any(axis=1))
        found.append(
            (one.boxes * tile + [top, left, top, left], one.scores, one.labels)
        )
    boxes = np.concatenate([boxes for boxes, _, _ in found])
    scores = np.concatenate([scores for _, scores, _ in found])
    labels = np.array([x for _, _, names in found for x in names], object)
    kept = _distinct(boxes, scores, labels, np.concatenate(cut))
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    return {
        _boxes.BOXES: boxes[kept] / np.tile(size, 2),
        _boxes.SCORES: scores[kept],
        _boxes.LABELS: labels[kept],
        _boxes.COUNT: np.array(len(kept)),
    }


def _distinct(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, cut: np.ndarray
) -> np.ndarray:
    """Positions of those that are not another one's second sight or part of it."""
    kept: list[int] = []
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for index in np.lexsort((-scores, cut)):
        others = np.array(kept, int)
        upper = np.maximum(boxes[index, :2], boxes[others, :2])
        lower = np.minimum(boxes[index, 2:], boxes[others, 2:])
        shared = np.clip(lower - upper, 0, None).prod(axis=1)
        joint = np.maximum(areas[index] + areas[others] - shared, 1e-9)
        same = shared / joint > _SAME
        if cut[index]:
            same |= shared > _INSIDE * areas[index]
        if not same.any():
            kept.append(int(index))
    return np.array(kept, int)


def _starts(length: int, side: int) -> list[int]:
    """The first pixels of tiles that cover a length, evenly."""
    if length <= side:
        return [0]
    step = max(side * (1 - _OVERLAP), 1)
    count = int(np.ceil((length - side) / step)) + 1
    return [round(start) for start in np.linspace(0, length - side, count)]


def _is_upright(encoded: bytes) -> bool:
    with PIL.Image.open(io.BytesIO(encoded)) as image:
        return bool(image.getexif().get(_ORIENTATION, 1) == 1)


def _png(image: PIL.Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "png", compress_level=1)
    return file.getvalue()
