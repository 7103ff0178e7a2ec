"""What a translator is worth: how many of its answers are right, or how much of them.

Where a text has one right translation, as a date has, answers are right or wrong. Where
it has many, as a verse has, they are held against one of them by the pieces both have:
chrF counts runs of characters, BLEU here too, for Japanese has no blanks. Both are
sacrebleu's, 0 to 100. Beside them stands what an answer without understanding gets: the
translation of the most similar text of training.
"""

import collections
import functools
from collections.abc import Mapping, Sequence

import numpy as np
import sacrebleu

from trainers import _fonts, _nearest_text
from trainers import _translation_panels as panels
from trainers._evaluation import Answer, Evaluation, ask
from trainers._translation_panels import Judged

Columns = Mapping[str, np.ndarray]

_ROWS = 100  # of a request: a search over long texts takes a while
_SHOWN_GROUPS = 8
_DRAWN_MAPS = 3
_MAP_WORDS = 18  # of a source in a picture


def judge_exactly(answer: Answer, pairs: Columns) -> Evaluation:
    """Judges translations that are right or wrong.

    Args:
        answer: Runs `serving_default`; for pictures `attention` too.
        pairs: `source_text`, `target_text` and, if there, `locale` and `pattern`:
            [examples] object, bytes of UTF-8.

    Returns:
        Metrics `accuracy`, the share of answers that are the target to the letter;
        `edit_distance`, the mean number of characters to insert, remove or replace; and
        `accuracy/<locale>`.
    """
    judged = _asked(answer, pairs, 500)
    right = judged.answers == judged.targets
    distances = [
        _edits(a, t) for a, t in zip(judged.answers, judged.targets, strict=True)
    ]
    metrics = {
        "accuracy": float(right.mean()),
        "edit_distance": float(np.mean(distances)),
    }
    locales = np.array(_texts(pairs["locale"])) if "locale" in pairs else None
    if locales is not None:
        for locale in np.unique(locales):
            metrics[f"accuracy/{locale}"] = float(right[locales == locale].mean())
    drawn = {
        "worst mistakes": functools.partial(panels.draw_mistakes, judged),
        "by length": functools.partial(panels.draw_by_length, judged),
        "scores": functools.partial(panels.draw_scores, judged),
    }
    lines = [f"Right to the letter: {right.sum():,} of {len(right):,}"]
    for name in ("locale", "pattern"):
        if name in pairs:
            groups = np.array(_texts(pairs[name]))
            draw = functools.partial(panels.draw_groups, right, groups, name)
            drawn[f"by {name}"] = draw
            lines.append(_groups_text(right, groups, name))
    lines.append(_mistakes_text(judged))
    return Evaluation(metrics, {**_maps(answer, judged), **drawn}, "\n".join(lines))


def judge_by_overlap(answer: Answer, pairs: Columns, known: Columns) -> Evaluation:
    """Judges translations of which there are many right ones.

    Args:
        answer: Runs `serving_default`; for pictures `attention` too.
        pairs: `source_text` and `target_text`, [examples] object, bytes of UTF-8.
        known: The same of the training split, for the baseline.

    Returns:
        Metrics `chrf` and `bleu` of the answers, and `nearest_chrf` and `nearest_bleu`
        of the baseline.
    """
    judged = _asked(answer, pairs, _ROWS)
    places = _nearest_text.places(_texts(known["source_text"]), judged.sources.tolist())
    retrieved = np.array(_texts(known["target_text"]), object)[places]
    metrics = {
        "chrf": chrf(judged.answers, judged.targets),
        "bleu": bleu(judged.answers, judged.targets),
        "nearest_chrf": chrf(retrieved, judged.targets),
        "nearest_bleu": bleu(retrieved, judged.targets),
    }
    own, theirs = (
        np.array([_chrf_of(a, t) for a, t in zip(said, judged.targets, strict=True)])
        for said in (judged.answers, retrieved)
    )
    drawn = {
        "samples": functools.partial(panels.draw_samples, judged, own),
        "against the nearest": functools.partial(panels.draw_against, own, theirs),
        "by length": functools.partial(
            panels.draw_overlap_by_length, judged, own, theirs
        ),
    }
    return Evaluation(
        metrics,
        {**_maps(answer, judged), **drawn},
        _overlap_text(judged, retrieved, metrics, own, theirs),
    )


def chrf(answers: Sequence[str], targets: Sequence[str]) -> float:
    """Returns sacrebleu's chrF2 of all, 0 to 100."""
    return float(sacrebleu.corpus_chrf(list(answers), [list(targets)]).score)


