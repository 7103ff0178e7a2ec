"""One's own images: taken whole and split without leaks, or refused in one message."""

import io
import json
import re

import numpy as np
import PIL.Image
import pytest

from savedmodels.errors import MaaskitError, UsageError
from trainers import _catalog, _scenes
from trainers.datasets import _boxes, _load
from trainers.datasets._package import DatasetError

SPLITS = ("train", "validation", "test")
COUNT = 20


def picture(seed, size=(60, 80)):
    pixels = np.random.default_rng(seed).integers(0, 256, [*size, 3], np.uint8)
    return PIL.Image.fromarray(pixels)


@pytest.fixture
def content():
    """Twenty images in the format of COCO, each with a box of its own height."""
    return {
        "images": [{"id": i, "file_name": f"{i:02}.png"} for i in range(COUNT)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "annotations": [
            {"image_id": i, "category_id": 7 if i % 2 else 3, "bbox": [8, 6, 40, 6 + i]}
            for i in range(COUNT)
        ],
    }


@pytest.fixture
def coco(tmp_path, content):
    """Writes images and annotations; returns the data set's name."""
    images = tmp_path / "my, images+"
    images.mkdir()
    for i in range(COUNT):
        picture(i).save(images / f"{i:02}.png")

    def write(changed=content):
        text = changed if isinstance(changed, str) else json.dumps(changed)
        (tmp_path / "boxes.json").write_text(text)
        return f"coco:{images},{tmp_path / 'boxes.json'}"

    write.images = images
    return write


@pytest.fixture
def voc(tmp_path):
    """The same in the format of PASCAL VOC."""
    folder = tmp_path / "voc"
    for name in ("JPEGImages", "Annotations"):
        (folder / name).mkdir(parents=True)
    for i in range(COUNT):
        picture(i).save(folder / "JPEGImages" / f"{i:02}.jpg")
        write_xml(folder, i)
    return folder


def write_xml(folder, i, name=None, box=None, filename=None):
    ymin, xmin, ymax, xmax = box or (6, 8, 12 + i, 48)
    (folder / "Annotations" / f"{i:02}.xml").write_text(
        f"<annotation><filename>{filename or f'{i:02}.jpg'}</filename>"
        "<size><width>9</width><height>9</height></size>"
        f"<object><name>{name or ('cat' if i % 2 else 'dog')}</name><bndbox>"
        f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
        "</bndbox></object></annotation>"
    )


def examples(name, folder):
    """By split: (image, boxes in pixels, class names)."""
    names = _load.prepare(name, folder).info.features["objects"]["label"].names
    read = {}
    for split in SPLITS:
        rows = _scenes.examples(name, split, str(folder)).as_numpy_iterator()
        read[split] = [
            (image, boxes * np.tile(image.shape[:2], 2), [names[i] for i in labels])
            for image, boxes, labels in rows
        ]
    return read


def everything(name, folder):
    return [row for part in examples(name, folder).values() for row in part]


def test_coco_is_read_as_it_was_written(coco, tmp_path):
    read = everything(coco(), tmp_path / "datasets")
    assert len(read) == COUNT
    found = {}
    for image, boxes, names in read:
        (i,) = (i for i in range(COUNT) if (np.asarray(picture(i)) == image).all())
        found[i] = (np.round(boxes, 3).tolist(), names)
    assert found == {
        i: ([[6, 8, 12 + i, 48]], ["cat" if i % 2 else "dog"]) for i in range(COUNT)
    }


def test_voc_is_read_as_it_was_written(voc, tmp_path):
    read = everything(f"voc:{voc}", tmp_path / "datasets")
    heights = {}
    for image, boxes, names in read:
        assert image.shape == (60, 80, 3)  # not what `size` says
        ((ymin, xmin, ymax, xmax),) = np.round(boxes, 3).tolist()
        assert (ymin, xmin, xmax) == (6, 8, 48)
        heights[int(ymax - 12)] = names
    assert heights == {i: ["cat" if i % 2 else "dog"] for i in range(COUNT)}


def test_xml_may_lie_beside_the_images_and_name_another_machines_path(voc, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for i in range(COUNT):
        write_xml(voc, i, filename=f"C:\\photos\\{i:02}.jpg")
        for part in (voc / "JPEGImages", voc / "Annotations"):
            for path in part.glob(f"{i:02}.*"):
                path.rename(flat / path.name)
    assert len(everything(f"voc:{flat}", tmp_path / "datasets")) == COUNT


def test_equal_images_never_lie_in_two_splits(coco, content, tmp_path):
    for i in range(COUNT):  # each three times, once in another format
        picture(i).save(coco.images / f"again {i}.png")
        picture(i).save(coco.images / f"other {i}.png", compress_level=9, optimize=True)
        for more, name in ((100, "again"), (200, "other")):
            content["images"].append({"id": more + i, "file_name": f"{name} {i}.png"})
    read = examples(coco(), tmp_path / "datasets")
    pixels = {
        split: {im.tobytes() for im, _, _ in part} for split, part in read.items()
    }
    assert sum(map(len, read.values())) == 3 * COUNT
    assert {split: len(part) for split, part in pixels.items()} == {
        "train": 16, "validation": 2, "test": 2,
    }  # fmt: skip
    assert len(set.union(*pixels.values())) == COUNT


@pytest.mark.parametrize(
    ("mode", "ending"),
    [("L", "png"), ("RGBA", "png"), ("I;16", "png"), ("P", "png"), ("1", "png"),
     ("CMYK", "jpg"), ("L", "jpg"), ("RGB", "bmp"), ("RGB", "tif"), ("RGB", "webp")],
)  # fmt: skip
def test_images_of_every_kind_become_colours(coco, content, tmp_path, mode, ending):
    values = np.linspace(0, 65535, 60 * 80).reshape(60, 80).astype(np.uint16)
    image = PIL.Image.fromarray(values)
    if mode != "I;16":
        grey = PIL.Image.fromarray((values >> 8).astype(np.uint8))
        image = grey.convert("P") if mode == "P" else grey.convert("RGB").convert(mode)
    image.save(coco.images / f"odd.{ending}")
    content["images"][0]["file_name"] = f"odd.{ending}"
    read = everything(coco(), tmp_path / "datasets")
    assert len(read) == COUNT
    (odd,) = (im for im, boxes, _ in read if np.round(boxes[0, 2]) == 12)
    assert odd.shape == (60, 80, 3)
    if mode != "1":
        np.testing.assert_allclose(odd[..., 0], values >> 8, atol=12)


def test_tiny_and_huge_images_keep_their_boxes(coco, content, tmp_path):
    PIL.Image.new("RGB", (1, 1)).save(coco.images / "tiny.png")
    PIL.Image.new("RGB", (8000, 2000), "red").save(coco.images / "huge.jpg")
    content["images"][0]["file_name"] = "tiny.png"
    content["images"][1]["file_name"] = "huge.jpg"
    content["annotations"][0]["bbox"] = [0, 0, 1, 1]
    content["annotations"][1]["bbox"] = [800, 400, 4000, 1000]
    read = everything(coco(), tmp_path / "datasets")
    by_shape = {im.shape[:2]: boxes for im, boxes, _ in read}
    np.testing.assert_allclose(by_shape[1, 1], [[0, 0, 1, 1]])
    # A quarter of its size, and so are its boxes.
    scale = 2048 / 8000
    wanted = np.array([[400, 800, 1400, 4800]]) * scale
    np.testing.assert_allclose(by_shape[512, 2048], wanted, rtol=1e-5)


def test_boxes_outside_are_clipped_or_left_out_and_counted(
    coco, content, tmp_path, capsys
):
    content["annotations"][0]["bbox"] = [-10, -10, 30, 90]  # the image is 80x60
    content["annotations"][1]["bbox"] = [100, 10, 5, 5]
    content["annotations"][2]["bbox"] = [10, 10, 0, 5]
    read = everything(coco(), tmp_path / "datasets")
    assert sum(len(boxes) for _, boxes, _ in read) == COUNT - 2
    assert any(
        np.allclose(b, [[0, 0, 60, 20]], atol=1e-3) for _, b, _ in read if len(b)
    )
    told = capsys.readouterr().err
    assert "1 boxes leave their image" in told
    assert "2 lie outside or have no area" in told


def test_crowds_are_left_out(coco, content, tmp_path, capsys):
    content["annotations"][0]["iscrowd"] = 1
    read = everything(coco(), tmp_path / "datasets")
    assert sum(len(boxes) for _, boxes, _ in read) == COUNT - 1
    assert "1 crowds are left out" in capsys.readouterr().err


def test_a_corrupt_image_is_named_and_counted_and_the_others_are_used(
    coco, tmp_path, capsys
):
    whole = (coco.images / "04.png").read_bytes()
    (coco.images / "04.png").write_bytes(whole[: len(whole) // 2])
    (coco.images / "05.png").write_bytes(b"")
    name = coco()
    assert len(everything(name, tmp_path / "datasets")) == COUNT - 2
    told = capsys.readouterr().err
    assert "2 of 20 images cannot be read and are left out: `04.png" in told
    left_out = _load.facts(name, tmp_path / "datasets")["left_out"]
    assert [line.partition(":")[0] for line in left_out] == ["04.png", "05.png"]


def test_facts_tell_where_the_data_come_from(coco, tmp_path):
    import hashlib

    name = coco()
    folder = tmp_path / "datasets"
    assert not _load.facts(name, folder)["prepared"]
    _load.prepare(name, folder)
    facts = _load.facts(name, folder)
    content = (tmp_path / "boxes.json").read_bytes()
    assert facts["sha256"] == hashlib.sha256(content).hexdigest()
    assert str(coco.images.resolve()) in facts["source"]
    assert facts["splits"] == {"train": 16, "validation": 2, "test": 2}
    assert (facts["images"], facts["left_out"], facts["prepared"]) == (COUNT, [], True)
    json.dumps(facts)


def test_changed_annotations_are_another_data_set(coco, content, tmp_path):
    from trainers.datasets import _own_boxes

    first = _load.facts(coco(), tmp_path)["version"]
    _own_boxes._annotations.cache_clear()  # as in another process
    content["annotations"][0]["bbox"] = [1, 2, 3, 4]
    assert _load.facts(coco(), tmp_path)["version"] != first


def broken(content, what):
    """The content with one mistake in it."""
    changed = json.loads(json.dumps(content))
    first, image = changed["annotations"][0], changed["images"][0]
    if what == "class":
        first["category_id"] = 99
    elif what == "list id":
        first["category_id"] = [7]
    elif what == "image":
        first["image_id"] = 99
    elif what == "box":
        first["bbox"] = [1, 2, 3]
    elif what == "infinite":
        first["bbox"] = [1, 2, 3, float("inf")]
    elif what == "name":
        del image["file_name"]
    elif what == "twice":
        changed["images"][1]["id"] = image["id"]
    elif what == "names":
        changed["categories"][1]["name"] = "cat"
    elif what == "none":
        changed["annotations"] = []
    elif what == "missing":
        image["file_name"] = "nowhere.png"
    elif what == "list":
        del changed["categories"]
    return changed


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("class", "annotation 0 has the unknown class 99"),
        ("list id", r"annotation 0 has the unknown class \[7\]"),
        ("image", "annotation 0 has the unknown image 99"),
        ("box", r"annotation 0 has the `bbox` \[1, 2, 3\], not four numbers"),
        ("infinite", "annotation 0 has the `bbox` .*inf"),
        ("name", "`images` 0 has no `id` or no `file_name`"),
        ("twice", "the id 0 stands twice in `images`"),
        ("names", "two `categories` have the same name"),
        ("none", "has no boxes"),
        ("missing", "1 that are not there: `nowhere.png`"),
        ("list", "it has no list `categories`"),
    ],
)
def test_a_mistake_in_coco_is_one_message(coco, content, tmp_path, what, told):
    refused(coco(broken(content, what)), tmp_path, told)


@pytest.mark.parametrize("text", ["{", "[]", "\x00", ""])
def test_what_is_no_coco_is_one_message(coco, tmp_path, text):
    refused(coco(text), tmp_path, "Expected annotations in the format of COCO")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("<annotation>", "it is not XML"),
        ("<html></html>", "its first element is `html`"),
        ("<annotation><object><name> </name></object></annotation>", "has no `name`"),
        (
            "<annotation><object><name>a</name><bndbox><xmin>x</xmin></bndbox></object>"
            "</annotation>",
            "not four numbers",
        ),
    ],
)
def test_a_mistake_in_voc_is_one_message(voc, tmp_path, content, told):
    (voc / "Annotations" / "03.xml").write_text(content)
    message = refused(f"voc:{voc}", tmp_path, told)
    assert "03.xml" in message


