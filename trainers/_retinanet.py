"""RetinaNet of tf-models-official, as a model that `fit` trains, and its targets."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras
from official.vision.configs import backbones, common, decoders
from official.vision.configs import retinanet as configs
from official.vision.dataloaders import retinanet_input
from official.vision.modeling import factory
from official.vision.modeling.backbones import factory as backbone_factory
from official.vision.ops import preprocess_ops
from official.vision.tasks import retinanet as tasks

from trainers import _detection_plan
from trainers._detection_plan import Plan

# Boxes of lower scores are not looked at.
_LEAST_SCORE = 0.05
# It leaves out only what is nearly the same: `_suppression.py` chooses among the rest,
# of which it sees this many for each box that an answer has room for.
_NEARLY_THE_SAME, _CANDIDATES = 0.95, 5
# Moving statistics over about 10 steps: the default 0.99 lags behind short runs, and a
# batch has enough places for its own to be sure.
_STATISTICS_MOMENTUM = 0.9


def make_task(plan: Plan, config: Any) -> tasks.RetinaNetTask:
    """Returns the official task: its configuration, and the steps of a training.

    Args:
        plan: Of the data set.
        config: A `retinanet_detector.Config`.
    """
    model = configs.RetinaNet(
        # Class 0 is the background.
        num_classes=len(plan.class_names) + 1,
        # Any size: trained on smaller squares than it answers for.
        input_size=[None, None, 3],
        min_level=_detection_plan.MIN_LEVEL,
        max_level=plan.max_level,
        anchor=configs.Anchor(
            num_scales=_detection_plan.ANCHOR_SCALES,
            aspect_ratios=list(plan.aspect_ratios),
            anchor_size=plan.anchor_size,
        ),
        backbone=backbones.Backbone(
            type="resnet",
            resnet=backbones.ResNet(model_id=config.depth, depth_multiplier=0.5),
        ),
        decoder=decoders.Decoder(
            type="fpn", fpn=decoders.FPN(num_filters=config.filters)
        ),
        head=configs.RetinaNetHead(
            num_convs=config.head_layers, num_filters=config.filters
        ),
        detection_generator=configs.DetectionGenerator(
            # A twelfth of the time that the default takes.
            nms_version="batched",
            pre_nms_score_threshold=_LEAST_SCORE,
            nms_iou_threshold=_NEARLY_THE_SAME,
            max_num_detections=_CANDIDATES * config.max_detections,
        ),
        norm_activation=common.NormActivation(
            use_sync_bn=False, norm_momentum=_STATISTICS_MOMENTUM
        ),
    )
    losses = configs.Losses(l2_weight_decay=config.weight_decay)
    return tasks.RetinaNetTask(configs.RetinaNetTask(model=model, losses=losses))


class RetinaNet(tf_keras.Model):
    """The official network, trained step by step by the official task."""

    def __init__(self, task: tasks.RetinaNetTask, name: str) -> None:
        super().__init__(name=name)
        self.network = _network(task)
        self._task = task
        self._means = [
            tf_keras.metrics.Mean(part)
            for part in ("model_loss", "cls_loss", "box_loss")
        ]
        self.built = True  # the network is

    @property
    def metrics(self) -> list[Any]:
        """Means over an epoch; Keras begins them anew."""
        return self._means

    def call(self, images: tf.Tensor, training: bool = False) -> Mapping[str, Any]:
        """Returns the raw outputs for normalised images [batch, side, side, 3]."""
        return self.network(images, training=training)

    def train_step(self, data: tuple[tf.Tensor, Any]) -> dict[str, tf.Tensor]:
        """Takes one step on (images, targets)."""
        self._task.train_step(data, self.network, self.optimizer, self._means)
        return self._scored()

    def test_step(self, data: tuple[tf.Tensor, Any]) -> dict[str, tf.Tensor]:
        """Judges one batch of (images, targets)."""
        images, targets = data
        outputs = self.network(images, training=False)
        _, classes, boxes, both = self._task.build_losses(outputs, targets)
        for mean, value in zip(self._means, (both, classes, boxes), strict=True):
            mean.update_state(value)
        return self._scored()

    def detect(self, images: tf.Tensor, sizes: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Returns the boxes with the highest scores, many for each object.

        Args:
            images: Squares [batch, side, side, 3] uint8.
            sizes: Height and width [batch, 2] float32 that the images take of them.

        Returns:
            `detection_boxes` [batch, most, 4] in pixels, `detection_scores`,
            `detection_classes` from 1 on, and `num_detections` [batch].
        """
        return self.network(normalised(images), image_shape=sizes, training=False)

    def _scored(self) -> dict[str, tf.Tensor]:
        """The losses by the names that the training loop knows."""
        both, classes, boxes = (mean.result() for mean in self._means)
        return {"loss": both, "class_loss": classes, "box_loss": boxes}


def make_parser(plan: Plan, side: int) -> retinanet_input.Parser:
    """Returns the official parser, which gives anchors their targets."""
    return retinanet_input.Parser(
        output_size=[side, side],
        min_level=_detection_plan.MIN_LEVEL,
        max_level=plan.max_level,
        num_scales=_detection_plan.ANCHOR_SCALES,
        aspect_ratios=list(plan.aspect_ratios),
        anchor_size=plan.anchor_size,
        dtype="float32",
    )


def as_targets(
    parser: retinanet_input.Parser,
    image: tf.Tensor,
    boxes: tf.Tensor,
    labels: tf.Tensor,
) -> tuple[tf.Tensor, dict[str, Any]]:
    """Returns what a step takes: the normalised image, and targets by level.

    Args:
        parser: For squares of the image's size.
        image: [side, side, 3] uint8.
        boxes: [n, 4] float32, shares of the square.
        labels: [n] int64, from 0.
    """
    count = tf.shape(labels)[0]
    decoded = {
        "image": image,
        "groundtruth_boxes": boxes,
        "groundtruth_classes": labels + 1,
        "groundtruth_is_crowd": tf.zeros([count], tf.bool),
    }
    # Without augmentation: that is done before, so that it follows from the seed.
    image, targets = parser.parse_fn(is_training=True)(decoded)
    used = ("cls_targets", "box_targets", "cls_weights", "box_weights")
    return image, {key: targets[key] for key in used}


def normalised(images: tf.Tensor) -> tf.Tensor:
    """Returns uint8 pixels as the network takes them."""
    return preprocess_ops.normalize_image(images)


def _network(task: tasks.RetinaNetTask) -> tf_keras.Model:
    """What `task.build_model` returns, without the stages that nothing reads."""
    model = task.task_config.model
    images = tf_keras.layers.InputSpec(shape=[None, *model.input_size])
    # Half of it, for TensorFlow's own loss is half a sum of squares.
    penalty = tf_keras.regularizers.l2(task.task_config.losses.l2_weight_decay / 2)
    whole = backbone_factory.build_backbone(
        images, model.backbone, model.norm_activation, penalty
    )
    levels = [str(n) for n in range(model.min_level, model.max_level + 1)]
    # A ResNet ends at level 5; the pyramid makes those above itself.
    used = [level for level in levels if level in whole.output]
    backbone = tf_keras.Model(whole.input, {n: whole.output[n] for n in used})
    backbone.output_specs = {n: whole.output_specs[n] for n in used}
    return factory.build_retinanet(images, model, penalty, backbone)
