"""RetinaNet detector: finds the objects in an image, with a name and a box for each.

Paper    Lin et al. 2017, "Focal Loss for Dense Object Detection", ICCV. Differs: a
         ResNet of 10 layers and half the width from random weights, a feature pyramid
         of the levels that the data set needs, 64 filters and 2 convolutions a head
Dataset  trainers/datasets/digit_scenes.py   image [128, 128, 3] uint8; objects: bbox
         [n, 4] float32 as [ymin, xmin, ymax, xmax] in shares of the image, label [n]
         int64. `DATASET=tree_crowns` are aerial photos; `coco:<images>,<annotations>`
         and `voc:<folder>` are your own; `tfds:voc/2007` and others have the same
         features. Sizes and anchors follow from the boxes: `_detection_plan.py`
Network  image on a square, normalised -> ResNet -> feature pyramid -> at every place
         and anchor: a score for each class, and a box; RetinaNet of tf-models-official
Loss     focal loss of the scores + 50 x Huber loss of the boxes, per matched anchor
Serves   serving_default   image                 [batch] string, PNG or JPEG of any size
                        -> detection_boxes       [batch, 100, 4] float32, shares of the
                                                 image: [ymin, xmin, ymax, xmax], 0..1
                           detection_scores      [batch, 100] float32, falling
                           detection_classes     [batch, 100] int64, from 0; -1 beyond
                                                 the last detection
                           detection_labels      [batch, 100] string, their names
                           num_detections        [batch] int32
                           canvas_size           [batch] int32, side in pixels of the
                                                 square that the network looks at
         pixels            pixels                [batch, height, width, 3] uint8
                        -> the same
Measured digit_scenes: AP 0.811, AP50 0.965 on 500 test scenes, 7.9 minutes, 2 CPU
         cores; and AP 0.818 with the same weights since boxes are means, see
         `_suppression.py`. tree_crowns, on 75 test trees: AP50 0.514, 9.3 minutes,
         of which 7.3 in epochs; 0.488 in an earlier training, 0.485 and 0.405 in two of
         7 epochs with one view
Run      make train MODEL=retinanet_detector
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import tensorflow as tf
import tf_keras

from savedmodels.signature import Signatures, decode_pixels
from trainers import _detect, _detection, _detection_plan, _retinanet, _scenes
from trainers._config import TrainConfig, check
from trainers._detection_plan import Plan
from trainers._evaluation import Answer, Evaluation
from trainers.datasets import _pipeline

# The losses are lowest long before the boxes are best; and the average precision of the
# few images that a data set may have for validation says less than the schedule, whose
# last steps are the smallest. The paper takes the last weights too.
TAKES_LAST = True

_EXAMPLES = 32
# The share of training in which the learning rate rises, before it falls.
_WARM_UP = 0.04
_CLIP_NORM = 10.0
# Of decoded images, in memory; and how many are mixed where they do not fit.
_CACHED_BYTES, _UNCACHED_BUFFER = 2**31, 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainConfig):
    """The shared training fields, the network, and what the data set else decides.

    Attributes:
        depth: Layers of the ResNet: 10, 18, 34, 50, 101 or 152.
        filters: Feature maps of the pyramid and the heads.
        head_layers: Convolutions of each head before its last.
        weight_decay: Weight of the sum of squares of the weights, in the loss.
        max_detections: Boxes that an answer has room for.
        image_size: Side in pixels of the square that the network is trained on; 0
            for one that fits the data set.
        anchor_size: Side of a level's smallest anchors, in its steps; 0 likewise.
        aspect_ratios: Width to height of the anchors; none likewise.
        symmetry: `none`, `mirror` or `all`: which views of an image are as good as
            it; `auto` for what the data set says of itself.
        views: In how many views an answer looks at an image: 1, 2 (mirrored too) or 4
            (upside down too). Each takes its time; the boxes of all are joined.
        epoch_steps: Steps of an epoch at least: a small data set is repeated in it; 0
            for 500 at 128 pixels, and fewer of larger images.
    """

    # Few photos, from which little is learnt in a step.
    FOR_DATASET: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tree_crowns": {"epochs": 8, "views": 4}
    }

    dataset: str = "digit_scenes"
    epochs: int = 5
    global_batch_size: int = 8
    learning_rate: float = 2e-3
    depth: Literal[10, 18, 34, 50, 101, 152] = 10
    filters: int = 64
    head_layers: int = 2
    weight_decay: float = 1e-4
    max_detections: int = 100
    image_size: int = 0
    anchor_size: float = 0.0
    aspect_ratios: tuple[float, ...] = ()
    symmetry: Literal["auto", "none", "mirror", "all"] = "auto"
    views: Literal[1, 2, 4] = 1
    epoch_steps: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.depth in (10, 18, 34, 50, 101, 152)
        check(self, "depth", fits, "10, 18, 34, 50, 101 or 152")
        for field in ("filters", "head_layers", "max_detections"):
            check(self, field, getattr(self, field) >= 1, "1 or more")
        check(self, "weight_decay", self.weight_decay >= 0, "0 or more")
        fits = self.image_size == 0 or 32 <= self.image_size <= 2048
        check(self, "image_size", fits, "0, or 32 to 2048")
        check(self, "anchor_size", 0 <= self.anchor_size <= 16, "0 to 16")
        fits = all(0 < ratio <= 10 for ratio in self.aspect_ratios)
        check(self, "aspect_ratios", fits, "numbers above 0, up to 10")
        fits = self.symmetry in ("auto", "none", "mirror", "all")
        check(self, "symmetry", fits, "`auto`, `none`, `mirror` or `all`")
        check(self, "views", self.views in (1, 2, 4), "1, 2 or 4")
        check(self, "epoch_steps", self.epoch_steps >= 0, "0 or more")


SMOKE = Config(
    epochs=2,
    image_size=64,
    filters=16,
    head_layers=1,
    epoch_steps=20,
)


def make_datasets(config: Config) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Returns (train, validation), both in batches of (image, targets)."""
    plan = _detection_plan.plan(config)
    return (
        _batches(config, plan, "train", plan.side, training=True),
        _batches(config, plan, "validation", plan.served_side, training=False),
    )