def test_an_xml_without_its_image_is_named(voc, tmp_path):
    (voc / "JPEGImages" / "07.jpg").unlink()
    refused(f"voc:{voc}", tmp_path, "1 files without: `Annotations/07.xml`")


def test_a_folder_without_annotations_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(f"voc:{tmp_path / 'empty'}", tmp_path, "holds no annotations")


def test_too_few_images_are_told(coco, content, tmp_path):
    content["images"], content["annotations"] = (
        content["images"][:2], content["annotations"][:2],
    )  # fmt: skip
    refused(coco(), tmp_path, "is too small.* 2 that can be read")


def refused(name, folder, told):
    with pytest.raises(MaaskitError) as caught:
        _load.load(name, "train", folder / "datasets", like=_boxes.features())
    message = str(caught.value)
    assert isinstance(caught.value, DatasetError)
    assert "\n" not in message
    assert re.search(told, message)
    return message


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("coco:", "not named in full"),
        ("voc:", "not named in full"),
        ("coco:{folder}", "not named in full"),
        ("coco:{folder}/none,x.json", "no such folder"),
        ("coco:{folder},{folder}/x.json", "no such file"),
        ("voc:{folder}/none", "no such folder"),
    ],
)
def test_a_wrong_name_is_told_before_anything_is_read(tmp_path, name, told):
    with pytest.raises(UsageError, match=told):
        _catalog.check_dataset(name.format(folder=tmp_path))


