"""Train a tiny detector of drawn shapes from scratch and write it as ONNX.

Usage:
    python train.py OUT.onnx                 fixed number of steps (repeatable)
    python train.py OUT.onnx --minutes N     stop after about N minutes instead

The training pictures are drawn on the fly with numpy; no data set and no
pretrained weights are involved. Input of the network: `images`, float32
[N, 3, 160, 160], RGB, 0..1. Output: `output0`, float32 [N, 8, 525]; the rows
are x, y, w, h (box centre and size in input pixels) and the scores (0..1) of
circle, square, triangle and star. There is no non-maximum suppression in the
graph.

Licence: MIT
"""
import argparse
import math
import time

import numpy as np

SIZE = 160
NAMES = ["circle", "square", "triangle", "star"]
STRIDES = (8, 16, 32)
SEED = 20240
DEFAULT_STEPS = 3200
BATCH = 32


# --------------------------------------------------------------------------
# Drawing. A picture is a float32 array [160, 160, 3] with values 0..1 while
# it is drawn and uint8 at the end.
# --------------------------------------------------------------------------

YY, XX = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + 0.5  # pixel centres


def blend(picture, y0, x0, cover, colour):
    """Paint `colour` over a patch of the picture, weighted by `cover`."""
    h, w = cover.shape
    patch = picture[y0:y0 + h, x0:x0 + w]
    patch += cover[:, :, None] * (colour - patch)


def background(rng):
    """Plain, gradient, or coarse random blotches."""
    kind = rng.random()
    a = rng.random(3, dtype=np.float32)
    if kind < 0.25:
        picture = np.broadcast_to(a, (SIZE, SIZE, 3)).copy()
    elif kind < 0.65:
        b = rng.random(3, dtype=np.float32)
        angle = rng.uniform(0, 2 * math.pi)
        t = (XX - 80) * math.cos(angle) + (YY - 80) * math.sin(angle)
        t = np.clip(t / 220 + 0.5, 0, 1)[:, :, None]
        picture = a + (b - a) * t
    else:
        # A small random grid, enlarged with linear interpolation.
        n = int(rng.integers(3, 9))
        grid = a + rng.normal(0, 0.13, (n, n, 3)).astype(np.float32)
        pos = np.linspace(0, n - 1.001, SIZE)
        i = pos.astype(int)
        f = (pos - i).astype(np.float32)
        rows = grid[i] * (1 - f)[:, None, None] + grid[i + 1] * f[:, None, None]
        picture = (rows[:, i] * (1 - f)[None, :, None]
                   + rows[:, i + 1] * f[None, :, None])
    return np.clip(picture, 0, 1).astype(np.float32)


def draw_line(rng, picture):
    """A distractor: a straight line of random place, width and colour."""
    x1, y1, x2, y2 = rng.uniform(-20, SIZE + 20, 4)
    dx, dy = x2 - x1, y2 - y1
    length2 = dx * dx + dy * dy + 1e-6
    t = np.clip(((XX - x1) * dx + (YY - y1) * dy) / length2, 0, 1)
    dist = np.hypot(XX - x1 - t * dx, YY - y1 - t * dy)
    cover = np.clip(rng.uniform(0.5, 2.0) + 0.5 - dist, 0, 1)
    blend(picture, 0, 0, cover.astype(np.float32),
          rng.random(3, dtype=np.float32))