def bleu(answers: Sequence[str], targets: Sequence[str]) -> float:
    """Returns sacrebleu's BLEU of all, over characters, 0 to 100."""
    scored = sacrebleu.corpus_bleu(list(answers), [list(targets)], tokenize="char")
    return float(scored.score)


def _asked(answer: Answer, pairs: Columns, rows: int) -> Judged:
    said = ask(answer, {"source_text": pairs["source_text"]}, rows)
    return Judged(
        sources=np.array(_texts(pairs["source_text"]), object),
        targets=np.array(_texts(pairs["target_text"]), object),
        answers=np.array(_texts(said["target_text"]), object),
        scores=said["score"],
    )


def _texts(column: np.ndarray) -> list[str]:
    return [text.decode("utf-8", "replace") for text in column.tolist()]


def _maps(answer: Answer, judged: Judged) -> dict[str, panels.Panel]:
    """A panel for each of some attention maps, drawn when it is wanted."""
    short = [p for p, s in enumerate(judged.sources) if len(s.split()) <= _MAP_WORDS]
    # First those that the fonts have, then the longer: there is more to see.
    order = sorted(short, key=lambda p: (-_fonts.legible(judged.sources[p]), p))
    best = order[: 10 * _DRAWN_MAPS]
    chosen = sorted(best, key=lambda p: -len(judged.sources[p]))[:_DRAWN_MAPS]
    return {
        f"attention {number}": functools.partial(
            panels.draw_map,
            functools.partial(_attention, answer, judged.sources[place]),
        )
        for number, place in enumerate(chosen, 1)
    }


def _attention(answer: Answer, source: str) -> dict[str, np.ndarray]:
    """Names and attention of one text, without the padding."""
    asked = {"source_text": np.array([source.encode()], object)}
    given = answer(asked, "attention")
    source_tokens, target_tokens = (
        [text for text in _texts(given[side][0]) if text]
        for side in ("source_tokens", "target_tokens")
    )
    shown = given["attention"][0, : len(target_tokens), : len(source_tokens)]
    return {
        "source_tokens": np.array(source_tokens, object),
        "target_tokens": np.array(target_tokens, object),
        "attention": shown,
    }


def _groups_text(right: np.ndarray, groups: np.ndarray, name: str) -> str:
    """The groups with most mistakes."""
    wrong = collections.Counter(groups[~right].tolist())
    sizes = collections.Counter(groups.tolist())
    clean = sum(1 for group in sizes if group not in wrong)
    worst = ", ".join(
        f"{group} {count} of {sizes[group]}"
        for group, count in wrong.most_common(_SHOWN_GROUPS)
    )
    return f"Mistakes by {name}: none in {clean} of {len(sizes)}" + (
        f"; most in {worst}" if worst else ""
    )


def _mistakes_text(judged: Judged) -> str:
    worst = panels.worst(judged)
    lines = [
        f"  {judged.sources[p]}: says {judged.answers[p]} "
        f"(score {judged.scores[p]:.2f}), is {judged.targets[p]}"
        for p in worst[:_SHOWN_GROUPS]
    ]
    return (
        "\n".join(["Most certain of its mistakes:", *lines]) if lines else "No mistake"
    )


def _overlap_text(
    judged: Judged,
    retrieved: np.ndarray,
    metrics: Mapping[str, float],
    own: np.ndarray,
    theirs: np.ndarray,
) -> str:
    lines = [
        f"{'':34}   chrF   BLEU",
        f"{'this model':34} {metrics['chrf']:6.2f} {metrics['bleu']:6.2f}",
        f"{'translation of the nearest known':34} "
        f"{metrics['nearest_chrf']:6.2f} {metrics['nearest_bleu']:6.2f}",
        f"Better than the nearest in {np.mean(own > theirs):.0%} of "
        f"{len(own):,} texts by chrF",
    ]
    for place in panels.samples(own):
        lines += [
            "",
            f"chrF {own[place]:.0f}, nearest {theirs[place]:.0f}",
            f"  source   {judged.sources[place]}",
            f"  says     {judged.answers[place]}",
            f"  is       {judged.targets[place]}",
            f"  nearest  {retrieved[place]}",
        ]
    return "\n".join(lines)


def _chrf_of(answer: str, target: str) -> float:
    return float(sacrebleu.sentence_chrf(answer, [target]).score)


def _edits(a: str, b: str) -> int:
    """Levenshtein's distance."""
    before = list(range(len(b) + 1))
    for row, letter in enumerate(a, 1):
        now = [row]
        for column, other in enumerate(b, 1):
            same = before[column - 1] + (letter != other)
            now.append(min(same, before[column] + 1, now[-1] + 1))
        before = now
    return before[-1]