def test_scenes_written_as_coco_are_the_same_data(datasets_dir, tmp_path):
    """A real data set, by the way of a file: every image, box and class."""
    folder = tmp_path / "images"
    folder.mkdir()
    categories = [{"id": digit + 1, "name": str(digit)} for digit in range(10)]
    content = {"images": [], "annotations": [], "categories": categories}
    wanted = {}
    for split in SPLITS:
        part = _scenes.read("digit_scenes", split, str(datasets_dir))
        for image, size, boxes, labels in zip(
            part.images, part.sizes, part.boxes, part.labels, strict=True
        ):
            number = len(wanted)
            (folder / f"{number}.jpg").write_bytes(image)
            content["images"].append({"id": number, "file_name": f"{number}.jpg"})
            for (top, left, bottom, right), label in zip(
                (boxes * np.tile(size, 2)).tolist(), labels.tolist(), strict=True
            ):
                box = [left, top, right - left, bottom - top]
                content["annotations"].append(
                    {"image_id": number, "category_id": label + 1, "bbox": box}
                )
            wanted[image] = (boxes, labels)
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    name = f"coco:{folder},{tmp_path / 'boxes.json'}"
    found = 0
    for split in SPLITS:
        part = _scenes.read(name, split, str(tmp_path / "datasets"))
        for image, boxes, labels in zip(
            part.images, part.boxes, part.labels, strict=True
        ):
            np.testing.assert_allclose(boxes, wanted[image][0], atol=1e-5)
            np.testing.assert_array_equal(labels, wanted[image][1])
            assert PIL.Image.open(io.BytesIO(image)).size == (128, 128)
            found += 1
    assert found == len(wanted)
