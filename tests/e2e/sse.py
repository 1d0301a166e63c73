"""A checked SSE client: every stream must end exactly once."""

import http.client
import json
import time

from cluster import SLOWNESS


class Stream:
    """POSTs a streaming request and yields its events as parsed JSON; remembers when each arrived."""

    def __init__(self, host, path, body, timeout=60, headers=None):
        address, port = host.rsplit(":", 1)
        self.connection = http.client.HTTPConnection(address, int(port), timeout=timeout * SLOWNESS)
        self.sent = time.monotonic()
        self.connection.request("POST", path, json.dumps({**body, "stream": True}),
                                {"Content-Type": "application/json", **(headers or {})})
        self.response = self.connection.getresponse()
        self.status = self.response.status
        self.times = []
        self.done = False

    def events(self):
        if self.status != 200:
            raise AssertionError(f"HTTP {self.status}: {self.response.read().decode()}")
        for line in self.response:
            line = line.decode().rstrip("\r\n")
            if not line or line.startswith(":"):
                continue
            assert not self.done, f"an event after [DONE]: {line}"
            assert line.startswith("data: "), f"not an SSE data line: {line!r}"
            if line == "data: [DONE]":
                self.done = True
                continue
            self.times.append(time.monotonic())
            yield json.loads(line[6:])
        assert self.done, "the stream ended without [DONE]"

    def close(self):
        """Leaves, as a client that went away."""
        if self.connection.sock is not None:
            self.connection.sock.close()
        self.response.close()
        self.connection.close()


def collect(host, path, body, **options):
    """Runs a stream to its end: {"text": {index: str}, "finish": {index: reason}, "usage", "chunks", "error", "stream"}."""
    stream = Stream(host, path, body, **options)
    result = {"text": {}, "finish": {}, "usage": None, "chunks": [], "error": None, "stream": stream}
    for event in stream.events():
        result["chunks"].append(event)
        if "error" in event:
            result["error"] = event["error"]
            continue
        if event.get("usage"):
            result["usage"] = event["usage"]
        for choice in event.get("choices", []):
            index = choice["index"]
            assert index not in result["finish"], f"choice {index} went on after its finish_reason"
            piece = choice.get("text") if "text" in choice else choice["delta"].get("content")
            result["text"][index] = result["text"].get(index, "") + (piece or "")
            if choice.get("finish_reason"):
                result["finish"][index] = choice["finish_reason"]
    stream.close()
    return result
