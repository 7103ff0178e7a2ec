"""Config files and messages: what they mean, and the texts of those refused."""

import pathlib

import pytest
from google.protobuf import text_format

from savedmodels.protos import model_server_config_pb2
from serving import model_config
from serving.errors import FailedPreconditionError, InvalidRequestError
from serving.request_log import RequestLogOptions
from serving.served_models import ServedModels
from serving.version_policy import ALL, LATEST, Source, VersionPolicy


def configs(*models):
    """Configs from the fields of each model, as text."""
    text = "".join(f"config {{ {model} }}" for model in models)
    proto = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(f"model_config_list {{ {text} }}", proto)
    return model_config.from_proto(proto)


def model(name, more="", platform="tensorflow", base_path="/models/m"):
    return (
        f'name: "{name}" base_path: "{base_path}" model_platform: "{platform}" {more}'
    )


def test_a_file_names_models_versions_and_labels(tmp_path):
    file = tmp_path / "models.config"
    file.write_text("""
        # a comment
        model_config_list {
          config {
            name: "mnist"
            base_path: "/models/mnist"
            model_platform: "tensorflow"
            model_version_policy { specific { versions: 3 versions: 4 } }
            version_labels { key: "stable" value: 3 }
            version_labels { key: "canary", value: 4 }
          },
          config: { name: 'old', base_path: 'file:///o', model_type: TENSORFLOW }
        }
    """)
    found = model_config.read(file)
    assert list(found) == ["mnist", "old"]
    policy = VersionPolicy(None, frozenset({3, 4}))
    assert found["mnist"].source == Source(pathlib.Path("/models/mnist"), policy)
    assert found["mnist"].labels == {"stable": 3, "canary": 4}
    assert found["old"].source == Source(pathlib.Path("/o"), LATEST)
    assert found["old"].platform == "tensorflow"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", VersionPolicy(1)),
        ("latest {}", VersionPolicy(1)),
        ("latest { num_versions: 0 }", VersionPolicy(1)),
        ("latest { num_versions: 3 }", VersionPolicy(3)),
        ("all {}", ALL),
        ("specific {}", VersionPolicy(None, frozenset())),
    ],
)
def test_a_policy_says_which_versions_are_wanted(policy, expected):
    found = configs(model("m", f"model_version_policy {{ {policy} }}"))
    assert found["m"].source.policy == expected


@pytest.mark.parametrize(
    ("models", "text"),
    [
        (
            [model("m"), model("m")],
            "Illegal to list model m multiple times in config list",
        ),
        (
            [model("m", base_path="models/m")],
            "Expected model m to have an absolute path or URI; "
            "got base_path()=models/m",
        ),
        (
            [model("m", platform="")],
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is m",
        ),
        (
            [model("m", "model_type: TENSORFLOW")],
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform.",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_tf_servings_words(models, text):
    with pytest.raises(InvalidRequestError) as caught:
        configs(*models)
    assert str(caught.value) == text


def test_other_file_systems_and_custom_configs_are_refused():
    with pytest.raises(InvalidRequestError, match="local disk"):
        configs(model("m", base_path="gs://bucket/m"))
    proto = model_server_config_pb2.ModelServerConfig()
    proto.custom_model_config.SetInParent()
    with pytest.raises(InvalidRequestError, match="custom model config"):
        model_config.from_proto(proto)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"model_config_list {", "Error parsing text-format tensorflow.serving.Model"),
        (b"model_config_list { cofnig {} }", "Error parsing text-format tensorflow"),
        (b"# nothing yet", "holds no model_config_list"),
        (b"\xff", "Cannot read"),
        (None, "Cannot read"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(tmp_path, content, text):
    file = tmp_path / "models.config"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidRequestError, match=text) as caught:
        model_config.read(file)
    assert str(file) in str(caught.value)


LABELS = 'version_labels { key: "stable" value: 1 }'
MOVED = 'version_labels { key: "stable" value: 2 }'


def test_a_label_names_only_a_version_that_is_available():
    models = ServedModels()
    text = (
        "Request to assign label to version 1 of model m, "
        "which is not currently available for inference"
    )
    with pytest.raises(FailedPreconditionError) as caught:
        models.replace(configs(model("m", LABELS)), {"m": [2]})
    assert str(caught.value) == text
    assert models.configs is None  # what is refused changes nothing
    models.replace(configs(model("m", LABELS)), {"m": [2, 1]})
    assert models.labelled("m", "stable") == 1
    assert models.labelled("m", "canary") is None
    assert models.labelled("other", "stable") is None


def test_where_it_is_allowed_only_a_new_label_may_come_before_its_version():
    models = ServedModels(allow_labels_for_unavailable=True)
    models.replace(configs(model("m", LABELS)), {})
    models.replace(configs(model("m", LABELS)), {})  # again, unchanged
    with pytest.raises(FailedPreconditionError, match="version 2 of model m"):
        models.replace(configs(model("m", MOVED)), {"m": [1]})
    assert models.labelled("m", "stable") == 1
    models.replace(configs(model("m", MOVED)), {"m": [2]})
    assert models.labelled("m", "stable") == 2


def test_only_models_of_tensorflow_are_served():
    models = ServedModels()
    with pytest.raises(InvalidRequestError) as caught:
        models.replace(configs(model("m", platform="onnx")), {})
    assert str(caught.value) == "Model m requests unsupported platform onnx"
    models.replace(configs(model("m")), {})
    with pytest.raises(InvalidRequestError) as caught:
        models.replace(configs(model("m", platform="onnx")), {})
    assert str(caught.value) == (
        "Illegal to change a model's platform. For model m platform was tensorflow "
        "and new platform requested is onnx"
    )


def test_models_with_a_new_name_are_told_and_sources_follow():
    sources = {"a": Source(pathlib.Path("/a"))}
    models = ServedModels(lambda: sources)
    assert models.sources() == sources
    # Those of a store count as known.
    both = configs(model("a"), model("b"))
    assert models.replace(both, {"a": [1]}) == {"b"}
    assert set(models.sources()) == {"a", "b"}
    assert models.replace(configs(model("c")), {}) == {"c"}
    assert set(models.sources()) == {"c"}


LOGGED = (
    'logging_config {{ log_collector_config {{ type: "{}" filename_prefix: "{}" }} '
    "sampling_config {{ sampling_rate: {} }} }}"
)


def test_a_logging_config_says_where_requests_go_and_how_many():
    models = ServedModels()
    models.replace(configs(model("m", LOGGED.format("", "/logs/m", 0.25))), {})
    assert models.request_log("m") == RequestLogOptions(pathlib.Path("/logs/m"), 0.25)
    assert models.request_log("other") is None
    for nothing in ("", "logging_config {}", LOGGED.format("", "/logs/m", 0)):
        models.replace(configs(model("m", nothing)), {})
        assert models.request_log("m") is None


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (("kafka", "/a", 1), "Cannot find LogCollector::Factory for type: kafka"),
        (("", "/a", 1.5), "sampling_rate of model m to be 0 to 1. Got 1.5"),
        (("", "/a", "nan"), "Got nan"),
        (("tfrecord", "", 1), "has no filename_prefix"),
    ],
)
def test_a_logging_config_that_cannot_be_followed_is_refused(said, text):
    with pytest.raises(InvalidRequestError, match=text):
        configs(model("m", LOGGED.format(*said)))
