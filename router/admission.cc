#include "router/admission.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace baton::router {

Admission::Slot& Admission::Slot::operator=(Slot&& other) noexcept {
  if (this != &other) {
    Release();
    admission_ = std::exchange(other.admission_, nullptr);
  }
  return *this;
}

void Admission::Slot::Release() {
  if (admission_ != nullptr) admission_->running_.fetch_sub(1);
  admission_ = nullptr;
}

std::optional<ApiError> Admission::Admit(Slot* slot) {
  if (draining()) return NotReady("The server is shutting down.");
  if (running_.fetch_add(1) >= max_running_) {
    running_.fetch_sub(1);
    return Full(absl::StrCat("The server is full: ", max_running_, " requests are running."));
  }
  *slot = Slot(this);
  return std::nullopt;
}

}  // namespace baton::router
