"""What is counted is shown as Prometheus reads it, under TF Serving's names."""

import re
import threading

import pytest

from serving.metrics import LATENCY_BOUNDS, Counter, Gauge, Histogram, exposition

# The grammar of the text format: name, labels, number.
_LINE = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r'(?:\{(?P<labels>[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
    r'(?:,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*")*)\})?'
    r" (?P<value>[0-9.e+-]+)"
)


def test_counters_are_told_apart_by_their_labels():
    counter = Counter(":a:count", ("model_name", "status"))
    counter.add("m", "OK")
    counter.add("m", "OK", amount=2)
    counter.add("m", "NOT_FOUND")
    assert exposition([counter]) == (
        "# TYPE :a:count counter\n"
        ':a:count{model_name="m",status="NOT_FOUND"} 1\n'
        ':a:count{model_name="m",status="OK"} 3\n'
    )


def test_a_histogram_counts_what_lies_at_or_below_each_bound():
    histogram = Histogram("h", ("m",), [1.0, 10.0])
    for value in (0.5, 1.0, 7.0, 99.5):
        histogram.observe(value, "x")
    assert exposition([histogram]).splitlines() == [
        "# TYPE h histogram",
        'h_bucket{m="x",le="1"} 2',
        'h_bucket{m="x",le="10"} 3',
        'h_bucket{m="x",le="+Inf"} 4',
        'h_sum{m="x"} 108',
        'h_count{m="x"} 4',
    ]


def test_latencies_have_the_buckets_of_tf_serving():
    assert len(LATENCY_BOUNDS) == 33
    assert LATENCY_BOUNDS[:3] == pytest.approx((10, 18, 32.4))


def test_a_gauge_is_read_when_somebody_looks():
    depth = {("m",): 1.0}
    gauge = Gauge("depth", lambda: depth, ("model_name",))
    depth["m",] = 2.5
    assert exposition([gauge]).splitlines()[1:] == ['depth{model_name="m"} 2.5']


def test_names_and_texts_of_any_kind_make_lines_that_can_be_read():
    counter = Counter(":tensorflow:serving:request_count", ("model_name",))
    for name in ('a"b', "a\\b", "a\nb", "ä 漢", ""):
        counter.add(name)
    lines = exposition([counter]).splitlines()[1:]
    assert len(lines) == 5
    assert all(_LINE.fullmatch(line) for line in lines)


def test_what_was_never_counted_is_not_shown():
    assert exposition([Counter("c"), Histogram("h", (), [1.0])]) == ""


def test_threads_lose_no_count():
    counter = Counter("c", ("who",))

    def count():
        for _ in range(20_000):
            counter.add("all")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(counter.samples()) == ['c{who="all"} 80000']
