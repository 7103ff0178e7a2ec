"""Review snippets: 23,703 short texts of four kinds, and how positive people find them.

Examples  text [] string, UTF-8; label [] int64, 1 (positive) where the mean rating is
          above 0, else 0 (negative); domain [] int64, the place in `DOMAINS`, or after
          them for words; rating [] float32, the mean, -4 to 4
Licence   MIT
Source    Hutto and Gilbert 2014, "VADER: A Parsimonious Rule-based Model for Sentiment
          Analysis of Social Media Text", ICWSM: sentences of film reviews, product
          reviews and New York Times editorials, and tweets, each rated -4 to 4 by 20
          people; and the words of its lexicon, rated by 10
Package   vaderSentiment, an sdist: an archive within it holds a file for each domain,
          lines of id, mean rating and text with tabs between; beside it the lexicon,
          lines that begin with word and mean rating

The texts come without a split, so this one is made: 8,605 / 1,000 / 1,000 of the film
reviews, and a tenth of each other domain for validation and for test. Sentences of one
review or editorial, which their ids tell, and texts that are nearly the same stay
together on one side; see `_groups`. A hash decides which side, so it stays the same.
The words are for training alone; those that are a whole text elsewhere are left out.
"""

import collections
import functools
import hashlib
import io
import itertools
import pathlib
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from trainers.datasets import _load
from trainers.datasets._builder import About, PackagedBuilder
from trainers.datasets._package import DatasetError, Package, read_member

CLASSES = ("negative", "positive")
# Domain to its file in the archive. The order is that of the feature `domain`.
FILES = {
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "nyt": "nytEditorialSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
}
DOMAINS = tuple(FILES)
ALL = "all"
WORDS = "words"  # a domain of the training split, not one of `ALL`

LEXICON = "vaderSentiment/vader_lexicon.txt"
MEMBER = "additional_resources/hutto_ICWSM_2014.tar.gz"
FOLDER = "hutto_ICWSM_2014"

# Validation and test take a tenth of a domain each, but no more than these examples.
_MOST_HELD_OUT = 1_000
_SHINGLE = 4  # words
# A shingle that more texts share is a common phrase, and comparing them all costs.
_COMMON = 200
_LINE = re.compile(r"([^\t]+)\t(-?\d+(?:\.\d+)?)\t(.*\S.*)")
_RATED_WORD = re.compile(r"([a-z][a-z'-]*)\t(-?\d+(?:\.\d+)?)\t.*", re.IGNORECASE)


class ReviewSnippets(PackagedBuilder):
    """Builds `text` [] string, `label` and `domain` [] int64, `rating` [] float32."""

    VERSION = tfds.core.Version("1.2.0")
    PACKAGE = Package(
        name="vaderSentiment",
        version="3.3.2",
        filename="vaderSentiment-3.3.2.tar.gz",
        sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        megabytes=2.5,
    )
    ABOUT = About(
        summary="Sentences of reviews, editorials and tweets, and rated words.",
        licence="MIT",
        source="Hutto and Gilbert 2014, VADER, ICWSM",
        splits={"train": 26_275, "validation": 2_307, "test": 2_306},
    )

    @classmethod
    def features(cls) -> tfds.features.FeaturesDict:
        """Returns the text, its class, where it is from and how it was rated."""
        return tfds.features.FeaturesDict(
            {
                **LabelledTexts.features(),
                "domain": tfds.features.ClassLabel(names=[*DOMAINS, WORDS]),
                "rating": tfds.features.Tensor(shape=(), dtype=np.float32),
            }
        )

    def read(self, package: pathlib.Path) -> dict[str, Iterator[Mapping[str, Any]]]:
        """Returns the examples by split.

        Raises:
            DatasetError: The package does not hold the five files as described above.
        """
        snippets = _parse(read_member(package, MEMBER))
        sides = _split(snippets)
        words = _parse_words(read_member(package, LEXICON), snippets)
        snippets += words
        sides += ["train"] * len(words)
        return {
            split: _examples(snippets, [place == split for place in sides])
            for split in self.ABOUT.splits
        }


