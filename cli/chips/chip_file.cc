#include "cli/chips/chip_file.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "proto/chip.pb.h"

namespace baton::cli {
namespace {

// The parser's first complaint.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    if (text_.empty())
      text_ = absl::StrCat("line ", line + 1, ", column ", column + 1, ": ", message);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// Takes figures out of a file one by one; the first that is not right is kept as the status.
class Figures {
 public:
  Figures(std::string path, std::vector<LoadedChip::Line>* lines)
      : path_(std::move(path)), lines_(lines) {}

  // `scale` brings the file's unit to the spec's. Absent: 0, or a complaint when needed.
  double Take(const std::string& what, bool present, const v1::Figure& figure, double scale,
              bool needed) {
    if (!present) {
      if (needed) Complain(absl::StrCat(what, " is missing"));
      return 0;
    }
    if (!(figure.value() > 0))
      Complain(absl::StrCat(what, " is ", figure.value(), ", needs more than 0"));
    if (figure.source().empty()) {
      Complain(absl::StrCat(what, " has no source: needs where it is published, or \"assumed\""));
    }
    lines_->push_back({what, figure.value(), figure.source()});
    return figure.value() * scale;
  }
  void Complain(const std::string& text) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat(path_, ": ", text));
  }
  const absl::Status& status() const { return status_; }

 private:
  const std::string path_;
  std::vector<LoadedChip::Line>* lines_;
  absl::Status status_;
};

device::Link TakeLink(const std::string& name, bool present, const v1::ChipLink& link,
                      Figures* figures) {
  if (!present) return {};
  return {.bandwidth_bytes_per_s =
              figures->Take(name + ".bandwidth_gb_per_s", link.has_bandwidth_gb_per_s(),
                            link.bandwidth_gb_per_s(), 1e9, true),
          .latency_s = figures->Take(name + ".latency_ns", link.has_latency_ns(), link.latency_ns(),
                                     1e-9, true)};
}

void TakeMemory(const v1::ChipFile& file, Figures* figures, device::ChipSpec* spec) {
  if (file.memory().empty()) figures->Complain("memory is missing: needs at least one level");
  for (const v1::ChipMemory& memory : file.memory()) {
    const std::string name = absl::StrCat("memory ", memory.name());
    spec->memory.push_back(
        {.name = memory.name(),
         .capacity_bytes = figures->Take(name + ": capacity_gb", memory.has_capacity_gb(),
                                         memory.capacity_gb(), 1e9, true),
         .bandwidth_bytes_per_s =
             figures->Take(name + ": bandwidth_gb_per_s", memory.has_bandwidth_gb_per_s(),
                           memory.bandwidth_gb_per_s(), 1e9, true),
         .latency_s = figures->Take(name + ": latency_ns", memory.has_latency_ns(),
                                    memory.latency_ns(), 1e-9, true)});
  }
}

double TakeShare(const std::string& what, bool present, const v1::Figure& figure,
                 Figures* figures) {
  if (!present) return 1;
  const double share = figures->Take(what, present, figure, 1, false);
  if (share > 1) figures->Complain(absl::StrCat(what, " is ", share, ", needs (0, 1]"));
  return share;
}

}  // namespace

absl::StatusOr<LoadedChip> ReadChip(const std::string& path) {
  std::ifstream in(path);
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  std::stringstream text;
  text << in.rdbuf();
  v1::ChipFile file;
  FirstError error;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  if (!parser.ParseFromString(text.str(), &file)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", error.text()));
  }
  LoadedChip chip;
  device::ChipSpec& spec = chip.spec;
  Figures figures(path, &chip.lines);
  spec.name = file.name();
  if (spec.name.empty()) figures.Complain("name is missing");
  spec.description = file.description();
  spec.exists = file.exists();
  spec.dies = static_cast<int>(figures.Take("dies", file.has_dies(), file.dies(), 1, true));
  spec.peak.int8 = figures.Take("int8_tops", file.has_int8_tops(), file.int8_tops(), 1e12, false);
  spec.peak.fp8 = figures.Take("fp8_tflops", file.has_fp8_tflops(), file.fp8_tflops(), 1e12, false);
  spec.peak.bf16 =
      figures.Take("bf16_tflops", file.has_bf16_tflops(), file.bf16_tflops(), 1e12, false);
  spec.peak.fp32 =
      figures.Take("fp32_tflops", file.has_fp32_tflops(), file.fp32_tflops(), 1e12, false);
  TakeMemory(file, &figures, &spec);
  spec.die_link = TakeLink("die_link", file.has_die_link(), file.die_link(), &figures);
  spec.chip_link = TakeLink("chip_link", file.has_chip_link(), file.chip_link(), &figures);
  if (spec.dies > 1 && !file.has_die_link()) {
    figures.Complain(absl::StrCat("die_link is missing: the package has ", spec.dies, " dies"));
  }
  spec.power_w = figures.Take("power_w", file.has_power_w(), file.power_w(), 1, false);
  spec.price_usd = figures.Take("price_usd", file.has_price_usd(), file.price_usd(), 1, false);
  spec.compute_efficiency = TakeShare("compute_efficiency", file.has_compute_efficiency(),
                                      file.compute_efficiency(), &figures);
  spec.memory_efficiency = TakeShare("memory_efficiency", file.has_memory_efficiency(),
                                     file.memory_efficiency(), &figures);
  BATON_RETURN_IF_ERROR(figures.status());
  return chip;
}

absl::StatusOr<std::vector<std::string>> ChipNames(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".textproto") names.push_back(entry.path().stem().string());
  }
  if (error) {
    return absl::NotFoundError(
        absl::StrCat("no folder of chips at ", folder, ": give --chips-dir"));
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<LoadedChip> FindChip(const std::string& name, const std::string& folder) {
  if (absl::EndsWith(name, ".textproto")) return ReadChip(name);
  BATON_ASSIGN_OR_RETURN(const std::vector<std::string> names, ChipNames(folder));
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    return absl::NotFoundError(absl::StrCat("no chip '", name, "' in ", folder, "; there are ",
                                            absl::StrJoin(names, ", ")));
  }
  return ReadChip(absl::StrCat(folder, "/", name, ".textproto"));
}

}  // namespace baton::cli
