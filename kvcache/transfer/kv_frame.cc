#include "kvcache/transfer/kv_frame.h"

#include <google/protobuf/io/coded_stream.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/strings/str_format.h"
#include "base/status_macros.h"

namespace baton::kvcache {
namespace {

// Protobuf tags: field number << 3 | wire type 2 (length-delimited).
constexpr uint64_t kManifestTag = 1 << 3 | 2;
constexpr uint64_t kCommitTag = 2 << 3 | 2;
constexpr uint64_t kPayloadTag = 15 << 3 | 2;
// Most bytes of a serialised manifest or commit; the commit's first token carries up to 20
// alternatives.
constexpr uint64_t kMaxHeaderBytes = 64 << 10;

void AppendField(std::string& out, uint64_t tag, const google::protobuf::MessageLite& message) {
  google::protobuf::io::StringOutputStream stream(&out);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.WriteVarint64(tag);
  coded.WriteVarint64(message.ByteSizeLong());
  message.SerializeToCodedStream(&coded);
}

void AppendPayloadLength(std::string& out, uint64_t length) {
  google::protobuf::io::StringOutputStream stream(&out);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.WriteVarint64(kPayloadTag);
  coded.WriteVarint64(length);
}

void DropPin(void* pin) { delete static_cast<std::shared_ptr<void>*>(pin); }

grpc::Slice PayloadSlice(absl::Span<const uint8_t> bytes, const std::shared_ptr<void>& pin) {
  if (pin == nullptr) return grpc::Slice(bytes.data(), bytes.size(), grpc::Slice::STATIC_SLICE);
  return grpc::Slice(const_cast<uint8_t*>(bytes.data()), bytes.size(), DropPin,
                     new std::shared_ptr<void>(pin));
}

// Reads a sequence of slices as one string of bytes.
class SliceReader {
 public:
  explicit SliceReader(const std::vector<grpc::Slice>& slices) : slices_(slices) {
    for (const grpc::Slice& slice : slices) remaining_ += slice.size();
  }
  uint64_t remaining() const { return remaining_; }

  // A base-128 varint of at most 10 bytes.
  absl::StatusOr<uint64_t> ReadVarint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      absl::Span<const uint8_t> byte = Next(1);
      if (byte.empty()) return absl::InvalidArgumentError("kv frame: ends within a number");
      if (shift == 63 && byte[0] > 1) break;
      value |= static_cast<uint64_t>(byte[0] & 0x7f) << shift;
      if ((byte[0] & 0x80) == 0) return value;
    }
    return absl::InvalidArgumentError("kv frame: a number is longer than 64 bits");
  }

  // The next bytes of one slice, at most `limit` and at least one unless the end is reached.
  absl::Span<const uint8_t> Next(uint64_t limit) {
    while (slice_ < slices_.size() && offset_ == slices_[slice_].size()) {
      ++slice_;
      offset_ = 0;
    }
    if (slice_ == slices_.size()) return {};
    const grpc::Slice& slice = slices_[slice_];
    const size_t count = std::min<uint64_t>(limit, slice.size() - offset_);
    absl::Span<const uint8_t> bytes(slice.begin() + offset_, count);
    offset_ += count;
    remaining_ -= count;
    return bytes;
  }

 private:
  const std::vector<grpc::Slice>& slices_;
  size_t slice_ = 0;
  size_t offset_ = 0;
  uint64_t remaining_ = 0;
};

absl::StatusOr<uint64_t> ReadLength(SliceReader& reader) {
  BATON_ASSIGN_OR_RETURN(const uint64_t length, reader.ReadVarint());
  if (length > reader.remaining()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "kv frame: a field of %d bytes, but only %d bytes are left", length, reader.remaining()));
  }
  return length;
}

absl::Status ReadMessage(SliceReader& reader, absl::string_view name,
                         google::protobuf::MessageLite& message) {
  BATON_ASSIGN_OR_RETURN(uint64_t length, ReadLength(reader));
  if (length > kMaxHeaderBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("kv frame: %s of %d bytes, at most %d", name, length, kMaxHeaderBytes));
  }
  std::string bytes;
  bytes.reserve(length);
  while (length > 0) {
    absl::Span<const uint8_t> piece = reader.Next(length);
    bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    length -= piece.size();
  }
  if (message.ParseFromString(bytes)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("kv frame: the %s does not parse", name));
}

absl::Status ReadPayload(SliceReader& reader, IncomingFrame& frame) {
  BATON_ASSIGN_OR_RETURN(const uint64_t length, ReadLength(reader));
  if (length != reader.remaining()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("kv frame: %d bytes follow the payload, which must be the last field",
                        reader.remaining() - length));
  }
  frame.payload_bytes = static_cast<int64_t>(length);
  while (reader.remaining() > 0) frame.payload.push_back(reader.Next(reader.remaining()));
  return absl::OkStatus();
}

}  // namespace

grpc::ByteBuffer EncodeFrame(const OutgoingFrame& frame, const std::shared_ptr<void>& pin) {
  std::string header;
  std::vector<grpc::Slice> slices(1);
  if (frame.commit != nullptr) {
    AppendField(header, kCommitTag, *frame.commit);
  } else {
    AppendField(header, kManifestTag, frame.manifest);
    uint64_t payload_bytes = 0;
    for (absl::Span<const uint8_t> piece : frame.payload) payload_bytes += piece.size();
    AppendPayloadLength(header, payload_bytes);
    for (absl::Span<const uint8_t> piece : frame.payload) {
      if (!piece.empty()) slices.push_back(PayloadSlice(piece, pin));
    }
  }
  slices[0] = grpc::Slice(header);
  return grpc::ByteBuffer(slices.data(), slices.size());
}

absl::StatusOr<IncomingFrame> DecodeFrame(grpc::ByteBuffer& buffer,
                                          std::vector<grpc::Slice>& slices) {
  slices.clear();
  if (grpc::Status status = buffer.Dump(&slices); !status.ok()) {
    return absl::InvalidArgumentError("kv frame: unreadable buffer: " + status.error_message());
  }
  IncomingFrame frame;
  bool has_manifest = false;
  SliceReader reader(slices);
  while (reader.remaining() > 0) {
    BATON_ASSIGN_OR_RETURN(const uint64_t tag, reader.ReadVarint());
    if (tag == kManifestTag && !has_manifest && !frame.has_commit) {
      BATON_RETURN_IF_ERROR(ReadMessage(reader, "manifest", frame.manifest));
      has_manifest = true;
    } else if (tag == kCommitTag && !has_manifest && !frame.has_commit) {
      BATON_RETURN_IF_ERROR(ReadMessage(reader, "commit", frame.commit));
      frame.has_commit = true;
    } else if (tag == kPayloadTag && has_manifest) {
      BATON_RETURN_IF_ERROR(ReadPayload(reader, frame));
    } else {
      return absl::InvalidArgumentError(absl::StrFormat(
          "kv frame: field %d with wire type %d is not allowed here: need one manifest and then "
          "a payload, or one commit",
          tag >> 3, tag & 7));
    }
  }
  if (has_manifest || frame.has_commit) return frame;
  return absl::InvalidArgumentError("kv frame: neither a manifest nor a commit");
}

}  // namespace baton::kvcache
