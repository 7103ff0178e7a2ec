"""Short reviews, in the format of the package that holds the review snippets."""

import functools
import io
import tarfile
from pathlib import Path

import numpy as np

from trainers.datasets import review_snippets


@functools.cache
def snippets() -> dict[str, list[tuple[str, float, str]]]:
    """Returns by domain: id, mean rating, and a text that says as much."""
    randomness = np.random.default_rng(8)
    return {
        "movies": [(f"{n}", *_review(n, randomness)) for n in range(1, 401)],
        # Sentences of one review share the number before the underscore.
        "amazon": [(f"{n // 4}_{n % 4}", *_review(n, randomness)) for n in range(80)],
        "nyt": [(f"{n // 5}_{n % 5}", *_review(n, randomness)) for n in range(60)],
        "tweets": [(f"{n}", *_review(n, randomness)) for n in range(40)],
    }


WORDS = {"splendid": 2.9, "woeful": -2.1, "so-so": 0.2, "don't": -0.4}
# With what is no word, as in the real one.
LEXICON = "".join(
    f"{word}\t{rating}\t0.5\t[1, 2]\n"
    for word, rating in {":)": 2.0, "2nite": 0.3, **WORDS}.items()
)


def write(folder: Path) -> Path:
    """Writes the sdist that holds `snippets`."""
    files = {
        domain: "\r\n".join(f"{i}\t{rating}\t{text}" for i, rating, text in rows)
        for domain, rows in snippets().items()
    }
    return write_sdist(folder, files)


def write_sdist(folder: Path, content: dict[str, str], lexicon: str = LEXICON) -> Path:
    """Writes such an sdist from text by domain, and the lexicon's."""
    inner = {
        f"{review_snippets.FOLDER}/{review_snippets.FILES[domain]}": text.encode()
        for domain, text in content.items()
    }
    root = "vaderSentiment-3.3.2"
    outer = {
        f"{root}/PKG-INFO": b"Name: vaderSentiment\nVersion: 3.3.2\n",
        f"{root}/{review_snippets.MEMBER}": _tar(inner),
        f"{root}/{review_snippets.LEXICON}": lexicon.encode(),
    }
    sdist = folder / f"{root}.tar.gz"
    sdist.write_bytes(_tar(outer))
    return sdist


def _tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _review(number: int, randomness: np.random.Generator) -> tuple[float, str]:
    """Returns a rating and a text of it that no other text is nearly like."""
    good = bool(randomness.integers(2))
    praise = ["great", "charming", "moving", "funny", "superb"]
    blame = ["dull", "clumsy", "boring", "stale", "awful"]
    verdict = randomness.choice(praise if good else blame)
    rating = float(round(randomness.uniform(0.1, 3.9), 2)) * (1 if good else -1)
    # Each number as three words of its own, so that no run of four repeats.
    names = [f"name{number}x{place}" for place in range(3)]
    return rating, f"The {verdict} {names[0]} of {names[1]}, {verdict} as {names[2]}!"