class Shape:
    """One shape: class, centre, outer radius, rotation and slight stretch.

    Square, triangle and star are all described the same way: n tips at
    radius `outer`, and between two tips a point at radius `inner`. By
    symmetry only one wedge of the plane has to be looked at, in which the
    outline is a single straight line.
    """

    def __init__(self, rng, cls, size, turn=None, stretch=None):
        self.cls = cls
        self.turn = rng.uniform(0, 2 * math.pi) if turn is None else turn
        if stretch is None:
            stretch = math.exp(rng.uniform(-0.08, 0.08))
        self.sx, self.sy = stretch, 1 / stretch
        self.n = (0, 4, 3, 5)[cls]
        self.ratio = (1.0, math.cos(math.pi / 4), 0.5,
                      rng.uniform(0.38, 0.48))[cls]
        # Tight box of the outline with radius 1, then scale to `size`.
        if cls == 0:
            self.box = np.array([-self.sx, -self.sy, self.sx, self.sy])
        else:
            k = self.turn + 2 * math.pi / self.n * np.arange(self.n)
            px, py = np.cos(k) * self.sx, np.sin(k) * self.sy
            self.box = np.array([px.min(), py.min(), px.max(), py.max()])
        extent = max(self.box[2] - self.box[0], self.box[3] - self.box[1])
        self.outer = size / extent
        self.box = self.box * self.outer

    def cover(self, cx, cy, scale=1.0):
        """Cover (0..1) of the pixels around (cx, cy); patch origin first."""
        x0 = max(int(cx + self.box[0]) - 2, 0)
        y0 = max(int(cy + self.box[1]) - 2, 0)
        x1 = min(int(cx + self.box[2]) + 3, SIZE)
        y1 = min(int(cy + self.box[3]) + 3, SIZE)
        px = (XX[y0:y1, x0:x1] - cx) / self.sx
        py = (YY[y0:y1, x0:x1] - cy) / self.sy
        outer = self.outer * scale
        r = np.hypot(px, py)
        if self.cls == 0:
            inside = outer - r
        else:
            half = math.pi / self.n
            a = np.arctan2(py, px) - self.turn
            a = np.abs((a + half) % (2 * half) - half)  # fold into one wedge
            qx, qy = r * np.cos(a), r * np.sin(a)
            bx = outer * self.ratio * math.cos(half)
            by = outer * self.ratio * math.sin(half)
            ex, ey = bx - outer, by
            inside = (ey * (outer - qx) + ex * qy) / math.hypot(ex, ey)
        return y0, x0, np.clip(inside + 0.5, 0, 1).astype(np.float32)


def far_colour(rng, base):
    """A random colour that can be told from `base`."""
    for _ in range(50):
        colour = rng.random(3, dtype=np.float32)
        if np.abs(colour - base).sum() > 0.6:
            return colour
    return (base + 0.5) % 1.0


def blur(picture, strength):
    """Light 3x3 blur, mixed in with the given strength."""
    p = np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="edge")
    p = 0.25 * p[:-2] + 0.5 * p[1:-1] + 0.25 * p[2:]
    p = 0.25 * p[:, :-2] + 0.5 * p[:, 1:-1] + 0.25 * p[:, 2:]
    return picture + strength * (p - picture)


def draw_picture(rng):
    """Return (uint8 [160,160,3], boxes float32 [M,4] x1 y1 x2 y2, classes)."""
    picture = background(rng)
    for _ in range(int(rng.integers(0, 5))):
        draw_line(rng, picture)

    # Some pictures get grey bars, as left by resizing with padding.
    lo_x = lo_y = 0.0
    hi_x = hi_y = float(SIZE)
    if rng.random() < 0.15:
        bar = int(rng.integers(8, 36))
        grey = np.float32(114 / 255)
        if rng.random() < 0.5:
            picture[:bar] = grey
            picture[SIZE - bar:] = grey
            lo_y, hi_y = float(bar), float(SIZE - bar)
        else:
            picture[:, :bar] = grey
            picture[:, SIZE - bar:] = grey
            lo_x, hi_x = float(bar), float(SIZE - bar)

    boxes, classes = [], []
    wanted = int(rng.integers(0, 7)) if rng.random() < 0.9 else 0
    tries = 0
    while len(boxes) < wanted and tries < 40:
        tries += 1
        size = math.exp(rng.uniform(math.log(12), math.log(100)))
        shape = Shape(rng, int(rng.integers(0, 4)), size)
        w, h = shape.box[2] - shape.box[0], shape.box[3] - shape.box[1]
        if w > hi_x - lo_x or h > hi_y - lo_y:
            continue
        # (cx, cy) is the centre of turning, not the middle of the box.
        cx = rng.uniform(lo_x, hi_x - w) - shape.box[0]
        cy = rng.uniform(lo_y, hi_y - h) - shape.box[1]
        box = shape.box + np.array([cx, cy, cx, cy])
        clear = True
        for other in boxes:
            iw = min(box[2], other[2]) - max(box[0], other[0])
            ih = min(box[3], other[3]) - max(box[1], other[1])
            if iw > 0 and ih > 0:
                small = min(w * h, (other[2] - other[0]) * (other[3] - other[1]))
                if iw * ih > 0.06 * small:
                    clear = False
                    break
        if not clear:
            continue
        y0, x0, cover = shape.cover(cx, cy)
        under = picture[y0:y0 + cover.shape[0], x0:x0 + cover.shape[1]]
        colour = far_colour(rng, under.mean((0, 1)))
        blend(picture, y0, x0, cover, colour)
        if size > 28 and rng.random() < 0.15:  # a rim in another colour
            y0, x0, cover = shape.cover(cx, cy, rng.uniform(0.75, 0.92))
            blend(picture, y0, x0, cover, rng.random(3, dtype=np.float32))
        boxes.append(box)
        classes.append(shape.cls)

    if rng.random() < 0.4:
        picture = blur(picture, rng.uniform(0.2, 1.0))
    if rng.random() < 0.7:
        noise = rng.standard_normal(picture.shape, dtype=np.float32)
        picture = picture + noise * np.float32(rng.uniform(0.0, 0.05))
    picture = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    return (picture, np.array(boxes, np.float32).reshape(-1, 4),
            np.array(classes, np.int64))


