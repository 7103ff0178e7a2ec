"""What training leaves for a first try: files that a person can open."""

import json

import numpy as np
import PIL.Image

from pipelines import _examples


def test_images_become_png_and_numbers_of_a_request(tmp_path):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1)
    first = _examples.write(tmp_path, "digits", {"image": images})
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(first)), images[0, ..., 0])
    request = json.loads((tmp_path / "digits.json").read_text())
    assert request == {"instances": images.tolist()}


def test_texts_become_lines_and_strings_of_a_request(tmp_path):
    texts = np.array(["it’s fun".encode(), b'a "bore"', b"so so"], object)
    first = _examples.write(tmp_path, "mood", {"text": texts})
    assert first == tmp_path / "mood.txt"
    assert first.read_text() == 'it’s fun\na "bore"\nso so\n'
    request = json.loads((tmp_path / "mood.json").read_text())
    assert request == {"instances": ["it’s fun", 'a "bore"']}


def test_other_bytes_become_base64_in_a_request(tmp_path):
    encoded = np.array([b"\x89PNG", b"\x00\x01"], object)
    first = _examples.write(tmp_path, "photos", {"image": encoded})
    assert first == tmp_path / "photos.json"
    assert json.loads(first.read_text()) == {
        "instances": [{"b64": "iVBORw=="}, {"b64": "AAE="}]
    }


def test_images_of_an_earlier_training_go_and_those_of_the_user_stay(tmp_path):
    jpeg = np.array([b"\xff\xd8\xff 0", b"\xff\xd8\xff 1"], object)
    _examples.write(tmp_path, "photos", {"image": jpeg})
    (tmp_path / "photos" / "mine.jpg").write_bytes(b"mine")
    png = np.array([b"\x89PNG\r\n\x1a\n 0"], object)
    _examples.write(tmp_path, "photos", {"image": png})
    left = sorted(path.name for path in (tmp_path / "photos").iterdir())
    assert left == ["00.png", "mine.jpg"]
