"""Objects that a model found in an image: as text for a person, and as a picture.

Any signature will do whose outputs are `detection_boxes` [most, 4] for each image, as
[ymin, xmin, ymax, xmax] in shares of its height and width, and `detection_scores`
[most]; with `num_detections`, and with `detection_labels` or `detection_classes`.
"""

import colorsys
import dataclasses
import pathlib
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from savedmodels.errors import MaaskitError, UsageError
from serving.servable import SignatureInfo

BOXES, SCORES = "detection_boxes", "detection_scores"
LABELS, CLASSES, COUNT = "detection_labels", "detection_classes", "num_detections"

SHOWN_SCORE = 0.3  # objects of lower scores are counted only
_LISTED = 20  # objects of one image that are told one by one
_LEAST_FONT = 10  # pixels: smaller is no longer read
_ENDINGS = (".png", ".jpg", ".jpeg")


@dataclasses.dataclass(frozen=True)
class Detections:
    """What was found in one image, the best one first.

    Attributes:
        boxes: [objects, 4] float, [ymin, xmin, ymax, xmax], 0 to 1.
        scores: [objects] float.
        labels: [objects] text.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)

    def at_least(self, score: float) -> "Detections":
        """Returns those with this score or a higher one."""
        return self.take(np.flatnonzero(self.scores >= score))

    def take(self, chosen: np.ndarray) -> "Detections":
        """Returns those at some positions, in their order."""
        labels = [self.labels[index] for index in chosen]
        return Detections(self.boxes[chosen], self.scores[chosen], labels)


def are_given(outputs: Mapping[str, object]) -> bool:
    """Whether these outputs, or those of a signature, are boxes with scores."""
    return BOXES in outputs and SCORES in outputs


def from_outputs(outputs: Mapping[str, np.ndarray]) -> Detections:
    """Returns the objects among the outputs for one image.

    Args:
        outputs: Alias to value, without the batch axis; see the module's docstring.
    """
    scores = np.asarray(outputs[SCORES], np.float64)
    count = int(outputs[COUNT]) if COUNT in outputs else int((scores > 0).sum())
    names = outputs.get(LABELS, outputs.get(CLASSES, np.full(len(scores), "object")))
    labels = [
        name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
        for name in np.asarray(names)[:count].tolist()
    ]
    return Detections(
        np.asarray(outputs[BOXES], np.float64)[:count], scores[:count], labels
    )


def text(key: object, outputs: Mapping[str, np.ndarray]) -> str:
    """Returns what was found in one image, over several lines."""
    found = from_outputs(outputs)
    shown = found.at_least(SHOWN_SCORE)
    lines = [f"{key}: {_counted(shown)}"]
    if len(shown):
        width = max(map(len, [*shown.labels[:_LISTED], "label"]))
        lines += ["", f"  {'label':>{width}}   score    top   left bottom  right"]
    for label, score, box in list(
        zip(shown.labels, shown.scores, shown.boxes, strict=True)
    )[:_LISTED]:
        edges = " ".join(f"{edge:6.3f}" for edge in box)
        lines.append(f"  {label:>{width}}  {score:6.4f} {edges}")
    if len(shown) > _LISTED:
        lines.append(f"  and {len(shown) - _LISTED:,} more")
    if len(found) > len(shown):
        lower = len(found) - len(shown)
        lines.append(f"  {lower:,} with scores below {SHOWN_SCORE} left out")
    return "\n".join(lines)


def line(key: object, outputs: Mapping[str, np.ndarray]) -> str:
    """Returns the same on one line."""
    shown = from_outputs(outputs).at_least(SHOWN_SCORE)
    best = [
        f"{label} {score:.2f}"
        for label, score in list(zip(shown.labels, shown.scores, strict=True))[:5]
    ]
    more = ["..."] if len(shown) > len(best) else []
    return "  ".join([f"{key}", _counted(shown), *best, *more])


def check_output(path: pathlib.Path, signature: SignatureInfo) -> None:
    """Raises UsageError unless boxes can be drawn into a file of that name."""
    if not are_given(signature.outputs):
        raise UsageError(
            f"There are no boxes to draw. Expected a model whose answers hold "
            f"`{BOXES}` and `{SCORES}`. Received: {', '.join(signature.outputs)}."
        )
    if path.suffix.lower() not in _ENDINGS:
        raise UsageError(
            f"The ending of the output chooses its format. Expected "
            f"{' or '.join(_ENDINGS)}. Received: {path}."
        )
    if not path.parent.is_dir():
        raise UsageError(
            f"The folder of the output is missing. Expected one that is there. "
            f"Received: {path.parent}. Make it with `mkdir -p {path.parent}`."
        )


def write(path: pathlib.Path, image: PIL.Image.Image, found: Detections) -> None:
    """Writes an image with its boxes.

    Args:
        path: Where, with an ending of PNG or JPEG.
        image: What was looked at.
        found: What is drawn.

    Raises:
        MaaskitError: The file cannot be written.
    """
    try:
        draw(image, found).save(path)
    except OSError as error:
        raise MaaskitError(
            f"The picture cannot be written to {path}. Received: "
            f"{error.strerror or error}."
        ) from error


def draw(image: PIL.Image.Image, found: Detections) -> PIL.Image.Image:
    """Returns a copy of an image with boxes and labels, a colour for each label.

    Args:
        image: In colours. Small ones are made larger, or no label could be read.
        found: What is drawn; the best one on top.
    """
    image = image.convert("RGB")
    larger = max(round(512 / max(image.size)), 1)
    canvas = image.resize(
        (image.width * larger, image.height * larger), PIL.Image.Resampling.BICUBIC
    )
    drawing = PIL.ImageDraw.Draw(canvas)
    thick = max(round(min(canvas.size) / 300), 2)
    edges = found.boxes * np.tile([canvas.height, canvas.width], 2)
    # As large as the objects let it be, or labels would cover the small ones.
    typical = np.median(edges[:, 2] - edges[:, 0]) if len(found) else 0
    largest = max(max(canvas.size) / 40, _LEAST_FONT)
    font = PIL.ImageFont.load_default(
        size=float(np.clip(typical / 3, _LEAST_FONT, largest))
    )
    everything = list(zip(edges, found.scores, found.labels, strict=True))
    for box, score, label in reversed(everything):
        colour = _colour(label)
        top, left, bottom, right = box
        drawing.rectangle(
            (left, top, max(right, left), max(bottom, top)), outline=colour, width=thick
        )
        words = f"{label}: {score:.0%}"
        _, _, width, height = drawing.textbbox((0, 0), words, font=font)
        # Above the box where there is room, and never beyond the right edge.
        y = top - height - thick if top >= height + thick else top
        x = max(min(left, canvas.width - width - thick), 0)
        drawing.rectangle((x, y, x + width + thick, y + height + thick), fill=colour)
        drawing.text((x + thick / 2, y), words, fill="black", font=font)
    return canvas


def _counted(shown: Detections) -> str:
    return f"{len(shown):,} {'object' if len(shown) == 1 else 'objects'}"


def _colour(label: str) -> tuple[int, int, int]:
    """Bright, and always the same for the same label."""
    hue = zlib.crc32(label.encode()) % 360 / 360
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
