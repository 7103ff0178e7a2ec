"""Files of BatchingParameters: what they mean, and which are refused."""

import pytest
from server_process import digits_request, publish, serving

from serving import batching_options, flags
from serving.batching_options import BatchingOptions
from serving.errors import InvalidRequestError


def read(tmp_path, text):
    file = tmp_path / "batching.config"
    file.write_text(text)
    return batching_options.read(file)


def test_a_file_says_how_batches_are_formed(tmp_path):
    assert read(
        tmp_path,
        """
        max_batch_size { value: 128 }
        batch_timeout_micros { value: 1500 }
        max_enqueued_batches { value: 7 }
        num_batch_threads { value: 3 }
        thread_pool_name { value: "pool" }
        allowed_batch_sizes: 32
        allowed_batch_sizes: [64, 128]
        """,
    ) == BatchingOptions(
        max_batch_size=128,
        max_request_rows=128,
        max_enqueued_batches=7,
        num_batch_threads=3,
        batch_timeout_s=0.0015,
        allowed_batch_sizes=(32, 64, 128),
        thread_pool_name="pool",
    )


def test_what_a_file_leaves_out_is_as_tf_serving_has_it(tmp_path):
    options = read(tmp_path, "")
    assert (options.max_batch_size, options.max_request_rows) == (1000, 1000)
    assert (options.max_enqueued_batches, options.batch_timeout_s) == (10, 0)
    assert options.thread_pool_name == "batch_threads"


def test_large_requests_are_split_where_the_file_says_so(tmp_path):
    options = read(
        tmp_path,
        "max_batch_size { value: 100 } max_execution_batch_size { value: 10 } "
        "enable_large_batch_splitting { value: true } allowed_batch_sizes: 10",
    )
    assert (options.max_request_rows, options.max_batch_size) == (100, 10)


def test_inputs_are_padded_where_the_file_says_so(tmp_path):
    assert not read(tmp_path, "").pads_inputs
    assert read(tmp_path, "pad_variable_length_inputs: true").pads_inputs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 4",
            "Last entry in allowed_batch_sizes must match max_batch_size; "
            "last entry was 4; expected 8",
        ),
        ("allowed_batch_sizes: [4, 2]", "entries must be positive and increasing"),
        ("num_batch_threads { value: 0 }", "num_batch_threads to be 1 or more. Got 0"),
        ("max_batch_size: 8", "Invalid protobuf file: '"),
    ],
)
def test_files_that_cannot_be_are_refused(tmp_path, text, message):
    with pytest.raises(InvalidRequestError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)


def test_a_version_may_say_it_itself_with_the_threads_of_all(tmp_path):
    shared = BatchingOptions(num_batch_threads=5)
    assert batching_options.of_version(tmp_path, shared) is None
    (tmp_path / "batching_params.pbtxt").write_text(
        "max_batch_size { value: 2 } num_batch_threads { value: 9 }"
    )
    options = batching_options.of_version(tmp_path, shared)
    assert (options.max_batch_size, options.num_batch_threads) == (2, 5)


def test_a_file_without_batching_is_refused(capsys):
    with pytest.raises(SystemExit):
        flags.parse(
            ["--store=a", "--enable_batching=false", "--batching_parameters_file=b"]
        )
    assert (
        "server_options.batching_parameters_file is set without setting "
        "server_options.enable_batching to true." in capsys.readouterr().err
    )


def test_the_server_forms_batches_as_its_files_say(tmp_path, digits_litert):
    store, file = tmp_path / "store", tmp_path / "batching.config"
    publish(digits_litert, store / "digits", 1)
    file.write_text("max_batch_size { value: 1 }")
    two = digits_request(rows=2)
    with serving(f"--store={store}", f"--batching_parameters_file={file}") as server:
        server.predict(digits_request())
        with pytest.raises(Exception, match="Task size 2 is larger than maximum"):
            server.predict(two)
    parameters = store / "digits/1/batching_params.pbtxt"
    parameters.write_text("max_batch_size { value: 1 }")
    publish(digits_litert, store / "unbatched", 1)
    with serving(
        f"--store={store}", "--enable_per_model_batching_parameters"
    ) as server:
        with pytest.raises(Exception, match="Task size 2 is larger than maximum"):
            server.predict(two)
        two.model_spec.name = "unbatched"
        server.predict(two)
