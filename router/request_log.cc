#include "router/request_log.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/time/clock.h"

namespace baton::router {
namespace {

using OrderedJson = nlohmann::ordered_json;

std::string Dump(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

double ToMs(absl::Duration duration) { return absl::ToDoubleMilliseconds(duration); }

OrderedJson PhasesJson(const Timeline& timeline) {
  OrderedJson phases = OrderedJson::object();
  for (size_t i = 0; i < kPhases; ++i) {
    const auto phase = static_cast<Phase>(i);
    phases[std::string(PhaseName(phase)) + "_ms"] = ToMs(timeline.spent(phase));
  }
  return phases;
}

OrderedJson RecordJson(const RequestRecord& record, absl::Time now) {
  const RequestRecord::Contents contents = record.contents();
  OrderedJson sequences = OrderedJson::array();
  for (const SequenceRecord& sequence : contents.sequences) {
    sequences.push_back({{"choice", sequence.choice},
                         {"state", sequence.state},
                         {"prefill_node", sequence.prefill_node},
                         {"decode_node", sequence.decode_node},
                         {"output_tokens", sequence.output_tokens},
                         {"cached_tokens", sequence.cached_tokens},
                         {"retries", sequence.retries},
                         {"phases", PhasesJson(sequence.timeline)}});
  }
  return {{"request_id", record.id()},        {"trace_id", record.trace().trace_id},
          {"state", contents.state},          {"age_ms", ToMs(now - record.arrived())},
          {"took_ms", ToMs(contents.took)},   {"prompt_tokens", contents.prompt_tokens},
          {"sequences", std::move(sequences)}};
}

}  // namespace

void RequestRecord::SetPromptTokens(int64_t tokens) {
  MutexLock lock(mutex_);
  contents_.prompt_tokens = tokens;
}

void RequestRecord::Update(const SequenceRecord& sequence) {
  MutexLock lock(mutex_);
  std::vector<SequenceRecord>& all = contents_.sequences;
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const auto& s) { return s.choice == sequence.choice; });
  if (found == all.end()) {
    all.push_back(sequence);
  } else {
    *found = sequence;
  }
}

void RequestRecord::Finish(std::string state, absl::Duration took) {
  MutexLock lock(mutex_);
  contents_.state = std::move(state);
  contents_.took = took;
}

RequestRecord::Contents RequestRecord::contents() const {
  MutexLock lock(mutex_);
  return contents_;
}

std::shared_ptr<RequestRecord> RequestLog::Start(std::string id, TraceContext trace,
                                                 absl::Time arrived) {
  const absl::Time arrived_wall = absl::Now() - (clock_.Now() - arrived);
  auto record =
      std::make_shared<RequestRecord>(std::move(id), std::move(trace), arrived, arrived_wall);
  MutexLock lock(mutex_);
  running_.insert(record);
  return record;
}

void RequestLog::Finish(const std::shared_ptr<RequestRecord>& record, std::string state) {
  record->Finish(std::move(state), clock_.Now() - record->arrived());
  if (on_ended_) on_ended_(record);
  MutexLock lock(mutex_);
  running_.erase(record);
  ended_.push_back(record);
  if (ended_.size() > kEnded) ended_.pop_front();
}

std::string RequestLog::Json() const {
  const absl::Time now = clock_.Now();
  OrderedJson running = OrderedJson::array();
  OrderedJson ended = OrderedJson::array();
  MutexLock lock(mutex_);
  std::vector<std::shared_ptr<RequestRecord>> by_age(running_.begin(), running_.end());
  std::sort(by_age.begin(), by_age.end(),
            [](const auto& a, const auto& b) { return a->arrived() < b->arrived(); });
  for (const auto& record : by_age) running.push_back(RecordJson(*record, now));
  for (const auto& record : ended_) ended.push_back(RecordJson(*record, now));
  return Dump({{"running", std::move(running)}, {"ended", std::move(ended)}});
}

std::string RequestLog::TraceJson() const {
  OrderedJson events = OrderedJson::array();
  int track = 0;
  MutexLock lock(mutex_);
  for (const auto& record : ended_) {
    for (const SequenceRecord& sequence : record->contents().sequences) {
      ++track;
      events.push_back({{"ph", "M"},
                        {"name", "thread_name"},
                        {"pid", 1},
                        {"tid", track},
                        {"args", {{"name", record->id()}}}});
      absl::Time begin = sequence.timeline.begin();
      for (size_t i = 0; i < kPhases; ++i) {
        const auto phase = static_cast<Phase>(i);
        const absl::Duration spent = sequence.timeline.spent(phase);
        if (spent <= absl::ZeroDuration()) continue;
        const bool prefills = phase == Phase::kQueuePrefill || phase == Phase::kPrefill;
        events.push_back({{"ph", "X"},
                          {"name", std::string(PhaseName(phase))},
                          {"pid", 1},
                          {"tid", track},
                          {"ts", absl::ToDoubleMicroseconds(begin - absl::UnixEpoch())},
                          {"dur", absl::ToDoubleMicroseconds(spent)},
                          {"args",
                           {{"node", prefills ? sequence.prefill_node : sequence.decode_node},
                            {"choice", sequence.choice}}}});
        begin += spent;
      }
    }
  }
  return Dump({{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}});
}

}  // namespace baton::router
