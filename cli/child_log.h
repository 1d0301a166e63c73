// The lines of several child processes as one log: text with the child's name in front, or JSON
// objects.
#pragma once

#include <cstdio>
#include <map>
#include <mutex>
#include <string>

namespace baton::cli {

// Thread-safe.
class ChildLog {
 public:
  // `json`: one object a line. `terminal`: lines that say how far a model's loading is become one
  // line that is drawn over, with a bar.
  ChildLog(bool json, bool terminal, std::FILE* out)
      : json_(json), terminal_(terminal), out_(out) {}

  void Write(const std::string& child, const std::string& line);

 private:
  void DrawProgress();

  const bool json_;
  const bool terminal_;
  std::FILE* const out_;
  std::mutex mutex_;
  std::map<std::string, int> percent_;  // of the children that load
  bool drawn_ = false;                  // the cursor stands behind a progress line
};

// A child's line as one JSON object with its name: what is an object keeps its fields, other text
// becomes the message.
std::string JsonLogLine(const std::string& child, const std::string& line);

}  // namespace baton::cli
