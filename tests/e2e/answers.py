"""What every answer must be, whether it was streamed or not."""

# The tokens of a stop string are computed, and counted, but not shown.
HIDDEN_AT_STOP = 64


def check_usage(usage, ids, finish):
    """The usage is what was delivered: `ids` and `finish` of each choice."""
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"], usage
    delivered = sum(len(i) for i in ids)
    hidden = HIDDEN_AT_STOP * sum(reason != "length" for reason in finish)
    assert delivered <= usage["completion_tokens"] <= delivered + hidden, f"{usage}, but {delivered} were delivered"


def check_body(body):
    """An answer that was not streamed: each choice ended once, and the usage is what it holds."""
    assert body["choices"], body
    for number, choice in enumerate(body["choices"]):
        assert choice["index"] == number, body
        assert choice["finish_reason"] in ("stop", "length", "tool_calls"), body
    if all(choice.get("token_ids") is not None for choice in body["choices"]):
        check_usage(body["usage"], [choice["token_ids"] for choice in body["choices"]],
                    [choice["finish_reason"] for choice in body["choices"]])
