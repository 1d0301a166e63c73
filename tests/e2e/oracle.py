"""What the answers must be: the same requests through one engine that does both phases, without any network."""

import json
import os
import subprocess

from cluster import BIN_DIR

KNOWN = ("prompt", "temperature", "top_p", "top_k", "min_p", "seed", "repetition_penalty", "presence_penalty",
         "frequency_penalty", "max_tokens", "ignore_eos", "guided_regex")


def colocated(model, requests):
    """The output ids of each request, which must have its seed, by colocated_generate."""
    lines = "".join(json.dumps({key: r[key] for key in KNOWN if key in r}) + "\n" for r in requests)
    output = subprocess.run([os.path.join(BIN_DIR, "colocated_generate"), "--model", model], input=lines, text=True,
                            check=True, capture_output=True).stdout
    return [json.loads(line)["output_ids"] for line in output.splitlines()]


class Oracle:
    """Judges answers of a cluster. The ids come from colocated_generate; the text is theirs, cut at the first stop string."""

    def __init__(self, cluster, bodies):
        """`bodies`: {name: request}, each with a seed."""
        self.bodies = bodies
        single = [(name, choice, {**body, "seed": body["seed"] + choice})
                  for name, body in bodies.items() for choice in range(body.get("n", 1))]
        ids = colocated(cluster.model, [body for _, _, body in single])
        self.ids = {(name, choice): i for (name, choice, _), i in zip(single, ids)}
        self.text = {}
        for (name, choice), i in self.ids.items():
            # Control tokens have no text.
            status, body, _ = cluster.post("/detokenize", {"tokens": [token for token in i if token > 2]})
            assert status == 200, body
            self.text[name, choice] = cut(body["prompt"], bodies[name].get("stop", []))

    def check(self, name, result):
        """The result of sse.collect for the request `name`: exactly the answer, however it came about."""
        body = self.bodies[name]
        assert result["error"] is None, f"{name}: {result['error']}"
        for choice in range(body.get("n", 1)):
            wanted, got = self.text[name, choice], result["text"].get(choice)
            assert got == wanted, f"{name}, choice {choice}: {got!r}, wanted {wanted!r}"
            ids = self.ids[name, choice]
            if result["finish"][choice] == "length":
                assert result["ids"][choice] == ids, f"{name}, choice {choice}: {result['ids'][choice]}, wanted {ids}"
            else:
                shown = result["ids"][choice]
                assert shown == ids[:len(shown)], f"{name}, choice {choice}: {shown}, wanted the first of {ids}"


def cut(text, stops):
    """`text` up to the stop string that comes first."""
    ends = [text.index(stop) for stop in stops if stop in text]
    return text[:min(ends)] if ends else text
