"""Every example once a pass, in an order that a seed and a pass number give."""

import itertools
import types

import numpy as np
import pytest
import tensorflow as tf

from trainers.datasets._pipeline import (
    UNCACHED_BUFFER,
    batches,
    dealt,
    rest,
    skip_epochs,
)

SIZE = 100


def examples(n=SIZE):
    numbers = tf.data.Dataset.range(n)
    return numbers.map(lambda i: (tf.cast(i, tf.float32), i))


def passes(dataset, n):
    """Returns the labels in order of n passes, [n, examples]."""
    return [np.concatenate([batch[1].numpy() for batch in dataset]) for _ in range(n)]


def with_seed(number, label, seed):
    """A transform that shows which seed it got."""
    return number + tf.random.stateless_uniform(tf.shape(number), seed), label


def test_batches_hold_every_example_once_and_the_last_is_smaller():
    dataset = batches(examples(), 32, training=True, seed=1)
    sizes = [len(label) for _, label in dataset]
    assert sizes == [32, 32, 32, 4]
    assert dataset.cardinality() == 4
    (order,) = passes(dataset, 1)
    assert sorted(order) == list(range(SIZE))


def test_what_is_not_for_training_keeps_its_order():
    dataset = batches(examples(), 32, training=False, seed=1, transform=with_seed)
    for order in passes(dataset, 2):
        np.testing.assert_array_equal(order, np.arange(SIZE))
    np.testing.assert_array_equal(next(iter(dataset))[0], np.arange(32))


def test_each_pass_and_each_seed_has_an_order_of_its_own():
    first, second = passes(batches(examples(), 32, training=True, seed=1), 2)
    (other,) = passes(batches(examples(), 32, training=True, seed=2), 1)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_batch_holds_examples_of_like_size_in_an_order_that_changes():
    sizes = np.random.default_rng(5).integers(0, 50, SIZE)

    def make():
        source = tf.data.Dataset.from_tensor_slices((sizes, np.arange(SIZE)))
        return batches(source, 8, training=True, seed=1, size=lambda size, _: size)

    dataset, again = make(), make()
    assert dataset.cardinality() == 13
    spans, firsts = [], []
    for _ in range(2):
        found = [(size.numpy(), label.numpy()) for size, label in dataset]
        assert [len(size) for size, _ in found] == [8] * 12 + [4]
        every = np.concatenate([label for _, label in found])
        assert sorted(every) == list(range(SIZE))
        spans += [np.ptp(size) for size, _ in found]
        firsts.append([size[0] for size, _ in found])
    # 100 examples of 50 sizes, in 13 batches: some 4 sizes each; unsorted nearly 50.
    assert max(spans) <= 12
    assert firsts[0] != firsts[1]
    assert firsts[0] != sorted(firsts[0])
    # A resumed run sees what it would have seen.
    skip_epochs(again, 1)
    np.testing.assert_array_equal([size[0] for size, _ in again], firsts[1])


def test_all_examples_are_mixed_not_neighbours_only():
    (order,) = passes(batches(examples(10_000), 100, training=True, seed=1), 1)
    # A place's expected distance from where it was is a third of the length.
    assert np.abs(order - np.arange(10_000)).mean() == pytest.approx(3333, rel=0.05)


@pytest.mark.parametrize("cache", [True, False])
def test_the_same_seed_gives_the_same_batches_again(cache):
    def make():
        return batches(
            examples(), 32, training=True, seed=3, cache=cache, transform=with_seed
        )

    one, two = make(), make()
    for _ in range(3):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a[0], b[0])
            np.testing.assert_array_equal(a[1], b[1])


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize(
    "more",
    [
        {"transform": with_seed},
        {"transform_one": with_seed},
        {"passes": 3},
        {"cache": False, "uncached_buffer": 40},
        {"size": lambda *parts: parts[0] % 7},
    ],
    ids=["transform", "transform_one", "passes", "uncached", "size"],
)
def test_the_rest_of_a_pass_is_what_the_pass_has_left(steps, more):
    def make():
        return batches(examples(), 32, training=True, seed=3, **more)

    whole, resumed = make(), make()
    list(whole)
    skip_epochs(resumed, 1)
    for a, b in zip(list(whole)[steps:], rest(resumed, steps), strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
    # And after it come whole ones.
    for a, b in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])


@pytest.mark.parametrize("begun", [1, 3])
@pytest.mark.parametrize(
    "more",
    [{"transform": with_seed}, {"transform_one": with_seed}, {"passes": 3}],
    ids=["transform", "transform_one", "passes"],
)
def test_a_resumed_run_sees_what_it_would_have_seen(begun, more):
    def make():
        return batches(examples(), 32, training=True, seed=3, **more)

    whole, resumed = make(), make()
    for _ in range(begun):
        list(whole)
    skip_epochs(resumed, begun)
    for _ in range(2):
        for a, b in zip(whole, resumed, strict=True):
            np.testing.assert_array_equal(a[0], b[0])
            np.testing.assert_array_equal(a[1], b[1])


