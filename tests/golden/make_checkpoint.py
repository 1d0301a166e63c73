#!/usr/bin/env python3
"""Makes a folder of tests/golden: a tiny checkpoint with random weights and what transformers computes with it.

For maintainers who add a family; the tests need only the folder. Needs torch, transformers and safetensors:

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install torch transformers safetensors
    /tmp/golden/bin/python tests/golden/make_checkpoint.py config.json tests/golden/NAME [--seed 1] [--dtype float32]

`config.json` is one as published checkpoints of the family have it, with small sizes: two to four layers, a hidden size of
64, a vocabulary of 256 to 300 whose ids 0 to 3 are the special tokens. Seeds are tried until every greedy step prefers its
token by at least --margin, so that rounding cannot change it.
"""

import argparse
import json
import os

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

PROMPT_LENGTHS = (7, 33, 130)
GREEDY_STEPS = 24
FIRST_ID = 4  # below lie the special tokens


def make_model(config_path, seed, dtype):
    """A model in float32 whose weights are exactly representable in `dtype`."""
    torch.manual_seed(seed)
    config = AutoConfig.from_pretrained(os.path.dirname(os.path.abspath(config_path)))
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.dim() >= 2:
                # Outputs get about the deviation of their inputs; logits spread by 2.
                deviation = tensor.shape[-1] ** -0.5 * (2 if "embed" in name or "lm_head" in name else 1)
                tensor.normal_(0, deviation)
            elif "norm" in name:
                tensor.add_(torch.randn_like(tensor) * 0.2)
            else:
                tensor.normal_(0, 0.2)
            tensor.copy_(tensor.to(dtype).float())
    return model


@torch.no_grad()
def logits_of(model, ids):
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()


def greedy(model, prompt):
    """The continuation by full passes, and by how much each step prefers its token."""
    ids, rows = list(prompt), []
    for _ in range(GREEDY_STEPS):
        rows.append(logits_of(model, ids)[-1])
        ids.append(int(rows[-1].argmax()))
    rows = torch.stack(rows)
    top = rows.topk(2).values
    return ids[len(prompt):], top[:, 0] - top[:, 1], rows.log_softmax(-1).topk(8)


def compute(model, seed):
    """The tensors of golden.safetensors and the least margin; None where a special token is preferred."""
    generator = torch.Generator().manual_seed(seed)
    golden, least = {}, float("inf")
    for i, length in enumerate(PROMPT_LENGTHS):
        prompt = torch.randint(FIRST_ID, model.config.vocab_size, (length,), generator=generator).tolist()
        ids, margins, top = greedy(model, prompt)
        if min(ids) < FIRST_ID:
            return None
        least = min(least, float(margins.min()))
        golden[f"prompt{i}.input_ids"] = torch.tensor(prompt, dtype=torch.int32)
        golden[f"prompt{i}.logits"] = logits_of(model, prompt).contiguous()
        golden[f"prompt{i}.greedy_ids"] = torch.tensor(ids, dtype=torch.int32)
        golden[f"prompt{i}.greedy_margins"] = margins.contiguous()
        golden[f"prompt{i}.greedy_top_ids"] = top.indices.to(torch.int32).contiguous()
        golden[f"prompt{i}.greedy_top_logprobs"] = top.values.contiguous()
    return golden, least


def save(model, golden, config_path, folder, dtype):
    """In the form of published checkpoints, which save_pretrained knows; config.json stays as it was given."""
    os.makedirs(folder)
    model.to(dtype).save_pretrained(folder)
    for name in os.listdir(folder):
        if not name.startswith("model") or not name.endswith((".safetensors", ".index.json")):
            os.remove(os.path.join(folder, name))
    save_file(golden, os.path.join(folder, "golden.safetensors"))
    with open(config_path) as source, open(os.path.join(folder, "config.json"), "w") as target:
        json.dump(json.load(source), target, indent=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config.json of the tiny model; its folder holds nothing else of a model")
    parser.add_argument("folder", help="what is made; must not exist")
    parser.add_argument("--seed", type=int, default=1, help="the first seed that is tried")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"], help="of the stored weights")
    parser.add_argument("--margin", type=float, default=0.05, help="least preference of a greedy token over the next")
    arguments = parser.parse_args()
    dtype = getattr(torch, arguments.dtype)
    for seed in range(arguments.seed, arguments.seed + 200):
        model = make_model(arguments.config, seed, dtype)
        found = compute(model, seed)
        if found is None or found[1] < arguments.margin:
            continue
        save(model, found[0], arguments.config, arguments.folder, dtype)
        print(f"{arguments.folder}: seed {seed}, least margin {found[1]:.3f}")
        return
    parser.error("no seed gives such margins: larger weights of the output or fewer layers help")


if __name__ == "__main__":
    main()
