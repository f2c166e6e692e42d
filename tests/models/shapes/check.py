"""Measure shapes.onnx on newly drawn pictures, through ONNX Runtime.

Usage:
    python check.py [MODEL.onnx] [--pictures 200] [--seed 987654]
    python check.py [MODEL.onnx] --sample   also write sample.rgb, sample.json

The pictures come from the same drawing code as in training but from another
seed. A detection counts as right when the class agrees and IoU >= 0.5 with a
shape not yet taken by a detection of higher score.

Licence: MIT
"""
import argparse
import json
import os

import numpy as np
import onnxruntime as ort

import train

SCORE, MATCH_IOU, NMS_IOU = 0.35, 0.5, 0.45


def iou(box, others):
    """IoU of one box with several; x1 y1 x2 y2."""
    w = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    h = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    inter = np.clip(w, 0, None) * np.clip(h, 0, None)
    area = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    return inter / ((box[2] - box[0]) * (box[3] - box[1]) + area - inter)


def detect(session, picture):
    """Boxes (x1 y1 x2 y2), classes and scores after per-class NMS."""
    images = picture.transpose(2, 0, 1)[None].astype(np.float32) / 255
    out = session.run(["output0"], {"images": images})[0][0]
    classes, scores = out[4:].argmax(0), out[4:].max(0)
    x, y, w, h = out[:4]
    boxes = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 1)
    kept = []
    for i in np.argsort(-scores):
        if scores[i] < SCORE:
            break
        same = [k for k in kept if classes[k] == classes[i]]
        if not same or iou(boxes[i], boxes[same]).max() <= NMS_IOU:
            kept.append(i)
    return boxes[kept], classes[kept], scores[kept]


def match(found, found_cls, true, true_cls):
    """For each detection (best first): index of the shape it hits, or -1."""
    taken, hits = set(), []
    for box, cls in zip(found, found_cls):
        hit = -1
        if len(true):
            overlap = iou(box, true)
            for j in np.argsort(-overlap):
                if overlap[j] < MATCH_IOU:
                    break
                if true_cls[j] == cls and j not in taken:
                    hit = int(j)
                    taken.add(hit)
                    break
        hits.append(hit)
    return hits


def sample_picture():
    """One fixed, easy picture: a circle, a square and a triangle."""
    rng = np.random.default_rng(5)
    t = (train.XX + train.YY)[:, :, None] / (2 * train.SIZE)
    picture = (np.array([0.86, 0.88, 0.92], np.float32) * (1 - t)
               + np.array([0.70, 0.76, 0.84], np.float32) * t)
    boxes, classes = [], []
    for cls, size, turn, cx, cy, colour in (
            (0, 48, 0.0, 44, 44, (0.82, 0.16, 0.14)),
            (1, 44, 0.95, 114, 52, (0.10, 0.32, 0.75)),
            (2, 56, -1.45, 78, 118, (0.10, 0.50, 0.20))):
        shape = train.Shape(rng, cls, size, turn, 1.0)
        y0, x0, cover = shape.cover(cx, cy)
        train.blend(picture, y0, x0, cover, np.array(colour, np.float32))
        boxes.append(shape.box + np.array([cx, cy, cx, cy]))
        classes.append(cls)
    picture = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    return picture, np.array(boxes), np.array(classes)


def write_sample(session, folder):
    picture, boxes, classes = sample_picture()
    found, found_cls, scores = detect(session, picture)
    hits = match(found, found_cls, boxes, classes)
    with open(os.path.join(folder, "sample.rgb"), "wb") as f:
        f.write(np.ascontiguousarray(picture).tobytes())

    def entry(box, cls):
        return {"class": int(cls), "name": train.NAMES[cls],
                "x1": round(float(box[0]), 2), "y1": round(float(box[1]), 2),
                "x2": round(float(box[2]), 2), "y2": round(float(box[3]), 2)}

    data = {
        "width": train.SIZE, "height": train.SIZE,
        "layout": "RGB, 8 bits per channel, rows from the top, no header",
        "objects": [entry(b, c) for b, c in zip(boxes, classes)],
        "found_by_shapes_onnx": [
            dict(entry(b, c), score=round(float(s), 3))
            for b, c, s in zip(found, found_cls, scores)],
    }
    with open(os.path.join(folder, "sample.json"), "w") as f:
        json.dump(data, f, indent=1)
        f.write("\n")
    print("sample:", "all found, nothing else"
          if sorted(hits) == [0, 1, 2] else f"hits {hits}")
    for b, c, s, h in zip(found, found_cls, scores, hits):
        print(f"  {train.NAMES[c]:8s} {s:.2f} at {np.round(b, 1)}"
              + (f"  IoU {iou(b, boxes[h:h + 1])[0]:.2f}" if h >= 0 else ""))


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?",
                        default=os.path.join(here, "shapes.onnx"))
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--seed", type=int, default=987654)
    parser.add_argument("--sample", action="store_true")
    args = parser.parse_args()

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(args.model, options,
                                   providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(args.seed)
    n = len(train.NAMES)
    right, false, total = np.zeros(n, int), np.zeros(n, int), np.zeros(n, int)
    by_size = {"< 20 px": [0, 0], "20 to 50 px": [0, 0], ">= 50 px": [0, 0]}
    for _ in range(args.pictures):
        picture, boxes, classes = train.draw_picture(rng)
        found, found_cls, _ = detect(session, picture)
        hits = match(found, found_cls, boxes, classes)
        for cls, hit in zip(found_cls, hits):
            (right if hit >= 0 else false)[cls] += 1
        for j, (box, cls) in enumerate(zip(boxes, classes)):
            total[cls] += 1
            side = max(box[2] - box[0], box[3] - box[1])
            key = ("< 20 px" if side < 20 else
                   "20 to 50 px" if side < 50 else ">= 50 px")
            by_size[key][0] += j in hits
            by_size[key][1] += 1

    def line(label, r, f, t):
        print(f"{label:10s} shapes {t:5d}  precision {r / max(r + f, 1):.3f}"
              f"  recall {r / max(t, 1):.3f}")

    print(f"{args.pictures} pictures, seed {args.seed}, score {SCORE}, "
          f"IoU {MATCH_IOU}, NMS {NMS_IOU}")
    for i, name in enumerate(train.NAMES):
        line(name, right[i], false[i], total[i])
    line("all", right.sum(), false.sum(), total.sum())
    for key, (r, t) in by_size.items():
        print(f"recall {key:12s} {r / max(t, 1):.3f} of {t}")
    if args.sample:
        write_sample(session, os.path.dirname(os.path.abspath(args.model)))


if __name__ == "__main__":
    main()
