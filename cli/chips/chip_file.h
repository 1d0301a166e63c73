// Spec files of chips (proto/chip.proto) as the timing model reads them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "device/chip_spec.h"

namespace baton::cli {

struct LoadedChip {
  device::ChipSpec spec;
  // Every figure of the file in its order: what it is, its value and its source.
  struct Line {
    std::string what;
    double value;
    std::string source;
  };
  std::vector<Line> lines;
};

// Reads one file. InvalidArgument names file and field: not a textproto, a figure without a source,
// a number that is not above 0, no memory, dies without a link between them.
absl::StatusOr<LoadedChip> ReadChip(const std::string& path);

// `name` is a path ending in .textproto or a name in `folder`. NotFound lists the names that are
// there.
absl::StatusOr<LoadedChip> FindChip(const std::string& name, const std::string& folder);

// The names in `folder`, sorted. NotFound when it is not there.
absl::StatusOr<std::vector<std::string>> ChipNames(const std::string& folder);

}  // namespace baton::cli