def test_a_transform_gets_new_seeds_for_each_batch_and_pass():
    def shows_seed(number, label, seed):
        return tf.repeat(seed[tf.newaxis], tf.shape(number)[0], axis=0), label

    dataset = batches(examples(), 25, training=True, seed=3, transform=shows_seed)
    seeds = [tuple(batch[0][0].numpy()) for _ in range(3) for batch in dataset]
    assert len(set(seeds)) == 3 * 4


def test_every_example_gets_a_seed_of_its_own_before_batches_are_made():
    def shows_seed(number, label, seed):
        return tf.ones([4]) * number, seed

    dataset = batches(examples(), 32, training=True, seed=3, transform_one=shows_seed)
    found = [(number, seed) for _ in range(2) for number, seed in dataset]
    assert found[0][0].shape == (32, 4)
    seeds = np.concatenate([seed for _, seed in found])
    assert len(np.unique(seeds, axis=0)) == 2 * SIZE


def test_few_examples_may_be_gone_through_more_than_once_in_a_pass():
    dataset = batches(examples(7), 4, training=True, seed=1, passes=3)
    assert dataset.cardinality() == 6
    (order,) = passes(dataset, 1)
    assert sorted(order) == sorted([*range(7)] * 3)


def test_the_source_is_read_once():
    reads = []

    def source():
        reads.append(1)
        yield from ((float(i), i) for i in range(SIZE))

    signature = (tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.int64))
    generated = tf.data.Dataset.from_generator(source, output_signature=signature)
    known = generated.apply(tf.data.experimental.assert_cardinality(SIZE))
    passes(batches(known, 32, training=True, seed=1), 3)
    assert len(reads) == 1
    passes(batches(known, 32, training=True, seed=1, cache=False), 2)
    assert len(reads) == 3


def test_data_that_do_not_fit_are_mixed_within_a_bounded_buffer():
    more = UNCACHED_BUFFER * 3
    dataset = batches(examples(more), 1000, training=True, seed=1, cache=False)
    (order,) = passes(dataset, 1)
    assert sorted(order) == list(range(more))
    assert max(order[:1000]) < UNCACHED_BUFFER + 1000


def test_data_of_unknown_size_cannot_be_shuffled():
    unknown = examples().filter(lambda *_: True)
    with pytest.raises(ValueError, match="Received: cardinality -2"):
        batches(unknown, 32, training=True, seed=1)
    assert len(passes(batches(unknown, 32, training=False, seed=1), 1)[0]) == SIZE


def hands(make, workers, each, steps):
    """What every replica gets, [steps][replicas], with each worker's own data set."""

    def hands_of(place):
        def distribute(dataset_fn):
            context = tf.distribute.InputContext(workers, place, workers * each)
            return dataset_fn(context)

        strategy = types.SimpleNamespace(
            num_replicas_in_sync=workers * each,
            distribute_datasets_from_function=distribute,
        )
        found = itertools.islice(dealt(make(), strategy), steps * each)
        return [list(itertools.islice(found, each)) for _ in range(steps)]

    of_workers = [hands_of(place) for place in range(workers)]
    return [list(itertools.chain(*step)) for step in zip(*of_workers, strict=True)]


@pytest.mark.parametrize(("workers", "each"), [(1, 2), (2, 1), (2, 2), (3, 1), (1, 4)])
@pytest.mark.parametrize("begun", [0, 1])
def test_a_global_batch_holds_the_same_examples_however_many_share_it(
    workers, each, begun
):
    def make():
        # 13 batches a pass, the last of 4: with 4 replicas one each, with 3 not.
        dataset = batches(examples(), 8, training=True, seed=3, transform=with_seed)
        skip_epochs(dataset, begun)
        return dataset

    whole = make()
    alone = list(whole)
    *shared, after = hands(make, workers, each, steps=len(alone) + 1)
    assert [len(labels) for _, labels in after] == [0] * workers * each
    for batch, of_replicas in zip(alone, shared, strict=True):
        together = [np.concatenate(part) for part in zip(*of_replicas, strict=True)]
        np.testing.assert_array_equal(together[0], batch[0])
        np.testing.assert_array_equal(together[1], batch[1])
        sizes = [len(labels) for _, labels in of_replicas]
        assert max(sizes) - min(sizes) <= 1


def test_a_batch_of_fewer_examples_than_replicas_leaves_some_of_them_none():
    def make():
        return batches(examples(9), 8, training=False, seed=1)

    _, last = hands(make, 2, 2, steps=2)
    assert sorted(len(labels) for _, labels in last) == [0, 0, 0, 1]


def test_one_replica_reads_the_data_set_as_it_is():
    dataset = batches(examples(), 8, training=True, seed=3)
    assert dealt(dataset, tf.distribute.get_strategy()) is dataset


@pytest.mark.parametrize("training", [True, False])
def test_no_thread_tunes_a_pass_and_sleeps_on_past_its_end(training):
    def dealt_to_two(dataset):
        two = types.SimpleNamespace(
            num_replicas_in_sync=2,
            distribute_datasets_from_function=lambda make: make(
                tf.distribute.InputContext(1, 0, 2)
            ),
        )
        return dealt(dataset, two)

    dataset = batches(examples(), 8, training=training, seed=3, transform=with_seed)
    for made in (dataset, rest(dataset, 2), dealt_to_two(dataset)):
        assert made.options().autotune.enabled is False
