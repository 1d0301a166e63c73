#include "cli/model_run.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "device/device_factory.h"
#include "engine/assembly.h"
#include "kvcache/block_table.h"
#include "models/model_registry.h"

namespace baton::cli {
namespace {

constexpr int32_t kBlockTokens = 32;
constexpr int32_t kChunkTokens = 512;
// Logits of every position are large (200 kB a token for a vocabulary of 50,000): few at a time.
constexpr int32_t kChunkTokensWithLogits = 64;

}  // namespace

absl::StatusOr<ModelRun> ModelRun::Load(const ModelRunOptions& options) {
  ModelRun run;
  BATON_ASSIGN_OR_RETURN(
      run.device_, device::CreateDevice(
                       {.name = options.device, .threads = options.threads, .isa = options.isa}));
  models::LoadOptions load;
  load.max_batch_tokens = kChunkTokens;
  const bool cpu = options.device == "cpu";
  BATON_ASSIGN_OR_RETURN(run.kv_dtype_, engine::KvDType(!options.kv_dtype.empty() ? options.kv_dtype
                                                        : cpu                     ? "f32"
                                                                                  : "f16"));
  BATON_ASSIGN_OR_RETURN(run.model_, models::LoadModel(options.model, *run.device_, load));
  return run;
}

absl::Status ModelRun::Reserve(int64_t tokens) {
  const models::ModelConfig& config = model_->config();
  if (tokens > config.context_length) {
    return absl::InvalidArgumentError(absl::StrCat(
        "needs ", tokens, " positions, the model's context has ", config.context_length));
  }
  const int32_t blocks = kvcache::BlocksFor(std::max<int64_t>(tokens, 1), kBlockTokens);
  if (blocks <= static_cast<int32_t>(block_table_.size())) return absl::OkStatus();
  const device::KvGeometry geometry{.layers = config.layers,
                                    .kv_heads = config.kv_heads,
                                    .head_dim = config.head_dim,
                                    .block_tokens = kBlockTokens,
                                    .dtype = kv_dtype_,
                                    .latent_dim = config.kv_latent_dim};
  BATON_ASSIGN_OR_RETURN(store_, kvcache::KvStore::Create(*device_, geometry, blocks));
  block_table_.resize(blocks);
  std::iota(block_table_.begin(), block_table_.end(), 0);
  position_ = 0;
  return absl::OkStatus();
}

absl::Status ModelRun::Append(absl::Span<const int32_t> tokens, bool all_logits,
                              const OnLogits& on_logits) {
  const int64_t chunk = all_logits ? kChunkTokensWithLogits : kChunkTokens;
  const int64_t count = static_cast<int64_t>(tokens.size());
  for (int64_t begin = 0; begin < count; begin += chunk) {
    const int64_t step = std::min(chunk, count - begin);
    const bool last = begin + step == count;
    models::ForwardBatch batch;
    batch.kv = store_->layers();
    batch.sequences.push_back({.tokens = tokens.subspan(begin, step),
                               .position = position_,
                               .block_table = block_table_,
                               .logits = all_logits ? models::LogitRows::kAll
                                         : last     ? models::LogitRows::kLast
                                                    : models::LogitRows::kNone});
    device::ConstMatrixView logits;
    BATON_RETURN_IF_ERROR(model_->Forward(batch, &logits));
    position_ += step;
    for (int64_t row = 0; row < logits.rows; ++row) {
      const int64_t index = all_logits ? begin + row : count - 1;
      BATON_RETURN_IF_ERROR(on_logits(index, {logits.row(row), static_cast<size_t>(logits.cols)}));
    }
  }
  return absl::OkStatus();
}

}  // namespace baton::cli
