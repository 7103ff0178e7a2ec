"""The search for the most likely target, as graph code."""

import math

import tensorflow as tf

from trainers._attention import AttentionDecoder, Source
from trainers._token_ids import END, PADDING, START, UNKNOWN


def search(
    decoder: AttentionDecoder,
    source: Source,
    width: int,
    tokens: int,
    length_power: float = 1.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Looks for the most likely targets.

    Of each row, the best `width` beginnings are kept from token to token, by their
    log-probability over a power of their length; so ends compete with what goes on at
    any length. It stops when all that are kept have ended. Width 1 is greedy.
    Source: Wu et al. 2016, "Google's Neural Machine Translation System", equation 14,
    without its constant.

    Args:
        decoder: Gives the probabilities.
        source: [batch] of what is translated.
        width: Beginnings kept, 1 or more.
        tokens: The most tokens of a target, its end among them; the last is an end.
        length_power: 1 compares means over the tokens; above 1, longer targets are
            preferred to shorter ones of the same mean.

    Returns:
        target_ids [batch, tokens] int32 of the best, with its end, then padding; and
        the mean log-probability [batch] float32 of its tokens, nats.
    """
    batch = tf.shape(source.mask)[0]
    wide = Source(*(tf.repeat(tensor, width, axis=0) for tensor in source))
    never = _never(decoder.vocabulary_size)
    only_padding, only_end = (
        tf.where(tf.range(decoder.vocabulary_size) == id, 0.0, -math.inf)
        for id in (PADDING, END)
    )

    def flat(tensor: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tensor, [batch * width, *tensor.shape[2:]])

    def by_row(tensor: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tensor, [batch, width, *tensor.shape[1:]])

    def go_on(place, target_ids, totals, lengths, last, states):  # noqa: ANN001, ANN202
        logits, states = decoder.next_logits(flat(last), list(map(flat, states)), wide)
        gains = by_row(tf.nn.log_softmax(logits + never))
        gains += tf.where(place == tokens - 1, only_end, 0.0)
        ended = (last == END) | (last == PADDING)
        gains = tf.where(ended[..., tf.newaxis], only_padding, gains)
        lengths += tf.where(ended, 0.0, 1.0)
        totals = totals[..., tf.newaxis] + gains
        worths = totals / lengths[..., tf.newaxis] ** length_power
        chosen = tf.math.top_k(tf.reshape(worths, [batch, -1]), width).indices
        parent = chosen // decoder.vocabulary_size
        last = chosen % decoder.vocabulary_size
        totals = tf.gather(tf.reshape(totals, [batch, -1]), chosen, batch_dims=1)
        target_ids, lengths, *states = (
            tf.gather(tensor, parent, batch_dims=1)
            for tensor in (target_ids, lengths, *map(by_row, states))
        )
        here = tf.range(tokens) == place
        target_ids = tf.where(here, last[..., tf.newaxis], target_ids)
        return place + 1, target_ids, totals, lengths, last, states

    def unfinished(place, target_ids, totals, lengths, last, states):  # noqa: ANN001, ANN202
        del target_ids, totals, lengths, states
        return (place < tokens) & tf.reduce_any((last != END) & (last != PADDING))

    # All but the first beginning are impossible, else `width` times the same is kept.
    first = tf.where(tf.range(width) == 0, 0.0, -math.inf)
    _, target_ids, totals, lengths, _, _ = tf.while_loop(
        unfinished,
        go_on,
        [
            0,
            tf.fill([batch, width, tokens], PADDING),
            tf.tile(first[tf.newaxis], [batch, 1]),
            tf.zeros([batch, width]),
            tf.fill([batch, width], START),
            list(map(by_row, decoder.start(wide))),
        ],
        shape_invariants=[
            tf.TensorShape(shape)
            for shape in ([], [None, width, tokens], *3 * ([None, width],))
        ]
        + [2 * [tf.TensorShape([None, width, decoder.cell.units])]],
    )
    # The best comes first. Where there are no rows, no token was looked for.
    return target_ids[:, 0], totals[:, 0] / tf.maximum(lengths[:, 0], 1)


def _never(size: int) -> tf.Tensor:
    """Minus infinity for the ids that no target has, else 0; [size] float32."""
    ids = tf.range(size)
    wrong = (ids == PADDING) | (ids == START) | (ids == UNKNOWN)
    return tf.where(wrong, -math.inf, 0.0)
