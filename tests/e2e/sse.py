"""The checked client of all end-to-end tests: every stream ends exactly once, and its usage is what it delivered."""

import http.client
import json
import time

from answers import check_usage
from cluster import SLOWNESS


class Refused(AssertionError):
    """The answer was not 200."""

    def __init__(self, status, text):
        super().__init__(f"HTTP {status}: {text}")
        self.status = status


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
            raise Refused(self.status, self.response.read().decode())
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

    def gap(self):
        """The longest wait for an event, the first one included, in seconds."""
        times = [self.sent] + self.times
        return max(later - earlier for earlier, later in zip(times, times[1:]))

    def close(self):
        """Leaves, as a client that went away."""
        if self.connection.sock is not None:
            self.connection.sock.close()
        self.response.close()
        self.connection.close()


def collect(host, path, body, on_event=None, **options):
    """Runs a stream to its end and checks it: {"text": {index: str}, "ids": {index: [int]}, "logprobs": {index: [...]},
    "finish": {index: reason}, "usage", "chunks", "error", "stream"}.

    The stream must end exactly once: each choice with one finish_reason, or the stream with one error event, and then
    [DONE]. All chunks carry one id. The usage must be what was delivered, token by token. `on_event` is called with the
    result so far after each event.
    """
    wanted = {**body, "return_token_ids": True}
    wanted.setdefault("stream_options", {"include_usage": True})
    stream = Stream(host, path, wanted, **options)
    result = {"text": {}, "ids": {}, "logprobs": {}, "finish": {}, "usage": None, "chunks": [], "error": None,
              "stream": stream}
    for event in stream.events():
        assert result["error"] is None, f"an event after the error event: {event}"
        result["chunks"].append(event)
        take(result, event)
        if on_event:
            on_event(result)
    stream.close()
    check_end(result, body.get("n", 1))
    return result


def take(result, event):
    """Adds one event to a result."""
    if "error" in event:
        assert event["error"].get("message"), f"an error event without a message: {event}"
        result["error"] = event["error"]
        return
    assert event["id"] == result["chunks"][0]["id"], "the id changed within a stream"
    if event.get("usage") and not event.get("choices"):
        assert result["usage"] is None, "two chunks with the usage"
    if event.get("usage"):
        result["usage"] = event["usage"]
    for choice in event.get("choices", []):
        index = choice["index"]
        assert index not in result["finish"], f"choice {index} went on after its finish_reason"
        piece = choice.get("text") if "text" in choice else choice["delta"].get("content")
        result["text"][index] = result["text"].get(index, "") + (piece or "")
        result["ids"].setdefault(index, []).extend(choice.get("token_ids") or [])
        if choice.get("logprobs"):
            result["logprobs"].setdefault(index, []).append(choice["logprobs"])
        if choice.get("finish_reason"):
            result["finish"][index] = choice["finish_reason"]


def check_end(result, answers):
    """A stream that is over ended exactly once, and its usage is what it delivered."""
    if result["error"] is not None:
        return
    assert len(result["finish"]) >= answers, f"{answers} answers, but only {result['finish']} ended"
    if result["usage"] is not None:
        check_usage(result["usage"], result["ids"].values(), result["finish"].values())
