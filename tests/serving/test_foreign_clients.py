"""Clients of others against the server, where they are installed; no extra has them."""

import numpy as np
import pytest

IMAGES = np.zeros((2, 28, 28, 1), np.uint8)
IMAGES[0, 6:8] = 255  # about pixels 168 to 224: of class 2, whose share begins at 158
IMAGES[1, 20:22] = 255  # 560 to 616: of class 7, from 553 on
CLASSES = [2, 7]


def test_tritons_grpc_client_is_answered(ports):
    triton = pytest.importorskip("tritonclient.grpc")
    image = triton.InferInput("image", list(IMAGES.shape), "UINT8")
    image.set_data_from_numpy(IMAGES)
    client = triton.InferenceServerClient(f"127.0.0.1:{ports[0]}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    metadata = client.get_model_metadata("digits")
    assert [(i.name, i.datatype) for i in metadata.inputs] == [("image", "UINT8")]
    answer = client.infer("digits", [image], request_id="7")
    assert answer.get_response().id == "7"
    assert answer.as_numpy("class_id").tolist() == CLASSES
    client.close()


@pytest.mark.parametrize("sends_bytes", [False, True])
@pytest.mark.parametrize("takes_bytes", [False, True])
def test_tritons_http_client_is_answered(ports, sends_bytes, takes_bytes):
    triton = pytest.importorskip("tritonclient.http")
    image = triton.InferInput("image", list(IMAGES.shape), "UINT8")
    image.set_data_from_numpy(IMAGES, binary_data=sends_bytes)
    wanted = triton.InferRequestedOutput("class_id", binary_data=takes_bytes)
    client = triton.InferenceServerClient(f"127.0.0.1:{ports[1]}")
    assert client.is_server_live()
    assert client.is_model_ready("digits")
    assert client.get_model_metadata("digits")["inputs"][0]["datatype"] == "UINT8"
    for compression in (None, "gzip"):
        answer = client.infer(
            "digits",
            [image],
            outputs=[wanted],
            request_compression_algorithm=compression,
            response_compression_algorithm=compression,
        )
        assert answer.as_numpy("class_id").tolist() == CLASSES
    client.close()


@pytest.mark.parametrize("is_raw", [False, True])
def test_kserves_grpc_client_is_answered(ports, is_raw):
    kserve = pytest.importorskip("kserve")
    import asyncio

    image = kserve.InferInput("image", list(IMAGES.shape), "UINT8")
    image.set_data_from_numpy(IMAGES, binary_data=is_raw)
    request = kserve.InferRequest(model_name="digits", infer_inputs=[image])

    async def ask():
        client = kserve.InferenceGRPCClient(f"127.0.0.1:{ports[0]}")
        try:
            assert await client.is_model_ready("digits")
            return await client.infer(request)
        finally:
            await client.close()

    outputs = {output.name: output for output in asyncio.run(ask()).outputs}
    assert outputs["class_id"].as_numpy().tolist() == CLASSES
