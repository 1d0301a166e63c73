// Says which call into a plugin the process was in when it crashed or hung.
#pragma once

#include <cstdint>
#include <string>

namespace baton::device {

struct CallSlot;

// While one exists, a fatal signal and a call over its time are reported on stderr with the names
// of plugin and call. Any number may exist; threads other than the plugin's callers are not
// touched.
class CallWatch {
 public:
  explicit CallWatch(const std::string& plugin);
  ~CallWatch();
  CallWatch(const CallWatch&) = delete;
  CallWatch& operator=(const CallWatch&) = delete;

  // Around every call. `call` must be a string literal. Calls of one watch do not overlap.
  void Begin(const char* call);
  void End();

 private:
  CallSlot* slot_ = nullptr;
};

}  // namespace baton::device
