// Log lines as JSON.
#pragma once

#include <spdlog/formatter.h>

#include <memory>

namespace baton::server {

// One object a line: time (ISO 8601), level, process, message. What the message holds is escaped;
// bytes that are no UTF-8 become U+FFFD, so that every line parses.
std::unique_ptr<spdlog::formatter> JsonLines();

}  // namespace baton::server
