"""Texts that are nearly the same, found without comparing all with all.

Two texts are nearly the same if enough of their shingles, short runs of words or of
characters, are the same: their number over that of all shingles of either (Jaccard).
"""

import collections
import fractions
import itertools
import math
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence


def word_shingles(text: str, length: int = 4) -> frozenset[Hashable]:
    """Returns the runs of `length` words, or all words of a shorter text."""
    return _runs(tuple(re.findall(r"\w+", text.lower())), length)


def character_shingles(text: str, length: int = 5) -> frozenset[Hashable]:
    """Returns the runs of `length` letters, or all letters of a shorter text."""
    return _runs(re.sub(r"\W", "", text), length)


def pairs(
    shingles: Sequence[frozenset[Hashable]], share: fractions.Fraction
) -> Iterator[tuple[int, int]]:
    """Yields the places of every two texts that are nearly the same.

    Args:
        shingles: Those of each text.
        share: How much they must have in common, above 0 and at most 1.

    Source: Bayardo et al. 2007, "Scaling Up All Pairs Similarity Search", WWW: of two
    that have enough in common, some of the rarest shingles of both are the same.
    """
    counts = collections.Counter(shingle for own in shingles for shingle in own)
    holders: dict[Hashable, list[int]] = collections.defaultdict(list)
    for place, own in enumerate(shingles):
        rarest = sorted(own, key=lambda shingle: (counts[shingle], str(shingle)))
        candidates = set()
        for shingle in rarest[: len(own) - math.ceil(share * len(own)) + 1]:
            candidates.update(holders[shingle])
            holders[shingle].append(place)
        for other in sorted(candidates):
            both = len(own & shingles[other])
            either = len(own) + len(shingles[other]) - both
            if both >= share * either:
                yield other, place


def groups(size: int, together: Iterable[tuple[int, int]]) -> list[int]:
    """Returns, for each of `size` places, the first of those it is tied to.

    Args:
        size: How many places.
        together: Places that belong together. So do those that share a third.
    """
    parents = list(range(size))

    def first(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    for a, b in together:
        low, high = sorted((first(a), first(b)))
        parents[high] = low
    return [first(place) for place in range(size)]


def _runs(sequence: Sequence[str], length: int) -> frozenset[Hashable]:
    runs = (sequence[i : i + length] for i in range(len(sequence) - length + 1))
    return frozenset(itertools.chain(runs, [sequence] * (len(sequence) < length)))