class LabelledTexts:
    """What a classifier of texts needs of a data set, and what it is called there."""

    @classmethod
    def features(cls) -> tfds.features.FeaturesDict:
        """Returns the text and one of two classes."""
        return tfds.features.FeaturesDict(
            {
                "text": tfds.features.Text(),
                "label": tfds.features.ClassLabel(names=CLASSES),
            }
        )


class Snippet(NamedTuple):
    """One line of a file."""

    domain: str
    id: str
    rating: float
    text: str


def class_names(name: str, datasets_dir: str) -> list[str]:
    """Returns what the data set calls its two classes, by class."""
    names: list[str] = _load.prepare(name, datasets_dir).info.features["label"].names
    return names


def read(
    name: str, split: str, datasets_dir: str, domain: str = ALL
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the texts and labels of a split, read once.

    Args:
        name: `review_snippets`, or another data set of labelled texts.
        split: `train`, `validation` or `test`.
        datasets_dir: Folder that keeps data sets.
        domain: One of `DOMAINS`, `all` of them, or `words`, which the training split
            alone has; of no meaning for another data set, which has no words.

    Returns:
        Texts [examples] object, bytes of UTF-8, and labels [examples] int64.

    Raises:
        UsageError: There is no such data set or split, or its features do not fit.
        DatasetError: It cannot be fetched or prepared.
    """
    texts, labels, *_ = _read(name, split, datasets_dir, domain)
    return texts, labels


def ratings(
    name: str, split: str, datasets_dir: str, domain: str = ALL
) -> np.ndarray | None:
    """Returns what the texts of `read` were rated, [examples] float32, -4 to 4.

    None where the data set has no ratings.
    """
    _, _, *rated = _read(name, split, datasets_dir, domain)
    return rated[0] if rated else None


@functools.lru_cache(maxsize=4)
def _read(
    name: str, split: str, datasets_dir: str, domain: str
) -> tuple[np.ndarray, ...]:
    """Texts, labels and, where there are any, ratings."""
    packaged = name == "review_snippets"
    like = ReviewSnippets if packaged else LabelledTexts
    examples = _load.load(name, split, datasets_dir, like=like)
    every = examples.batch(len(examples)).get_single_element()
    texts, labels, *others = (column.numpy() for column in every)
    if not packaged:
        none = domain == WORDS
        return (texts[:0], labels[:0]) if none else (texts, labels)
    domains, rated = others
    if domain == ALL:
        chosen = domains < len(DOMAINS)
    else:
        chosen = domains == [*DOMAINS, WORDS].index(domain)
    return texts[chosen], labels[chosen], rated[chosen]


def _parse(archive: bytes) -> list[Snippet]:
    """Reads the four files out of the inner archive."""
    snippets = []
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            for domain, file in FILES.items():
                member = opened.extractfile(f"{FOLDER}/{file}")
                content = member.read() if member else b""
                snippets += _parse_file(domain, content.decode("utf-8"))
    except (tarfile.TarError, KeyError, EOFError, OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"`{MEMBER}` cannot be read. Expected an archive of {len(FILES)} text "
            f"files. Received: {error}."
        ) from error
    return snippets


def _parse_file(domain: str, content: str) -> Iterator[Snippet]:
    # Not `splitlines`: some texts hold characters that it takes for ends of lines.
    lines = [line.rstrip("\r") for line in content.split("\n")]
    found = 0
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None or not -4 <= float(match[2]) <= 4:
            raise DatasetError(
                f"Line {number} of `{FILES[domain]}` is none. Expected id, rating of "
                f"-4 to 4 and text with tabs between. Received: {line[:80]!r}."
            )
        found += 1
        yield Snippet(domain, match[1], float(match[2]), match[3])
    if not found:
        raise DatasetError(
            f"`{FILES[domain]}` is empty. Expected a text a line. Received: none."
        )


def _parse_words(content: bytes, snippets: Sequence[Snippet]) -> list[Snippet]:
    """Reads the words of the lexicon, those left out that are whole texts too.

    Its emoticons, abbreviations and terms with digits are no words.
    """
    known = set().union(*(shingles_of(snippet.text) for snippet in snippets))
    words: dict[str, float] = {}
    for line in content.decode("utf-8").splitlines():
        if match := _RATED_WORD.fullmatch(line):
            words.setdefault(match[1].lower(), float(match[2]))
    if not words:
        raise DatasetError(
            f"`{LEXICON}` holds no word. Expected lines of word and mean rating with "
            f"tabs between. Received: {content[:80]!r}."
        )
    return [
        Snippet(WORDS, word, rating, word)
        for word, rating in words.items()
        if not shingles_of(word) & known
    ]


def _split(snippets: Sequence[Snippet]) -> list[str]:
    """Returns the split of each snippet."""
    members = collections.defaultdict(list)
    for place, group in enumerate(_groups(snippets)):
        members[group].append(place)
    sizes = collections.Counter(snippet.domain for snippet in snippets)
    held_out = {d: min(_MOST_HELD_OUT, size // 10) for d, size in sizes.items()}
    room = {"test": dict(held_out), "validation": dict(held_out)}
    sides = ["train"] * len(snippets)
    for group in sorted(members, key=lambda group: _hash(snippets[group])):
        needed = collections.Counter(snippets[m].domain for m in members[group])
        for side, left in room.items():
            if all(left[domain] >= count for domain, count in needed.items()):
                for domain, count in needed.items():
                    left[domain] -= count
                for member in members[group]:
                    sides[member] = side
                break
    return sides


def _hash(snippet: Snippet) -> bytes:
    return hashlib.sha256(f"{snippet.domain}/{snippet.id}".encode()).digest()


def _groups(snippets: Sequence[Snippet]) -> list[int]:
    """Returns, for each snippet, the first of those that it must stay with.

    Together belong the sentences of one review or editorial (ids `12_1`, `12_2`), and
    texts that have at least half of their runs of four words in common.
    """
    parents = list(range(len(snippets)))

    def first(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    documents: dict[tuple[str, str], int] = {}
    same_document = (
        (place, documents.setdefault((s.domain, s.id.partition("_")[0]), place))
        for place, s in enumerate(snippets)
    )
    alike = _near_duplicates([snippet.text for snippet in snippets])
    for a, b in itertools.chain(same_document, alike):
        low, high = sorted((first(a), first(b)))
        parents[high] = low
    return [first(place) for place in range(len(snippets))]


def _near_duplicates(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yields pairs of texts with at least half of their shingles in common."""
    shingles = [shingles_of(text) for text in texts]
    holders = collections.defaultdict(list)
    for place, own in enumerate(shingles):
        for shingle in own:
            holders[shingle].append(place)
    shared = collections.Counter(
        pair
        for places in holders.values()
        if len(places) <= _COMMON
        for pair in itertools.combinations(places, 2)
    )
    for (a, b), count in shared.items():
        if 2 * count >= len(shingles[a] | shingles[b]):
            yield a, b


def shingles_of(text: str) -> set[tuple[str, ...]]:
    """Returns the runs of four words in a text, or all of it where it is shorter."""
    words = tuple(re.findall(r"\w+", text.lower()))
    runs = {words[i : i + _SHINGLE] for i in range(len(words) - _SHINGLE + 1)}
    return runs or {words}


def _examples(
    snippets: Sequence[Snippet], chosen: Sequence[bool]
) -> Iterator[Mapping[str, Any]]:
    """Yields the features of the chosen, in the order of the files."""
    for snippet in itertools.compress(snippets, chosen):
        yield {
            "text": snippet.text,
            "label": int(snippet.rating > 0),
            "domain": snippet.domain,
            "rating": snippet.rating,
        }