def make_model(config: Config) -> tf_keras.Model:
    """Returns the compiled network."""
    plan = _detection_plan.plan(config)
    task = _retinanet.make_task(plan, config)
    model = _retinanet.RetinaNet(task, name="retinanet_detector")
    steps = config.epochs * _steps(config, plan)
    rising = int(_WARM_UP * steps)
    rates = tf_keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=config.learning_rate,
        warmup_steps=rising,
        decay_steps=max(steps - rising, 1),
    )
    model.compile(tf_keras.optimizers.Adam(rates, global_clipnorm=_CLIP_NORM))
    return model


def make_signatures(model: tf_keras.Model, config: Config) -> Signatures:
    """Returns what a client may call, by signature name."""
    plan = _detection_plan.plan(config)
    detect = _detect.Detector(model, plan, config.max_detections, config.views)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image")])
    def from_files(image):
        return detect.each(image, lambda data: decode_pixels(data, 3))

    raw = tf.TensorSpec([None, None, None, 3], tf.uint8, name="pixels")

    @tf.function(input_signature=[raw])
    def from_pixels(pixels):
        return detect.each(pixels)

    return {"serving_default": from_files, "pixels": from_pixels}


def make_examples(config: Config) -> dict[str, dict[str, np.ndarray]]:
    """Returns 32 held-out requests for each signature, by alias."""
    images = _scenes.read(config.dataset, "test", config.datasets_dir).images
    images = np.resize(images, _EXAMPLES)  # from the first again where there are fewer
    decoded = [tf.io.decode_image(image, channels=3).numpy() for image in images]
    height, width = np.min([image.shape[:2] for image in decoded], axis=0)
    return {
        "serving_default": {"image": images},
        "pixels": {"pixels": np.stack([image[:height, :width] for image in decoded])},
    }


def evaluate(answer: Answer, config: Config, split: str = "test") -> Evaluation:
    """Judges whatever `answer` runs, on all examples of a split."""
    names = _detection_plan.plan(config).class_names
    truth = _scenes.read(config.dataset, split, config.datasets_dir)
    return _detection.judge(answer, truth, names)


def _batches(
    config: Config, plan: Plan, split: str, side: int, *, training: bool
) -> tf.data.Dataset:
    dataset = _scenes.examples(config.dataset, split, config.datasets_dir)
    count = int(dataset.cardinality())
    parser = _retinanet.make_parser(plan, side)

    def place(image, boxes, labels):
        if training:
            part, _ = _scenes.fitted(image, plan.served_side, enlarge=plan.enlarge)
            return part, boxes, labels
        square, size = _scenes.onto_canvas(
            image, plan.served_side, enlarge=plan.enlarge
        )
        return square, boxes * tf.tile(size / plan.served_side, [2]), labels

    def target(image, boxes, labels, seed=None):
        if training:
            image, boxes, labels = _scenes.distort(
                image, boxes, labels, seed, side=side, symmetry=plan.symmetry
            )
        return _retinanet.as_targets(parser, image, boxes, labels)

    dataset = dataset.map(place, num_parallel_calls=tf.data.AUTOTUNE)
    if not training:
        dataset = dataset.map(target, num_parallel_calls=tf.data.AUTOTUNE)
    return _pipeline.batches(
        dataset,
        config.global_batch_size,
        training=training,
        seed=config.seed,
        cache=count * plan.served_side**2 * 3 * 4 <= _CACHED_BYTES,
        uncached_buffer=_UNCACHED_BUFFER,
        transform_one=target if training else None,
        passes=_passes(config, plan, count) if training else 1,
    )


def _passes(config: Config, plan: Plan, examples: int) -> int:
    """How often an epoch goes through the training split."""
    return -(-plan.steps * config.global_batch_size // examples)


def _steps(config: Config, plan: Plan) -> int:
    """Training steps of an epoch."""
    dataset = _scenes.examples(config.dataset, "train", config.datasets_dir)
    count = int(dataset.cardinality())
    return -(-_passes(config, plan, count) * count // config.global_batch_size)
