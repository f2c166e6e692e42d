"""A worker of `ai.proto` as one would write it in an afternoon: asyncio, onnxruntime, protobuf, numpy.

Usage: python python_worker.py PORT MODEL.onnx

Only for comparison in `cargo xtask bench detection`. One thread computes, as in the worker it is compared with.
"""

import asyncio
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients"))

from ai_client import ai  # noqa: E402
from reference import Model  # noqa: E402


def response(**kind):
    data = ai.Envelope(response=ai.Response(**kind)).SerializeToString()
    return struct.pack("<I", len(data)) + data


async def serve(model, reader, writer):
    try:
        while True:
            (length,) = struct.unpack("<I", await reader.readexactly(4))
            envelope = ai.Envelope.FromString(await reader.readexactly(length))
            kind = envelope.request.WhichOneof("kind")
            if kind == "init":
                writer.write(response(init_ok=ai.InitOk(session_id="1")))
                writer.write(response(ready=ai.Ready(session_id="1")))
            elif kind == "frame":
                frame = envelope.request.frame
                found = [
                    ai.Detection(
                        class_id=row[5],
                        score=row[4],
                        box=ai.Box(x=row[0], y=row[1], width=row[2] - row[0], height=row[3] - row[1]),
                    )
                    for row in model.detect(frame.data)
                ]
                writer.write(response(result=ai.Result(frame_id=frame.frame_id, detections=found)))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main(port, path):
    model = Model(path)
    server = await asyncio.start_server(lambda r, w: serve(model, r, w), "127.0.0.1", port, limit=1 << 24)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
