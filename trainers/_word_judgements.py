"""What vectors of words are worth, by what people said of words."""

import collections
from collections.abc import Mapping, Sequence

import gensim
import numpy as np
from gensim.test.utils import datapath
from matplotlib.axes import Axes

from trainers import _evaluation
from trainers._evaluation import Answer, Evaluation, Panel

# Human judgements, as gensim ships them: pairs of words, and a is to b as c is to d.
PAIRS = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}
QUESTIONS = "questions-words.txt"
# Settings may be chosen by these; the rest is for the test alone.
VALIDATION = ("simlex999",)

# Drawn where the vocabulary has them.
_GROUPS = {
    "countries": "france spain england germany russia mexico japan china cuba britain",
    "money": "money gold silver dollars cents tax debt budget bank currency",
    "war": "war army navy soldiers peace enemy battle troops treaty forces",
    "people": "man woman children mother father family boy girl king queen",
    "land": "land river coast railroad farm wheat corn cotton forest mines",
    "months": "january march april june july august october december",
    "numbers": "two three four five six seven eight nine ten twenty",
}
_SHOWN_WORDS = "war money women france railroad school gold peace tiger king".split()
_NEIGHBOURS = 5


def judge(answer: Answer, split: str) -> Evaluation:
    """Judges vectors by what people said of words.

    Args:
        answer: Answers `word` and `k` with `words`, `known` and `vector`.
        split: `test` for all judgements; `validation` for SimLex-999 alone, by which
            settings may be chosen.

    Returns:
        Metrics `<pairs>_spearman`, the rank correlation between people and cosines;
        `analogies_accuracy`, the share of questions answered right among those whose
        words are known; `out_of_vocabulary/<...>`, shares 0..1.
    """
    pairs = {
        name: _read_pairs(file)
        for name, file in PAIRS.items()
        if split == "test" or name in VALIDATION
    }
    judged = {word for rows in pairs.values() for *two, _ in rows for word in two}
    vectors = _all_vectors(answer, sorted(judged | set(_SHOWN_WORDS)))
    metrics: dict[str, float] = {}
    panels: dict[str, Panel] = {}
    for name, rows in pairs.items():
        _add_pairs(name, rows, vectors, metrics, panels)
    if split == "test" and len(
        vectors
    ):  # thousands of questions: too slow for every epoch
        _add_analogies(vectors, metrics, panels)
    neighbours = _neighbours(vectors)
    panels["map of some words"] = lambda axes: _draw_map(axes, vectors)
    panels["nearest words"] = lambda axes: _draw_table(axes, neighbours)
    lines = [f"{word:>10}  {', '.join(near)}" for word, near in neighbours.items()]
    return Evaluation(
        metrics=metrics,
        panels=panels,
        text="\n".join(lines) or "none of the words to show is known",
    )


def _all_vectors(answer: Answer, likely: list[str]) -> gensim.models.KeyedVectors:
    """Every word with its vector, from answers; none where no likely one is known."""

    def ask(words: Sequence[str], k: int) -> dict[str, np.ndarray]:
        encoded = np.array([word.encode() for word in words], object)
        counts = np.full(len(words), k, np.int32)
        return _evaluation.ask(answer, {"word": encoded, "k": counts})

    known = [w for w, k in zip(likely, ask(likely, 0)["known"], strict=True) if k]
    if not known:  # a text in another language
        return gensim.models.KeyedVectors(1)
    # Far more than there are: the neighbours of one word are all the others.
    others = ask(known[:1], 2**31 - 1)["words"][0]
    words = sorted([known[0], *(word.decode() for word in others)])
    found = ask(words, 0)["vector"]
    vectors = gensim.models.KeyedVectors(found.shape[1])
    vectors.add_vectors(words, found)
    return vectors


def _read_pairs(file: str) -> list[tuple[str, str, float]]:
    """Two words and how alike people found them, 0..10."""
    with open(datapath(file), encoding="utf-8") as lines:
        rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return [(a.lower(), b.lower(), float(mean)) for a, b, mean in rows]


