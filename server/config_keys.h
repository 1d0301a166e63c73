// The keys of a configuration message: what each is called in a file, on a command line and in the
// environment, and what is written about it.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace baton::server {

// What proto/config.proto says of one key.
struct KeyDoc {
  std::string name;           // lease_timeout_ms
  std::string section;        // the message that has it: Decode (of DecodeConfig)
  std::string flag;           // --lease-timeout-ms
  std::string alias;          // a second flag that means the same; mostly empty
  std::string environment;    // BATON_LEASE_TIMEOUT_MS
  std::string type;           // "text", "number" or "bool"
  std::string default_value;  // as a file would say it, without quotes
  std::string allowed;        // "500 to 60000", "debug, info, warn, error"; empty: anything
  std::string help;
};

// A scalar field and the (sub-)message that holds it.
struct Key {
  google::protobuf::Message* holder;
  const google::protobuf::FieldDescriptor* field;
};

// All keys of `message` and of its sub-messages (which are made), in the order of config.proto.
std::vector<Key> KeysOf(google::protobuf::Message& message);
// `default_value` is what the holder has now.
KeyDoc DocOf(const Key& key);
std::string ValueText(const Key& key);
bool IsSet(const Key& key);

// Parses `text`. InvalidArgument names key, flag, value and what is allowed.
absl::Status SetValue(const Key& key, const std::string& text);
// The same for a value that is there already.
absl::Status CheckRange(const Key& key);

}  // namespace baton::server
