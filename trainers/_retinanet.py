"""RetinaNet of tf-models-official, as a model that `fit` trains, and its targets."""

from collections.abc import Mapping, Sequence
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

from trainers import _detection_plan, _steps
from trainers._detection_plan import Plan
from trainers._parts import Part

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
            use_sync_bn=_steps.is_spread(), norm_momentum=_STATISTICS_MOMENTUM
        ),
    )
    losses = configs.Losses(l2_weight_decay=config.weight_decay)
    return tasks.RetinaNetTask(configs.RetinaNetTask(model=model, losses=losses))


class RetinaNet(tf_keras.Model):
    """The official network, with the loss of the official task: `_steps.Losses`.

    Attributes:
        network: From normalised images to raw outputs.
        divisor_offset: A loss is divided by the number of matched anchors and this.
    """

    divisor_offset = 1.0

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

    def amount(self, part: Part) -> tf.Tensor:
        """Returns the number of matched anchors."""
        return tf.reduce_sum(part.targets["box_weights"])

    def forward(self, inputs: tf.Tensor, training: bool) -> Mapping[str, Any]:
        """Returns the raw outputs, in float32."""
        raw = self.network(inputs, training=training)
        used = {key: raw[key] for key in ("cls_outputs", "box_outputs")}
        return tf.nest.map_structure(lambda output: tf.cast(output, tf.float32), used)

    def judge(
        self, part: Part, outputs: Mapping[str, Any], training: bool
    ) -> tuple[tf.Tensor, tf.Tensor | None, list[tf.Tensor]]:
        """Returns the loss of scores and boxes, that of the weights, and curves."""
        outputs, targets = _some(outputs), _some(part.targets)
        loss, classes, boxes, both = self._task.build_losses(outputs, targets)
        weight = self._task.task_config.losses.loss_weight
        penalty = weight * tf.reduce_sum(self.network.losses) if training else None
        return loss, penalty, [both, classes, boxes]

    def count(self, part: Part, outputs: Mapping[str, Any]) -> None:
        """Adds nothing: all curves are divided by the anchors of the whole batch."""

    def keep(self, curves: Sequence[tf.Tensor], rows: tf.Tensor) -> None:
        """Adds the losses of a batch: all batches count alike."""
        del rows
        for mean, value in zip(self._means, curves, strict=True):
            mean.update_state(value)

    def get_metrics_result(self) -> dict[str, tf.Tensor]:
        """Returns the losses by the names that the training loop knows."""
        both, classes, boxes = (mean.result() for mean in self._means)
        return {"loss": both, "class_loss": classes, "box_loss": boxes}

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


def _some(structure: Any) -> Any:
    """One row of zeros where there is none: the official loss cannot do without.

    Targets of zeros match no anchor and have no weight.
    """
    return tf.nest.map_structure(
        lambda tensor: tf.pad(
            tensor,
            [[0, tf.maximum(1 - tf.shape(tensor)[0], 0)]]
            + [[0, 0]] * (tensor.shape.rank - 1),
        ),
        structure,
    )


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
