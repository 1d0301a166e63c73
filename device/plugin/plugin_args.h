// The ops' arguments as a plugin reads them (baton_device.h).
#pragma once

#include <memory>
#include <vector>

#include "device/ops.h"
#include "device/plugin/baton_device.h"

namespace baton::device {

// A weight of a plugin's device: in the chip's form, in the reference's, or in both.
class PluginWeight final : public Weight {
 public:
  // `release` gives the chip's form back. At least one form is there.
  PluginWeight(const StoredTensor& stored, int64_t packed_bytes, std::shared_ptr<baton_weight> chip,
               std::unique_ptr<Weight> reference)
      : Weight(stored.dtype, stored.rows, stored.cols, packed_bytes),
        chip_(std::move(chip)),
        reference_(std::move(reference)) {}
  const baton_weight* chip() const { return chip_.get(); }
  const Weight* reference() const { return reference_.get(); }

 private:
  std::shared_ptr<baton_weight> chip_;
  std::unique_ptr<Weight> reference_;
};

inline const PluginWeight& OfPlugin(const Weight* weight) {
  return *static_cast<const PluginWeight*>(weight);
}

// One op's arguments in C, with the arrays that they point to. Valid as long as the originals.
template <typename Args>
struct CArgs {
  Args args = {};
  std::vector<baton_sequence> sequences;
  std::vector<baton_linear_part> parts;
  std::vector<const baton_weight*> weights;
  std::vector<baton_expert> experts;
};

CArgs<baton_embed_args> ToC(const EmbedArgs& args);
CArgs<baton_rms_norm_args> ToC(const RmsNormArgs& args);
CArgs<baton_linear_args> ToC(const LinearArgs& args);
CArgs<baton_gated_linear_args> ToC(const GatedLinearArgs& args);
CArgs<baton_rope_args> ToC(const RopeArgs& args);
CArgs<baton_append_kv_args> ToC(const AppendKvArgs& args);
CArgs<baton_attention_args> ToC(const AttentionArgs& args);
CArgs<baton_gather_rows_args> ToC(const GatherRowsArgs& args);
CArgs<baton_head_linear_args> ToC(const HeadLinearArgs& args);
CArgs<baton_copy_heads_args> ToC(const CopyHeadsArgs& args);
CArgs<baton_experts_args> ToC(const ExpertsArgs& args);

}  // namespace baton::device