# --------------------------------------------------------------------------
# Network, loss, training and export (these need torch and onnx).
# --------------------------------------------------------------------------

def anchors():
    """Cell centres in pixels [525, 2] and the stride of each cell [525]."""
    points, strides = [], []
    for s in STRIDES:
        c = (np.arange(SIZE // s) + 0.5) * s
        y, x = np.meshgrid(c, c, indexing="ij")
        points.append(np.stack([x.ravel(), y.ravel()], 1))
        strides.append(np.full(x.size, s))
    return (np.concatenate(points).astype(np.float32),
            np.concatenate(strides).astype(np.float32))


def make_net():
    import torch
    from torch import nn
    import torch.nn.functional as F

    class Conv(nn.Module):
        """Convolution, batch norm, ReLU."""

        def __init__(self, cin, cout, k=3, s=1):
            super().__init__()
            self.conv = nn.Conv2d(cin, cout, k, s, k // 2, bias=False)
            self.bn = nn.BatchNorm2d(cout)

        def forward(self, x):
            return F.relu(self.bn(self.conv(x)))

        def fold(self):
            self.conv = nn.utils.fusion.fuse_conv_bn_eval(self.conv, self.bn)
            self.bn = nn.Identity()

    class Block(nn.Module):
        """Residual bottleneck."""

        def __init__(self, c):
            super().__init__()
            self.a = Conv(c, c // 2, 1)
            self.b = Conv(c // 2, c, 3)

        def forward(self, x):
            return x + self.b(self.a(x))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(Conv(3, 16, 3, 2), Conv(16, 24, 3, 2),
                                      Conv(24, 24))
            self.c3 = nn.Sequential(Conv(24, 40, 3, 2), Block(40), Block(40))
            self.c4 = nn.Sequential(Conv(40, 48, 3, 2), Block(48))
            self.c5 = nn.Sequential(Conv(48, 56, 3, 2), Block(56))
            # Sideways 1x1 convolutions; the coarse maps are added to the
            # finer ones on the way down.
            self.side = nn.ModuleList(Conv(c, 32, 1) for c in (40, 48, 56))
            self.head = nn.ModuleList(
                nn.Sequential(Conv(32, 32), nn.Conv2d(32, 4 + len(NAMES), 1))
                for _ in STRIDES)
            for h in self.head:
                nn.init.normal_(h[1].weight, std=0.01)
                nn.init.constant_(h[1].bias[:4], 1.0)
                nn.init.constant_(h[1].bias[4:], -4.6)
            points, strides = anchors()
            self.register_buffer("px", torch.from_numpy(points.T.copy())[None])
            self.register_buffer("ps", torch.from_numpy(strides)[None, None])

        def raw(self, x):
            """Boxes as x1 y1 x2 y2 [N,4,525] and score logits [N,4,525]."""
            p3 = self.c3(self.stem(x))
            p4 = self.c4(p3)
            p5 = self.c5(p4)
            p5 = self.side[2](p5)
            p4 = self.side[1](p4) + F.interpolate(p5, scale_factor=2.0)
            p3 = self.side[0](p3) + F.interpolate(p4, scale_factor=2.0)
            out = torch.cat([
                h(p).reshape(-1, 4 + len(NAMES), (SIZE // s) ** 2)
                for h, p, s in zip(self.head, (p3, p4, p5), STRIDES)], 2)
            # Distances from the cell centre to the four sides.
            dist = F.softplus(out[:, :4]) * self.ps
            low = self.px - dist[:, :2]
            high = self.px + dist[:, 2:]
            return torch.cat([low, high], 1), out[:, 4:]

        def forward(self, x):
            box, logits = self.raw(x)
            low, high = box[:, :2], box[:, 2:]
            return torch.cat([(low + high) * 0.5, high - low,
                              torch.sigmoid(logits)], 1)

    return Net()


# Which side lengths (longer side, pixels) each stride is taught. The ranges
# overlap so that a shape near a limit may be found on either map.
RANGES = ((0.0, 34.0), (24.0, 66.0), (48.0, 1e9))


def assign(boxes, classes, valid, points, strides):
    """Centre-based assignment.

    A cell belongs to a shape when its centre lies less than one stride from
    the middle of the box and the size fits the stride. Of several shapes the
    smallest wins. Returns the index of the shape per cell, -1 for none.
    """
    import torch
    middle = (boxes[:, :, :2] + boxes[:, :, 2:]) / 2              # [N,M,2]
    wh = boxes[:, :, 2:] - boxes[:, :, :2]
    off = (points[None, :, None] - middle[:, None]).abs().amax(3)  # [N,A,M]
    side = wh.amax(2)[:, None]                                    # [N,1,M]
    lo = torch.empty_like(strides)
    hi = torch.empty_like(strides)
    for s, (a, b) in zip(STRIDES, RANGES):
        lo[strides == s] = a
        hi[strides == s] = b
    ok = (off < 0.99 * strides[None, :, None]) & valid[:, None]
    ok &= (side >= lo[None, :, None]) & (side < hi[None, :, None])
    area = torch.where(ok, (wh[..., 0] * wh[..., 1])[:, None], 1e9)
    best, index = area.min(2)
    return torch.where(best < 1e9, index, -1)


def iou_terms(p, t):
    """IoU and the complete-IoU loss of boxes p and t, [K, 4] each."""
    import torch
    iw = (torch.min(p[:, 2:], t[:, 2:]) - torch.max(p[:, :2], t[:, :2])).clamp(0)
    inter = iw[:, 0] * iw[:, 1]
    pw, tw = p[:, 2:] - p[:, :2], t[:, 2:] - t[:, :2]
    iou = inter / (pw.prod(1) + tw.prod(1) - inter + 1e-6)
    hull = torch.max(p[:, 2:], t[:, 2:]) - torch.min(p[:, :2], t[:, :2])
    gap = ((p[:, :2] + p[:, 2:] - t[:, :2] - t[:, 2:]) ** 2).sum(1) / 4
    v = (torch.atan(pw[:, 0] / (pw[:, 1] + 1e-6))
         - torch.atan(tw[:, 0] / (tw[:, 1] + 1e-6))) ** 2 * (4 / math.pi ** 2)
    with torch.no_grad():
        alpha = v / (1 - iou + v + 1e-6)
    loss = 1 - iou + gap / ((hull ** 2).sum(1) + 1e-6) + alpha * v
    return iou, loss


def loss_of(net, images, boxes, classes, valid, points, strides):
    import torch
    import torch.nn.functional as F
    pred, logits = net.raw(images)
    pred, logits = pred.transpose(1, 2), logits.transpose(1, 2)
    index = assign(boxes, classes, valid, points, strides)
    n, a = (index >= 0).nonzero(as_tuple=True)
    m = index[n, a]
    target = torch.zeros_like(logits)
    box_loss = logits.new_zeros(())
    if len(n):
        iou, ciou = iou_terms(pred[n, a], boxes[n, m])
        box_loss = ciou.mean()
        # The score is taught to be as high as the box is good.
        target[n, a, classes[n, m]] = iou.detach().clamp(0.3, 1.0)
    count = max(len(n), 1)
    cls_loss = F.binary_cross_entropy_with_logits(
        logits, target, reduction="sum") / count
    return cls_loss, box_loss


def make_batch(rng):
    import torch
    images = np.empty((BATCH, SIZE, SIZE, 3), np.uint8)
    boxes = np.zeros((BATCH, 6, 4), np.float32)
    classes = np.zeros((BATCH, 6), np.int64)
    valid = np.zeros((BATCH, 6), bool)
    for i in range(BATCH):
        images[i], b, c = draw_picture(rng)
        boxes[i, :len(b)], classes[i, :len(c)], valid[i, :len(c)] = b, c, True
    images = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return (images, torch.from_numpy(boxes), torch.from_numpy(classes),
            torch.from_numpy(valid))


def export(net, path):
    import copy
    import warnings
    import onnx
    import torch
    # The older exporter is used on purpose (small plain graph, no further
    # package needed); hide its notice.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    net = copy.deepcopy(net).eval()
    for module in net.modules():
        if hasattr(module, "fold"):
            module.fold()
    net.requires_grad_(False)
    torch.onnx.export(
        net, (torch.zeros(1, 3, SIZE, SIZE),), path, dynamo=False,
        opset_version=17, input_names=["images"], output_names=["output0"],
        dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}})
    model = onnx.load(path)
    model.ir_version = min(model.ir_version, 10)
    output = model.graph.output[0].type.tensor_type.shape
    for dim, value in zip(output.dim[1:], (4 + len(NAMES), 525)):
        dim.dim_value = value
    names = "{" + ", ".join(f"{i}: '{n}'" for i, n in enumerate(NAMES)) + "}"
    onnx.helper.set_model_props(model, {
        "names": names, "stride": "32", "task": "detect", "batch": "1",
        "imgsz": f"[{SIZE}, {SIZE}]", "license": "MIT",
        "description": "Tiny detector of drawn shapes"})
    for node in model.graph.node:
        node.ClearField("doc_string")
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main():
    import torch
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--minutes", type=float, default=None,
                        help="train by the clock instead of by steps")
    parser.add_argument("--steps", type=int, default=DEFAULT_STEPS)
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    net = make_net().to(memory_format=torch.channels_last)
    print("parameters:", sum(p.numel() for p in net.parameters()), flush=True)
    points, strides = (torch.from_numpy(v) for v in anchors())
    # A running average of the weights is what gets exported.
    mean = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99),
        use_buffers=True)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-3)
    start, step, sums = time.time(), 0, [0.0, 0.0]
    while True:
        minutes = (time.time() - start) / 60
        done = minutes / args.minutes if args.minutes else step / args.steps
        if done >= 1:
            break
        # Learning rate: short rise, then half a cosine down to nearly zero.
        rate = min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * rate + 1e-5
        images, boxes, classes, valid = make_batch(rng)
        images = images.to(memory_format=torch.channels_last)
        cls_loss, box_loss = loss_of(net, images, boxes, classes, valid,
                                     points, strides)
        optimiser.zero_grad()
        (cls_loss + 2.0 * box_loss).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        mean.update_parameters(net)
        step += 1
        sums[0] += float(cls_loss.detach())
        sums[1] += float(box_loss.detach())
        if step % 50 == 0:
            print(f"step {step}  {minutes:.2f} min  score loss {sums[0] / 50:.3f}"
                  f"  box loss {sums[1] / 50:.3f}", flush=True)
            sums = [0.0, 0.0]
        if step % 500 == 0:
            export(mean.module, args.out)
    export(mean.module, args.out)
    print(f"{step} steps of {BATCH} pictures, "
          f"{(time.time() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