def _add_pairs(
    name: str,
    rows: Sequence[tuple[str, str, float]],
    vectors: gensim.models.KeyedVectors,
    metrics: dict[str, float],
    panels: dict[str, Panel],
) -> None:
    """Rank correlation, share that is not known, and each pair as a dot."""
    known = [row for row in rows if row[0] in vectors and row[1] in vectors]
    unknown = 1 - len(known) / len(rows)
    if len(known) < 3:  # ranks of fewer say nothing
        metrics[f"out_of_vocabulary/{name}"] = unknown
        return
    _, (spearman, _), _ = vectors.evaluate_word_pairs(datapath(PAIRS[name]))
    metrics[f"{name}_spearman"] = float(spearman)
    metrics[f"out_of_vocabulary/{name}"] = unknown
    human = np.array([mean for _, _, mean in known])
    cosines = np.array([vectors.similarity(a, b) for a, b, _ in known])

    def draw(axes: Axes) -> None:
        axes.scatter(human, cosines, s=12, alpha=0.5)
        # The pairs that people and vectors see most differently.
        apart = _ranks(cosines) - _ranks(human)
        for place in {*np.argsort(apart)[:4], *np.argsort(apart)[-4:]}:
            text = f"{known[place][0]}, {known[place][1]}"
            side = "right" if human[place] > 5 else "left"
            axes.annotate(text, (human[place], cosines[place]), fontsize=9, ha=side)
        axes.set_xlabel("people: 0 unrelated, 10 alike")
        axes.set_ylabel("cosine")
        axes.grid(alpha=0.3)
        axes.set_title(
            f"{name}: Spearman {spearman:.3f} ({len(known)} of {len(rows)} pairs known)"
        )

    panels[f"{name}, people against vectors"] = draw


def _ranks(values: np.ndarray) -> np.ndarray:
    return values.argsort().argsort()


def _add_analogies(
    vectors: gensim.models.KeyedVectors,
    metrics: dict[str, float],
    panels: dict[str, Panel],
) -> None:
    """Share of right answers, of all and by kind of question."""
    with open(datapath(QUESTIONS), encoding="utf-8") as lines:
        asked = sum(not line.startswith(":") for line in lines if line.strip())
    accuracy, sections = vectors.evaluate_word_analogies(datapath(QUESTIONS))
    counts = {
        section["section"]: (len(section["correct"]), len(section["incorrect"]))
        for section in sections
    }
    right, wrong = counts.pop("Total accuracy")
    if right + wrong:
        metrics["analogies_accuracy"] = float(accuracy)
    metrics["out_of_vocabulary/analogies"] = 1 - (right + wrong) / asked
    if not right + wrong:
        return

    def draw(axes: Axes) -> None:
        shown = {kind: count for kind, count in counts.items() if sum(count)}
        shares = [100 * good / (good + bad) for good, bad in shown.values()]
        names = [f"{kind} ({sum(count)})" for kind, count in shown.items()]
        axes.barh(names, shares, color="lightsteelblue")
        # Within the bars: beside them they would take the width of the panel.
        axes.set_yticks([])
        for place, name in enumerate(names):
            axes.text(0, place, f" {name}", va="center", fontsize=11)
        axes.invert_yaxis()
        axes.set_xlabel("% right (number of questions)")
        axes.set_title(f"Analogies: {accuracy:.1%} of {right + wrong:,} right")

    panels["analogies"] = draw


def _neighbours(vectors: gensim.models.KeyedVectors) -> dict[str, list[str]]:
    return {
        word: [near for near, _ in vectors.most_similar(word, topn=_NEIGHBOURS)]
        for word in _SHOWN_WORDS
        if word in vectors
    }


def _draw_table(axes: Axes, neighbours: Mapping[str, Sequence[str]]) -> None:
    """A word in bold, and its neighbours."""
    axes.axis("off")
    for place, (word, near) in enumerate(neighbours.items()):
        height = 1 - (place + 0.7) / len(_SHOWN_WORDS)
        bold = {"fontsize": 13, "fontweight": "bold", "ha": "right"}
        axes.text(0.2, height, word, **bold, transform=axes.transAxes)
        axes.text(0.23, height, ", ".join(near), fontsize=11, transform=axes.transAxes)


def _draw_map(axes: Axes, vectors: gensim.models.KeyedVectors) -> None:
    """Words of a few groups, on the two axes along which they differ most."""
    known = [
        (word, group)
        for group, words in _GROUPS.items()
        for word in words.split()
        if word in vectors
    ]
    axes.set_xticks([])
    axes.set_yticks([])
    if len(known) < 3:
        axes.text(0.5, 0.5, "none known", transform=axes.transAxes, ha="center")
        return
    unit = np.stack([vectors.get_vector(word, norm=True) for word, _ in known])
    _, _, directions = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    places = (unit - unit.mean(axis=0)) @ directions[:2].T
    by_group = collections.defaultdict(list)
    for place, (word, group) in zip(places, known, strict=True):
        by_group[group].append((word, place))
    for color, (group, members) in enumerate(by_group.items()):
        x, y = np.array([place for _, place in members]).T
        axes.scatter(x, y, s=14, color=f"C{color}", label=group)
        for word, (right, up) in members:
            axes.annotate(word, (right, up), fontsize=9, color=f"C{color}")
    axes.legend(fontsize=9, loc="best")
