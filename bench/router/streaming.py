"""One streamed completion, with the times at which its pieces came. Shared by the scripts beside it."""

import http.client
import json
import random
import threading
import time
import urllib.request
from urllib.parse import urlparse


def model_of(url):
    with urllib.request.urlopen(url + "/v1/models", timeout=10) as reply:
        return json.load(reply)["data"][0]["id"]


def metric(url, name):
    """Sum of all samples of a metric whose line begins with `name`."""
    with urllib.request.urlopen(url + "/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def random_prompt(tokens, rng):
    return [rng.randrange(1000, 40000) for _ in range(tokens)]


class Answer:
    """status; seconds since `start`: head (status line), times (one a token); usage, timings, text, retry_after_ms."""

    def __init__(self):
        self.start = time.monotonic()
        self.status, self.head, self.times = 0, None, []
        self.usage, self.timings, self.text, self.token_ids, self.retry_after_ms = {}, {}, "", [], None

    ttft = property(lambda self: self.times[0] if self.times else None)
    gaps = property(lambda self: [b - a for a, b in zip(self.times, self.times[1:])])
    tpot = property(lambda self: (self.times[-1] - self.times[0]) / (len(self.times) - 1) if len(self.times) > 1 else None)


def complete(url, body, stop=None):
    """Streams one completion; `stop` (an Event) ends it early. Connection errors give status 0."""
    answer = Answer()
    place = urlparse(url)
    body = {"stream": True, "stream_options": {"include_usage": True}, "timings": True, "return_token_ids": True,
            "ignore_eos": True, "temperature": 0, **body}
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=600)
    try:
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        answer.head = time.monotonic() - answer.start
        answer.status = reply.status
        answer.retry_after_ms = reply.getheader("retry-after-ms")
        if reply.status != 200:
            reply.read()
            return answer
        for line in reply:
            if not line.startswith(b"data: {"):
                continue
            now = time.monotonic() - answer.start
            event = json.loads(line[6:])
            for choice in event.get("choices", []):
                answer.text += choice["text"]
                answer.token_ids += choice.get("token_ids", [])
                answer.times.append(now)
            answer.usage = event.get("usage") or answer.usage
            answer.timings = event.get("timings") or answer.timings
            if "error" in event:
                answer.status = 500
            if stop is not None and stop.is_set():
                break
    except OSError:
        answer.status = 0
    finally:
        connection.close()
    return answer


def start(url, body, results, stop=None):
    """Runs `complete` on a thread; the answer is appended to `results`."""
    thread = threading.Thread(target=lambda: results.append(complete(url, body, stop)), daemon=True)
    thread.start()
    return thread


def percentile(values, percent):
    values = sorted(values)
    if not values:
        return float("nan")
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


def seeded(seed):
    return random.Random(seed)
