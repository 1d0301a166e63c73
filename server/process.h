// The life of a process: logging, signals, drain.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "proto/config.pb.h"

namespace baton::server {

// Sets spdlog up (stderr, text or JSON lines) and ignores SIGPIPE.
void StartLogging(const v1::ProcessConfig& config, const std::string& process_name);

// Blocks SIGINT and SIGTERM in the calling thread and in all threads started later. Call first in
// main.
void BlockSignals();
// Waits for SIGINT or SIGTERM (or for RequestStop) and returns the signal's number, 0 for
// RequestStop.
int WaitForSignal();
// Whether WaitForSignal or WaitUntilIdle saw SIGINT or SIGTERM.
bool SignalSeen();
// Makes WaitForSignal return, from any thread.
void RequestStop();
// Polls `idle` until it returns true or `timeout` passed or a second signal came; returns whether
// it became idle.
bool WaitUntilIdle(absl::Duration timeout, const std::function<bool()>& idle);

// Prints "ready: <what>" as one line on stdout and flushes; `baton serve` and the tests wait for
// it. Format: "BATON READY role=<role> key=value ...".
void AnnounceReady(const std::string& role, const std::string& key_values);

// Prints `status` on stderr as "<process>: <message>" and returns the exit code: 78 for
// configuration errors (InvalidArgument, FailedPrecondition, NotFound), 1 otherwise.
int ExitCodeFor(const absl::Status& status, const std::string& process_name);

}  // namespace baton::server
