"""What an autoencoder is worth: how close its images are, and what it finds strange.

Strange are images that it was not trained on. They are made of the examples
themselves: the same ink, the same strokes, only in other places.
"""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from trainers import _evaluation
from trainers import _reconstruction_pictures as pictures
from trainers._evaluation import Answer, Evaluation
from trainers._reconstruction_pictures import Drawn

_WALKS, _STEPS = 6, 8
_MAPPED = 2000  # points of the latent map: more of them cover each other
_FITTED = 500  # of them, for the components of that map
_FALSE_ALARMS = 0.05  # share of examples taken for strange, at the threshold shown
# As in Keras: no pixel costs more than 16 nats.
_SMALLEST = 1e-7


def judge(
    answer: Answer,
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
) -> Evaluation:
    """Judges an autoencoder of images.

    Args:
        answer: Runs `serving_default`: `image` to `reconstruction`, `latent` and
            `reconstruction_error`; for the picture of a walk `decode` too.
        images: [examples, height, width, 1 or 3] uint8, with even sides.
        labels: Class of each image [examples] integer, for pictures alone.
        class_names: Name of each class.

    Returns:
        Metrics `binary_cross_entropy` in nats per pixel, `mean_squared_error` of
        pixels from 0 to 1, and `roc_auc_<kind>` of `reconstruction_error` as a
        detector of foreign images: `shuffled_blocks` and `upside_down`.
    """
    answers = _evaluation.ask(answer, {"image": images})
    known = _drawn(images, answers)
    # Not to be taken for what the model usually sees, where that is counted.
    apart = getattr(answer, "uncounted", answer)
    foreign = {
        name: _drawn(strange, _evaluation.ask(apart, {"image": strange}))
        for name, strange in foreign_images(images).items()
    }
    cross_entropies = binary_cross_entropies(images, known.reconstructions)
    metrics = {
        "binary_cross_entropy": float(cross_entropies.mean()),
        "mean_squared_error": float(known.errors.mean(dtype=np.float64)),
    }
    for name, drawn in foreign.items():
        metrics[f"roc_auc_{name}"] = roc_auc(known.errors, drawn.errors)

    latents = answers["latent"]
    mapped, ends = latents[:_MAPPED], latents[_ends(labels)]
    return Evaluation(
        metrics=metrics,
        panels={
            "originals and reconstructions": functools.partial(
                pictures.draw_reconstructions, known
            ),
            "latent map": lambda axes: pictures.draw_map(
                axes, plane(mapped), labels[:_MAPPED], class_names
            ),
            "walks through the latents": lambda axes: pictures.draw_walks(
                axes, walks(answer, ends)
            ),
            "foreign images": functools.partial(pictures.draw_foreign, foreign),
            "errors": functools.partial(pictures.draw_errors, known, foreign),
            "roc": functools.partial(pictures.draw_roc, known, foreign),
        },
        text=_text(images, labels, cross_entropies, known, foreign, class_names),
    )


