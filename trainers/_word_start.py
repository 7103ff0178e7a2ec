"""A trained version of word vectors as the start of another model's embedding."""

import pathlib

import numpy as np
import tensorflow as tf

from savedmodels import store
from savedmodels.errors import UsageError

_SIGNATURE = "embed"


def vectors_of(words: list[str], source: str) -> tuple[np.ndarray, np.ndarray]:
    """Asks a version for the vectors of words.

    Args:
        words: Lower-cased.
        source: Folder of the version, such as `artifacts/models/word2vec_embedding/1`,
            or of its model, whose highest version is taken then. Its signature `embed`
            answers `vector` [words, dimensions] float32 and `known` [words] bool.

    Returns:
        The vectors [words, dimensions] float32, and which words the version knows.

    Raises:
        UsageError: There is no such version, or it has no such signature.
    """
    path = pathlib.Path(source)
    if not (path / store.SAVED_MODEL).is_file():
        versions = store.list_versions(path)
        if not versions:
            raise UsageError(
                f"There are no word vectors to start from. Expected a version, as "
                f"`make train MODEL=word2vec_embedding` leaves one, or the folder of "
                f"its model. Received: {source}."
            )
        path = store.version_path(path)
    signatures = tf.saved_model.load(str(path)).signatures
    embed = signatures.get(_SIGNATURE)
    if embed is None or not {"vector", "known"} <= set(embed.structured_outputs):
        raise UsageError(
            f"`{source}` gives no word vectors. Expected the signature `{_SIGNATURE}` "
            f"with the outputs `vector` and `known`. Received: the signatures "
            f"{', '.join(signatures)}."
        )
    answer = embed(word=tf.constant(words, tf.string))
    return answer["vector"].numpy(), answer["known"].numpy()


def put_into(embedding: np.ndarray, vectors: np.ndarray, known: np.ndarray) -> None:
    """Replaces the last rows of a fresh embedding by vectors of the same spread.

    Vectors that were trained for another purpose are longer than a layer begins with,
    and would drown what it has to learn; their directions are what matters.

    Args:
        embedding: [rows, dimensions] float32, random; changed in place. One row for
            each word at its end, other rows before.
        vectors: [words, dimensions] float32.
        known: [words] bool; the rows of other words stay as they are.
    """
    if not known.any():
        return
    rows = embedding[-len(vectors) :]
    rows[known] = vectors[known] * (embedding.std() / vectors[known].std())
