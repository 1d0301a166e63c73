// What GGUF files call the tensors of Hugging Face checkpoints.
#pragma once

#include <cstdint>
#include <string>

namespace baton::models {

// A tensor of a GGUF file, or one of the equal parts that it stacks (the experts of a layer).
struct GgufPlace {
  std::string name;
  int64_t part = -1;  // -1: the whole tensor
};

// Of "model.layers.3.self_attn.q_proj.weight": "blk.3.attn_q.weight". `model_type` is the family's
// name in config.json. A name that is none of Hugging Face's is its own place.
GgufPlace GgufPlaceOf(const std::string& model_type, const std::string& name);

}  // namespace baton::models
