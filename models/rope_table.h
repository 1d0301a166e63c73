// The cosines and sines of rotary position embedding, computed in double, as far as positions have
// been used.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "device/buffer.h"
#include "device/device.h"
#include "models/model_config.h"

namespace baton::models {

// Angle per position of each rotated pair, [rotary_dim / 2], all scaling variants included.
//
// Sources: Su et al. 2021 (base^(-2i/d)); linear: Chen et al. 2023; yarn: Peng et al. 2023, section
// 3; llama3: the rope utilities of transformers; factors: divisors that a GGUF file lists;
// longrope: Ding et al. 2024. Of longrope's two lists `context_length` decides, not the length of a
// sequence: a token's key must not depend on what follows it.
std::vector<double> RopeFrequencies(const RopeConfig& rope, int64_t context_length);

// What cosines and sines are multiplied with: 1, except for yarn and longrope.
double RopeMagnitude(const RopeConfig& rope);

// Not thread-safe. Grows by steps, so that a model of 128k positions costs nothing before they are
// used; rows that exist never change.
class RopeTable {
 public:
  // `device` must outlive the table.
  RopeTable(const RopeConfig& rope, int64_t context_length, device::Device& device);

  // Makes rows for positions [0, positions). REQUIRES: positions <= context_length.
  // ResourceExhausted: no memory.
  absl::Status Cover(int64_t positions);
  // [positions, rotary_dim] for RopeArgs: at least the positions covered, cos then sin. Valid until
  // the next Cover.
  device::ConstMatrixView view() const;

 private:
  absl::Status Reserve(int64_t rows);

  device::Device& device_;
  int64_t context_length_;
  int32_t rotary_dim_;
  double magnitude_;
  std::vector<double> frequencies_;
  device::Buffer memory_;
  int64_t capacity_ = 0;  // rows allocated
  int64_t rows_ = 0;      // rows filled
};

}  // namespace baton::models
