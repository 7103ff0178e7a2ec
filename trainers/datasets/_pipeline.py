"""From examples to the batches that training and evaluation read."""

from collections.abc import Callable

import tensorflow as tf

UNCACHED_BUFFER = 10_000  # examples

# Batches whose examples are sorted together, where `size` is given: enough that a
# batch's examples are alike, few enough that they differ from pass to pass.
_POOL = 32

# Batches that are ready before they are asked for.
_READY = 2

Transform = Callable[..., tuple[tf.Tensor, ...]]


def batches(
    dataset: tf.data.Dataset,
    global_batch_size: int,
    *,
    training: bool,
    seed: int,
    cache: bool = True,
    uncached_buffer: int = UNCACHED_BUFFER,
    passes: int = 1,
    size: Callable[..., tf.Tensor] | None = None,
    transform: Transform | None = None,
    transform_one: Transform | None = None,
) -> tf.data.Dataset:
    """Batches examples; in training shuffled anew each epoch.

    The order and the transform's seeds follow from `seed` and the number of the
    pass alone: see `skip_epochs` and `rest` for going on where a killed run stopped.

    Args:
        dataset: Examples as tuples of tensors, of known number.
        global_batch_size: Examples per batch, over all replicas. The last batch of
            a pass may be smaller: no example is dropped.
        training: Shuffles all examples, and applies `transform`.
        seed: Seed of the order and of the transform.
        cache: Keeps the decoded examples in memory after the first pass. Off for
            data that do not fit; then the order is mixed within `uncached_buffer`.
        uncached_buffer: Examples.
        passes: How often one pass over the result goes through the examples: more
            than once where they are so few that an epoch would be over in no time.
        size: Called with the tensors of many examples, returns what to sort them by
            [examples]: in training a batch then holds examples of about one size,
            such as length, and less padding. The order of the batches stays random.
        transform: Called with one batch's tensors and `seed`, [2] int64, new for
            each batch: for `tf.random.stateless_*`. Returns the tensors. It works on
            whole batches, which costs less than one call per example.
        transform_one: The same for one example: where they differ in size until then.

    Returns:
        Finite dataset of tuples, axis 0 the batch.

    Raises:
        ValueError: `training`, and the number of examples is not known.
    """
    if cache:
        dataset = dataset.cache()
    if training:
        dataset = dataset.repeat(passes)
        buffer = _shuffle_buffer(dataset, cache, uncached_buffer)
        dataset = dataset.shuffle(buffer, seed=seed, reshuffle_each_iteration=True)
        if transform_one is not None:
            dataset = _transformed(dataset, transform_one, seed)
    if training and size is not None:
        dataset = _alike_together(dataset, global_batch_size, size, seed)
    dataset = dataset.batch(global_batch_size, num_parallel_calls=tf.data.AUTOTUNE)
    if training and transform is not None:
        dataset = _transformed(dataset, transform, seed)
    return dataset.prefetch(_READY).with_options(_options())


def skip_epochs(dataset: tf.data.Dataset, epochs: int) -> None:
    """Makes the next pass over `dataset` the one that comes after `epochs` passes.

    Args:
        dataset: What `batches` returned, freshly made.
        epochs: Passes that a run now resumed had begun. They are begun and dropped
            without reading an example.
    """
    for _ in range(epochs):
        iter(dataset)


def rest(dataset: tf.data.Dataset, steps: int) -> tf.data.Dataset:
    """Returns what a pass over `dataset` has left after `steps` batches.

    It counts as that pass: the next one over `dataset` is the one after it.
    """
    return dataset.skip(steps).prefetch(_READY)


