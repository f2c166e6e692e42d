"""A client of the worker in Python, written from `proto/ai.proto` alone."""

import importlib
import pathlib
import socket
import struct
import sys
import tempfile

from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"
TIMEOUT_S = 60


def _compiled():
    """The messages of `ai.proto`, compiled by Google's own compiler."""
    folder = tempfile.mkdtemp(prefix="ai-proto-")
    status = protoc.main(["protoc", f"-I{PROTO}", f"--python_out={folder}", "ai.proto"])
    if status != 0:
        raise RuntimeError(f"protoc refuses ai.proto ({status})")
    sys.path.insert(0, folder)
    return importlib.import_module("ai_pb2")


ai = _compiled()


class Client:
    """One connection."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self):
        self.socket.close()

    def send(self, envelope):
        """Sends an envelope with its length before it."""
        data = envelope.SerializeToString()
        self.socket.sendall(struct.pack("<I", len(data)) + data)

    def _read(self, count):
        parts = bytearray()
        while len(parts) < count:
            part = self.socket.recv(count - len(parts))
            if not part:
                raise ConnectionError("the worker hung up")
            parts += part
        return bytes(parts)

    def receive(self):
        """The next response, heartbeats aside."""
        while True:
            (length,) = struct.unpack("<I", self._read(4))
            envelope = ai.Envelope.FromString(self._read(length))
            if envelope.WhichOneof("message") == "response":
                return envelope.response

    def begin(self, model, **more):
        """Opens a session and waits until frames may come; returns InitOk."""
        self.send(ai.Envelope(request=ai.Request(init=ai.Init(model=model, client="python", **more))))
        response = self.receive()
        if response.WhichOneof("kind") != "init_ok":
            raise RuntimeError(f"no session: {response}")
        opened, ready = response.init_ok, self.receive()
        if ready.WhichOneof("kind") != "ready":
            raise RuntimeError(f"not ready: {ready}")
        return opened

    def look(self, frame_id, pixel_format, data, width=0, height=0):
        """Sends a frame and returns its Result."""
        frame = ai.Frame(frame_id=frame_id, format=pixel_format, width=width, height=height, data=data)
        self.send(ai.Envelope(request=ai.Request(frame=frame)))
        response = self.receive()
        if response.WhichOneof("kind") != "result":
            raise RuntimeError(f"no result: {response}")
        return response.result
