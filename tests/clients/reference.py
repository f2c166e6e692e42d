"""Detection the plain way: numpy around onnxruntime, after what the models' authors publish.

Shares nothing with the product: what both find must be the same.
"""

import io

import numpy
import onnxruntime
from PIL import Image

STRIDES = (8, 16, 32)


class Model:
    """A detector of one of the two families; `threads` compute it."""

    def __init__(self, path, threads=1):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]
        self.side = (self.input.shape[3], self.input.shape[2])
        self.is_yolox = len(self.session.get_outputs()) == 1

    def detect(self, jpeg, threshold=0.35, iou=0.45):
        """Rows of left, top, right, bottom, score, class in pixels of the picture, best first."""
        picture = numpy.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
        return self.detect_pixels(picture[:, :, ::-1], threshold, iou)

    def detect_pixels(self, bgr, threshold=0.35, iou=0.45):
        """The same of a picture in BGR."""
        tensor, scale, offset = self.prepare(bgr)
        outputs = self.session.run(None, {self.input.name: tensor})
        boxes, scores = (self.yolox if self.is_yolox else self.nanodet)(outputs)
        classes = scores.argmax(axis=1)
        best = scores[numpy.arange(len(scores)), classes]
        kept = best >= threshold
        boxes, best, classes = boxes[kept], best[kept], classes[kept]
        boxes = (boxes - numpy.tile(offset, 2)) / numpy.tile(scale, 2)
        limits = numpy.array([bgr.shape[1], bgr.shape[0]] * 2)
        boxes = boxes.clip(0, limits)
        found = []
        for index in numpy.argsort(-best, kind="stable"):
            row = (*boxes[index], best[index], int(classes[index]))
            if all(other[5] != row[5] or overlap(other, row) <= iou for other in found):
                found.append(row)
        return found

    def prepare(self, bgr):
        """The input tensor, and how points of the picture lie in it."""
        width, height = self.side
        ratio = min(width / bgr.shape[1], height / bgr.shape[0])
        whole_pixels = int if self.is_yolox else round
        size = (whole_pixels(bgr.shape[1] * ratio), whole_pixels(bgr.shape[0] * ratio))
        scaled = bilinear(bgr, size)
        if self.is_yolox:
            padding, at, mean, std = 114.0, (0, 0), 0.0, 1.0
        else:
            padding, at = 0.0, ((width - size[0]) // 2, (height - size[1]) // 2)
            mean = numpy.array([103.53, 116.28, 123.675])
            std = numpy.array([57.375, 57.12, 58.395])
        whole = numpy.full((height, width, 3), padding)
        whole[at[1] : at[1] + size[1], at[0] : at[0] + size[0]] = scaled
        tensor = ((whole - mean) / std).transpose(2, 0, 1)[None].astype(numpy.float32)
        scale = numpy.array([size[0] / bgr.shape[1], size[1] / bgr.shape[0]])
        return tensor, scale, numpy.array(at)

    def grid(self):
        """Points of all grids and their strides."""
        points, strides = [], []
        for stride in STRIDES:
            ys, xs = numpy.mgrid[: -(-self.side[1] // stride), : -(-self.side[0] // stride)]
            points.append(numpy.stack([xs.ravel(), ys.ravel()], axis=1))
            strides.append(numpy.full((xs.size, 1), stride))
        return numpy.concatenate(points), numpy.concatenate(strides)

    def yolox(self, outputs):
        rows = outputs[0][0]
        points, strides = self.grid()
        centres = (rows[:, :2] + points) * strides
        half = numpy.exp(rows[:, 2:4]) * strides / 2
        return numpy.concatenate([centres - half, centres + half], axis=1), rows[:, 5:] * rows[:, 4:5]

    def nanodet(self, outputs):
        scores = numpy.concatenate([output[0] for output in outputs[:3]])
        sides = numpy.concatenate([output[0] for output in outputs[3:]])
        points, strides = self.grid()
        bins = sides.reshape(len(sides), 4, -1)
        weights = numpy.exp(bins - bins.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        distances = (weights * numpy.arange(bins.shape[2])).sum(axis=2) * strides
        centres = (points + 0.5) * strides
        return numpy.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1), scores


def bilinear(picture, size):
    """OpenCV's INTER_LINEAR for bytes: in fixed point, rows first, shares of eleven bits."""

    def taps(length, out):
        at = ((numpy.arange(out) + 0.5) * (length / out) - 0.5).astype(numpy.float32)
        first = numpy.floor(at).astype(int)
        share = at - first.astype(numpy.float32)
        return first, numpy.rint((1 - share) * 2048).astype(int), numpy.rint(share * 2048).astype(int)

    picture = picture.astype(int)
    last = picture.shape[1] - 1
    left, own, other = taps(picture.shape[1], size[0])
    alone = (left < 0) | (left >= last)
    left = left.clip(0, last)
    own, other = numpy.where(alone, 2048, own)[:, None], numpy.where(alone, 0, other)[:, None]
    rows = picture[:, left] * own + picture[:, (left + 1).clip(0, last)] * other >> 4
    top, own, other = taps(picture.shape[0], size[1])
    last = picture.shape[0] - 1
    above, below = rows[top.clip(0, last)], rows[(top + 1).clip(0, last)]
    return (above * own[:, None, None] >> 16) + (below * other[:, None, None] >> 16) + 2 >> 2


def overlap(left, right):
    """Intersection over union of two rows."""
    width = min(left[2], right[2]) - max(left[0], right[0])
    height = min(left[3], right[3]) - max(left[1], right[1])
    both = max(width, 0) * max(height, 0)
    areas = [(row[2] - row[0]) * (row[3] - row[1]) for row in (left, right)]
    return both / (sum(areas) - both) if both else 0.0