def dealt(
    dataset: tf.data.Dataset, strategy: tf.distribute.Strategy
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Deals each global batch out to the replicas of a strategy.

    Every worker makes every global batch, from the same seed, and each replica takes
    its rows of it by number: replica r of R those from r / R to (r + 1) / R of the
    batch. So the k-th global batch holds the same examples, moved and cut in the same
    way, whatever the number of replicas and workers; no example is seen twice in a
    pass, and none is left out. What TensorFlow would do instead (`AutoShardPolicy`)
    gives each worker other files, or every other example, which makes other batches,
    and in the last one gives some replicas all and others nothing. The price: a worker
    decodes and transforms what others compute on, W times the work of one process
    with W workers, each at the pace of one. The examples here are cached in memory.

    Rows of a batch differ by one at most between replicas. One with fewer rows than
    there are replicas leaves some of them none.

    Args:
        dataset: What `batches` returned; of which `skip_epochs` may have dropped some.
        strategy: Without one, the data set is returned as it is.

    Returns:
        One pass, and then empty batches without end: whoever reads it has to know the
        number of steps. An end would have to be agreed on at each step.
    """
    if strategy.num_replicas_in_sync == 1:
        return strategy.experimental_distribute_dataset(dataset)
    nothing = tf.nest.map_structure(_no_rows, dataset.element_spec)
    afterwards = tf.data.Dataset.from_tensors(nothing).repeat()

    def of_this_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        every = context.num_replicas_in_sync
        here = every // context.num_input_pipelines
        first = context.input_pipeline_id * here

        def rows(replica: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tuple:
            size = tf.shape(tf.nest.flatten(batch)[0], tf.int64)[0]
            begin, end = size * replica // every, size * (replica + 1) // every
            return tf.nest.map_structure(lambda part: part[begin:end], batch)

        def hands(*batch: tf.Tensor) -> tf.data.Dataset:
            replicas = tf.data.Dataset.range(first, first + here)
            return replicas.map(lambda replica: rows(replica, batch))

        return dataset.flat_map(hands).concatenate(afterwards).prefetch(here)

    return strategy.distribute_datasets_from_function(of_this_worker)


def _options() -> tf.data.Options:
    """Without the thread that tunes a pass: `AUTOTUNE` is then a call for each core.

    It sleeps ever longer, and now and then nothing wakes it at the end of a pass, which
    waits for it: in TensorFlow 2.20 that took 4 s an epoch of 10 s, on average.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def _no_rows(spec: tf.TensorSpec) -> tf.Tensor:
    """An empty batch."""
    return tf.zeros([0, *(size or 0 for size in spec.shape[1:])], spec.dtype)


def _alike_together(
    dataset: tf.data.Dataset,
    batch: int,
    size: Callable[..., tf.Tensor],
    seed: int,
) -> tf.data.Dataset:
    """The examples in such an order that those of one batch are of like size."""

    def arrange(pool: tuple[tf.Tensor, ...], pair: tf.Tensor) -> tuple[tf.Tensor, ...]:
        order = tf.argsort(size(*pool), stable=True)
        whole = tf.size(order) // batch * batch
        rows = tf.reshape(order[:whole], [-1, batch])
        rows = tf.random.experimental.stateless_shuffle(rows, pair)
        # The smaller last batch stays the last.
        order = tf.concat([tf.reshape(rows, [-1]), order[whole:]], axis=0)
        return tf.nest.map_structure(lambda part: tf.gather(part, order), pool)

    pools = dataset.batch(batch * _POOL)
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
    arranged = tf.data.Dataset.zip(pools, seeds).map(arrange).unbatch()
    return arranged.apply(tf.data.experimental.assert_cardinality(len(dataset)))


def _transformed(
    dataset: tf.data.Dataset, transform: Transform, seed: int
) -> tf.data.Dataset:
    """Applies `transform` to each element, with a seed that is new for each."""
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
    return tf.data.Dataset.zip(dataset, seeds).map(
        lambda element, pair: transform(*element, seed=pair),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def _shuffle_buffer(dataset: tf.data.Dataset, cached: bool, uncached: int) -> int:
    """Returns the number of examples to mix: all of them where they fit."""
    examples = int(dataset.cardinality().numpy())
    if examples < 0:
        raise ValueError(
            "The data set cannot be shuffled whole. Expected one of known size. "
            f"Received: cardinality {examples}."
        )
    # A smaller buffer than all mixes neighbours only.
    return max(1, examples if cached else min(examples, uncached))
