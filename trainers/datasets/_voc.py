"""PASCAL VOC's annotations of images: an XML file for each image.

    <annotation><filename>a.jpg</filename>
      <object><name>cat</name><bndbox><xmin>4</xmin><ymin>9</ymin>
        <xmax>50</xmax><ymax>60</ymax></bndbox></object> ...
    </annotation>

The files may lie beside the images, or in `Annotations` with the images in
`JPEGImages` or `images`. Other elements are left alone: what `size` says is not
believed, since the image itself knows better.
"""

import hashlib
import math
import pathlib
import xml.etree.ElementTree
from collections.abc import Iterator, Sequence

import numpy as np

from trainers.datasets._boxes import Annotated, Annotations, listed
from trainers.datasets._package import DatasetError

_BESIDE = (".", "../JPEGImages", "../images", "../Images")
_ENDINGS = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".bmp", ".tif", ".tiff")
_EDGES = ("ymin", "xmin", "ymax", "xmax")


def read(folder: pathlib.Path) -> Annotations:
    """Returns what the XML files in `folder`, and below it, say of the images there.

    Raises:
        DatasetError: There are no such files, one is broken, or images are missing.
    """
    files = sorted(path for path in folder.rglob("*.xml") if path.is_file())
    if not files:
        raise DatasetError(
            f"`{folder}` holds no annotations. Expected an .xml file for each image. "
            "Received: none."
        )
    digest = hashlib.sha256()
    parts: list[tuple[pathlib.Path, list[tuple[str, list[float]]]]] = []
    missing = []
    for file in files:
        content = file.read_bytes()
        digest.update(content)
        root = _parsed(file, content)
        image = _image(file, root.findtext("filename", "").strip())
        if image is None:
            missing.append(str(file.relative_to(folder)))
        else:
            parts.append((image, list(_objects(file, root))))
    if missing:
        raise DatasetError(
            f"Images are missing. Expected one for each of the {len(files):,} .xml "
            f"files in `{folder}`. Received: {len(missing):,} files without: "
            f"{listed(missing)}. Put the images beside them, or take the files away."
        )
    return _numbered(parts, digest.hexdigest())


def _numbered(
    parts: Sequence[tuple[pathlib.Path, list[tuple[str, list[float]]]]], sha256: str
) -> Annotations:
    """Class names, of which the files know no list, as numbers."""
    names = sorted({name for _, objects in parts for name, _ in objects})
    labels = {name: label for label, name in enumerate(names)}
    return Annotations(
        class_names=tuple(names),
        images=tuple(
            Annotated(
                image,
                np.array([box for _, box in objects], np.float64).reshape(-1, 4),
                np.array([labels[name] for name, _ in objects], np.int64),
            )
            for image, objects in parts
        ),
        sha256=sha256,
        notes=(),
    )


def _parsed(file: pathlib.Path, content: bytes) -> xml.etree.ElementTree.Element:
    try:
        root = xml.etree.ElementTree.fromstring(content)
    except xml.etree.ElementTree.ParseError as error:
        raise _wrong(file, f"it is not XML: {error}") from error
    if root.tag != "annotation":
        raise _wrong(file, f"its first element is `{root.tag}`, not `annotation`")
    return root


def _image(file: pathlib.Path, name: str) -> pathlib.Path | None:
    """The image that the file is about: by the name in it, else by its own."""
    # Some programs write a whole path, of another machine.
    base = name.replace("\\", "/").rpartition("/")[2]
    wanted = [base] if base else []
    wanted += [file.stem + ending for ending in _ENDINGS]
    for candidate in wanted:
        for folder in _BESIDE:
            path = file.parent / folder / candidate
            if path.is_file():
                return path
    return None


def _objects(
    file: pathlib.Path, root: xml.etree.ElementTree.Element
) -> Iterator[tuple[str, list[float]]]:
    """Class and box of each object."""
    for place, element in enumerate(root.iter("object")):
        name = element.findtext("name", "").strip()
        if not name:
            raise _wrong(file, f"object {place} has no `name`")
        texts = [element.findtext(f"bndbox/{edge}", "") for edge in _EDGES]
        try:
            box = list(map(float, texts))
        except ValueError:
            box = [math.nan]
        if not all(map(math.isfinite, box)):
            raise _wrong(
                file, f"object {place} has the `bndbox` {texts}, not four numbers"
            )
        yield name, box


def _wrong(file: pathlib.Path, reason: str) -> DatasetError:
    return DatasetError(
        f"`{file}` cannot be used. Expected annotations in the format of PASCAL VOC. "
        f"Received: {reason}."
    )