def foreign_images(images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns images that are none of the examples, made of them.

    Args:
        images: [examples, height, width, channels], with even sides.

    Returns:
        `shuffled_blocks`: each image's four quarters in another order.
        `upside_down`: each image turned by 180 degrees; some digits stay digits.
    """
    quarters = [
        np.split(half, 2, axis=2) for half in np.split(images, 2, axis=1)
    ]  # rows of quarters, each [examples, height / 2, width / 2, channels]
    stacked = np.stack([*quarters[0], *quarters[1]], axis=1)
    # Always the same, so that two versions are held against the same images.
    randomness = np.random.default_rng(0)
    orders = np.array([randomness.permutation(4) for _ in range(2 * len(images) + 100)])
    orders = orders[(orders != np.arange(4)).any(axis=1)][: len(images)]
    a, b, c, d = np.moveaxis(
        np.take_along_axis(stacked, orders[:, :, None, None, None], axis=1), 1, 0
    )
    upper, lower = np.concatenate([a, b], axis=2), np.concatenate([c, d], axis=2)
    return {
        "shuffled_blocks": np.concatenate([upper, lower], axis=1),
        "upside_down": images[:, ::-1, ::-1],
    }


def binary_cross_entropies(
    images: np.ndarray, reconstructions: np.ndarray
) -> np.ndarray:
    """Returns the mean over each image's pixels [examples] float64, in nats.

    Args:
        images: [examples, ...] uint8.
        reconstructions: [examples, ...] float, 0..1. Values nearer than 1e-7 to 0 or
            1 count as that near.
    """
    target = images.astype(np.float32) / 255
    drawn = np.clip(reconstructions.astype(np.float32), _SMALLEST, 1 - _SMALLEST)
    nats = -(target * np.log(drawn) + (1 - target) * np.log1p(-drawn))
    return nats.reshape(len(images), -1).mean(axis=1, dtype=np.float64)


def roc_auc(known: np.ndarray, foreign: np.ndarray) -> float:
    """Returns how often a foreign image has the larger error; a tie counts half.

    Args:
        known: Errors of examples [n].
        foreign: Errors of foreign images [m].
    """
    ordered = np.sort(known)
    below = np.searchsorted(ordered, foreign, "left")
    not_above = np.searchsorted(ordered, foreign, "right")
    return float((below + not_above).mean() / (2 * len(known)))


def plane(latents: np.ndarray) -> np.ndarray:
    """Returns latents on their two principal components, [examples, 2].

    Args:
        latents: [examples, ...] float, two examples or more. The components are those
            of the first 500: more would change the picture little, and take long.
    """
    flat = latents.reshape(len(latents), -1).astype(np.float64)
    flat = flat - flat[:_FITTED].mean(axis=0)
    sample = flat[:_FITTED]
    # Of the products of examples, which are fewer than the numbers of a latent.
    _, vectors = np.linalg.eigh(sample @ sample.T)
    components = sample.T @ vectors[:, :-3:-1]
    lengths = np.linalg.norm(components, axis=0)
    return flat @ (components / np.maximum(lengths, 1e-12))


def walks(answer: Answer, ends: np.ndarray) -> np.ndarray:
    """Returns what lies between latents, [walks, steps, height, width, channels].

    Args:
        answer: Runs `decode`: `latent` to `reconstruction`.
        ends: [2 walks, ...] float, each walk's first latent and its last.
    """
    shares = np.linspace(0, 1, _STEPS, dtype=np.float32)
    shares = shares.reshape(-1, *[1] * (ends.ndim - 1))
    passed = [
        (1 - shares) * first + shares * last
        for first, last in zip(ends[::2], ends[1::2], strict=True)
    ]
    decoded = answer({"latent": np.concatenate(passed)}, "decode")["reconstruction"]
    return decoded.reshape(len(passed), _STEPS, *decoded.shape[1:])


def _drawn(images: np.ndarray, answers: Mapping[str, np.ndarray]) -> Drawn:
    return Drawn(images, answers["reconstruction"], answers["reconstruction_error"])


def _ends(labels: np.ndarray) -> np.ndarray:
    """Two examples for each walk, of different classes while there are any."""
    _, first = np.unique(labels, return_index=True)
    more = np.setdiff1d(np.arange(len(labels)), first)
    return np.concatenate([first, more])[: 2 * min(_WALKS, len(labels) // 2)]


def _text(
    images: np.ndarray,
    labels: np.ndarray,
    cross_entropies: np.ndarray,
    known: Drawn,
    foreign: Mapping[str, Drawn],
    class_names: Sequence[str],
) -> str:
    """Two tables: by class, and how well foreign images are told."""
    least = binary_cross_entropies(images, images / np.float32(255))
    lines = [f"{'':>16}  cross-entropy  least possible  squared error"]
    for label in np.unique(labels):
        of = labels == label
        lines.append(
            f"{class_names[label]:>16}  {cross_entropies[of].mean():13.5f}  "
            f"{least[of].mean():14.5f}  {known.errors[of].mean():13.6f}"
        )
    lines.append(
        f"{'all':>16}  {cross_entropies.mean():13.5f}  {least.mean():14.5f}  "
        f"{known.errors.mean():13.6f}"
    )
    threshold = np.quantile(known.errors, 1 - _FALSE_ALARMS)
    lines += ["", f"{'':>16}  squared error  found at {_FALSE_ALARMS:.0%} false alarms"]
    for name, drawn in foreign.items():
        found = np.mean(drawn.errors > threshold)
        shown = name.replace("_", " ")
        lines.append(f"{shown:>16}  {drawn.errors.mean():13.6f}  {found:8.2%}")
    return "\n".join(lines)
