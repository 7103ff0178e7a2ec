"""The tf.Examples that requests for Classify and Regress carry."""

from collections.abc import Sequence

import numpy as np

from savedmodels.protos import input_pb2


def serialized_examples(proto: input_pb2.Input) -> list[bytes]:
    """Returns each tf.Example of an `Input`, serialized; none for an empty one.

    The features of a context are put into every example; where an example has a
    feature of that name itself, its own wins.
    """
    kind = proto.WhichOneof("kind")
    if kind == "example_list":
        return [e.SerializeToString() for e in proto.example_list.examples]
    if kind == "example_list_with_context":
        # Protobuf merges messages whose bytes follow each other; the later one wins.
        both = proto.example_list_with_context
        context = both.context.SerializeToString()
        return [context + example.SerializeToString() for example in both.examples]
    return []


def as_array(examples: Sequence[bytes]) -> np.ndarray:
    """Returns serialized examples as object [examples], what signatures take."""
    array = np.empty(len(examples), np.object_)
    array[:] = examples
    return array
