"""Checks of the worker: a client made from `ai.proto` alone, and the same detections as onnxruntime's."""

import json
import pathlib

import numpy

from box import equal

HERE = pathlib.Path(__file__).resolve()
SHAPES = HERE.parents[1] / "models" / "shapes"
ASSETS = HERE.parents[3] / "shared" / "assets"
MODELS = {"yolox-nano": "yolox_nano.onnx", "nanodet-m": "nanodet_m_320.onnx"}
PHOTOS = ["dog.jpg", "baseball.jpg"]


def client_of(box):
    from ai_client import Client

    assert box.worker_port, "the worker cannot be reached from here"
    return Client(box.worker_port)


def shapes_are_found(box):
    """detection: a client made from ai.proto finds the shapes of a picture, in RGB and as JPEG."""
    from ai_client import ai

    client = client_of(box)
    opened = client.begin("shapes", threshold=0.5)
    equal(list(opened.labels), ["circle", "square", "triangle", "star"], "labels")
    truth = {shape["name"] for shape in json.loads((SHAPES / "sample.json").read_text())["objects"]}
    raw = client.look(1, ai.RGB, (SHAPES / "sample.rgb").read_bytes(), 160, 160)
    jpeg = client.look(2, ai.JPEG, (SHAPES / "sample.jpg").read_bytes())
    for result, number in ((raw, 1), (jpeg, 2)):
        equal(result.frame_id, number, "frame_id")
        equal({found.label for found in result.detections}, truth, "shapes")
    client.close()


def detections_are_those_of_onnxruntime(box):
    """detection: YOLOX and NanoDet find what onnxruntime finds in Python, IoU 0.98 and scores within 0.01."""
    from ai_client import ai
    from reference import Model, overlap

    if not ASSETS.is_dir():
        print("     skipped: the photographs and models are not at hand", flush=True)
        return
    for name, file in MODELS.items():
        model, client = Model(str(ASSETS / file)), client_of(box)
        labels = list(client.begin(name).labels)
        for number, photo in enumerate(PHOTOS):
            data = (ASSETS / photo).read_bytes()
            expected = model.detect(data)
            assert expected, f"{name} finds nothing in {photo}"
            result = client.look(number, ai.JPEG, data)
            rows = [
                (f.box.x, f.box.y, f.box.x + f.box.width, f.box.y + f.box.height, f.score, f.class_id)
                for f in result.detections
            ]
            for here, there in ((rows, expected), (expected, rows)):
                for row in here:
                    # What lies on the threshold may be on either side of it.
                    if row[4] < 0.36:
                        continue
                    same = [other for other in there if other[5] == row[5] and overlap(row, other) >= 0.98]
                    score = [abs(other[4] - row[4]) for other in same]
                    assert score and min(score) <= 0.01, f"{name} {photo}: {labels[row[5]]} {row}, {there}"
        client.close()


def pictures_are_looked_at_over_http(box):
    """detection: a JPEG in the body and DeepStack's form are answered through nginx."""
    data = (SHAPES / "sample.jpg").read_bytes()
    reply = box.send("POST", "/v1/detection?model=shapes", data, headers={"content-type": "image/jpeg"})
    equal(reply.status, 200, reply.body)
    found = {one["label"] for one in reply.json()["detections"]}
    assert {"circle", "square"} <= found, found
    body = (
        b'--xx\r\nContent-Disposition: form-data; name="model"\r\n\r\nshapes\r\n'
        b'--xx\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n' + data + b"\r\n--xx--\r\n"
    )
    kind = {"content-type": "multipart/form-data; boundary=xx"}
    reply = box.send("POST", "/v1/vision/detection", body, headers=kind)
    equal((reply.status, reply.json()["success"]), (200, True), reply.body)
    equal(box.send("POST", "/v1/detection", data, key=None).status, 401, "without a key")


def raw_pixels_are_looked_at_like_jpegs(box):
    """detection: NV12 shows the same shapes as RGB."""
    from ai_client import ai

    rgb = numpy.frombuffer((SHAPES / "sample.rgb").read_bytes(), numpy.uint8).reshape(160, 160, 3) / 255.0
    y = 16 + rgb @ numpy.array([65.481, 128.553, 24.966])
    u = 128 + rgb @ numpy.array([-37.797, -74.203, 112.0])
    v = 128 + rgb @ numpy.array([112.0, -93.786, -18.214])
    uv = numpy.stack([u[::2, ::2], v[::2, ::2]], axis=2)
    nv12 = b"".join(part.round().clip(0, 255).astype(numpy.uint8).tobytes() for part in (y, uv))
    client = client_of(box)
    client.begin("shapes", threshold=0.5)
    found = {one.label for one in client.look(1, ai.NV12, nv12, 160, 160).detections}
    assert {"circle", "square"} <= found, found
    client.close()


CHECKS = [
    shapes_are_found,
    detections_are_those_of_onnxruntime,
    pictures_are_looked_at_over_http,
    raw_pixels_are_looked_at_like_jpegs,
]
