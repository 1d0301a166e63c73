#include "router/request_flow.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "router/api/turn_grammar.h"
#include "router/candidates.h"
#include "router/prompt_tokens.h"

namespace baton::router {
namespace {

// More bytes of prompt than this are tokenised on a worker thread, so that other streams of the
// loop go on.
constexpr size_t kInlineBytes = 16 * 1024;
// Sequences of one request that run at once; the others follow as these end.
constexpr size_t kMaxActive = 64;

size_t PromptBytes(const Generation& generation) {
  size_t bytes = 0;
  for (const Prompt& prompt : generation.prompts) bytes += prompt.text.size();
  return bytes;
}

// A grammar holds the answer, not the reasoning before it.
std::optional<ApiError> CheckTurnGrammar(const RouterContext& router, const Generation& generation,
                                         bool in_reasoning, v1::SamplingParams* sampling) {
  if (!sampling->has_grammar() || router.turn_format.reasoning == ReasoningStyle::kNone) {
    return std::nullopt;
  }
  *sampling->mutable_grammar() = BehindReasoning(router.turn_format, router.tokenizer, in_reasoning,
                                                 generation.sampling.grammar());
  return router.grammars.Check(sampling->grammar(), generation.grammar_field);
}

double Ms(absl::Duration duration) { return absl::ToDoubleMilliseconds(duration); }

}  // namespace

RequestFlow::RequestFlow(RouterContext& router, Executor executor, Generation generation,
                         absl::Time arrived, GenerationSink* sink)
    : router_(router),
      executor_(std::move(executor)),
      generation_(std::move(generation)),
      arrived_(arrived),
      timeline_(arrived),
      record_(router.requests.Start(generation_.request_id, generation_.trace, arrived)),
      sink_(sink) {}

RequestFlow::~RequestFlow() { Cancel(); }

std::shared_ptr<RequestFlow> RequestFlow::Start(RouterContext& router, Executor executor,
                                                Generation generation, absl::Time arrived,
                                                GenerationSink* sink) {
  std::shared_ptr<RequestFlow> flow(
      new RequestFlow(router, std::move(executor), std::move(generation), arrived, sink));
  flow->Begin();
  return flow;
}

void RequestFlow::Begin() {
  if (!generation_.model.empty() && generation_.model != router_.model_id) {
    return Done(UnknownModel(generation_.model));
  }
  timeline_.Add(Phase::kAdmit, router_.clock.Now());
  if (auto error = router_.admission.CheckServing()) return Done(std::move(error));
  const std::string missing = router_.cluster.snapshot()->Missing(router_.NeedsPrefillNodes());
  if (!missing.empty()) return Done(NotReady(missing));
  const bool inline_work =
      PromptBytes(generation_) <= kInlineBytes && !generation_.sampling.has_grammar();
  if (inline_work) return OnEncoded(Encode(router_, generation_));
  // The flow must be let go on its own executor: the worker only carries it there.
  boost::asio::post(router_.loops.workers(), [self = shared_from_this()]() mutable {
    Encoded encoded = Encode(self->router_, self->generation_);
    RequestFlow* flow = self.get();
    boost::asio::post(flow->executor_,
                      [self = std::move(self), encoded = std::move(encoded)]() mutable {
                        if (self->sink_ != nullptr) self->OnEncoded(std::move(encoded));
                      });
  });
}

RequestFlow::Encoded RequestFlow::Encode(const RouterContext& router,
                                         const Generation& generation) {
  Encoded encoded;
  encoded.sampling = generation.sampling;
  encoded.error = EncodeBadWords(router.tokenizer, generation.bad_words, &encoded.sampling);
  if (encoded.error) return encoded;
  if (generation.sampling.has_grammar()) {
    encoded.error = router.grammars.Check(generation.sampling.grammar(), generation.grammar_field);
    if (encoded.error) return encoded;
  }
  for (const Prompt& prompt : generation.prompts) {
    EncodedPrompt out;
    encoded.error = EncodePrompt(router.tokenizer, prompt, generation.add_special_tokens,
                                 generation.add_generation_prompt, &out.ids);
    if (!encoded.error && out.ids.empty()) {
      encoded.error = InvalidParam(PromptField(prompt), "The prompt is empty.");
    }
    if (encoded.error) return encoded;
    if (prompt.kind == Prompt::Kind::kChat) {
      out.in_reasoning = EndsInReasoning(router.turn_format, router.tokenizer, out.ids);
      encoded.error = CheckTurnGrammar(router, generation, out.in_reasoning, &encoded.sampling);
      if (encoded.error) return encoded;
    }
    if (generation.echo) {
      out.echo = prompt.text;
      if (prompt.kind == Prompt::Kind::kTokens) {
        absl::StatusOr<std::string> text =
            router.tokenizer.Decode(out.ids, generation.skip_special_tokens);
        if (text.ok()) out.echo = *std::move(text);
      }
    }
    encoded.prompts.push_back(std::move(out));
  }
  return encoded;
}

void RequestFlow::OnEncoded(Encoded encoded) {
  timeline_.Add(Phase::kTokenise, router_.clock.Now());
  if (encoded.error) return Done(std::move(encoded.error));
  if (auto error = MakeSequences(std::move(encoded))) return Done(std::move(error));
  TakePlace();
}

void RequestFlow::TakePlace() {
  const std::vector<int32_t>& first = *specs_.begin()->second.prompt;
  AdmissionAsk ask;
  ask.tenant = generation_.cache_salt.empty() ? generation_.user : generation_.cache_salt;
  ask.priority = generation_.priority;
  ask.prompt_tokens = static_cast<int64_t>(first.size());
  ask.matches =
      FindPrefixes(*router_.cluster.snapshot(), router_.caches, first, generation_.cache_salt);
  ask.ttft_slo_s = specs_.begin()->second.ttft_slo_s;
  ask.tpot_slo_s = specs_.begin()->second.tpot_slo_s;
  ask.arrived = arrived_;
  bool begins = false;
  // The turn may come on any thread; only this flow's executor may hold the flow.
  auto error = router_.admission.Enter(
      std::move(ask),
      [weak = weak_from_this(), executor = executor_](std::optional<ApiError> refusal) {
        boost::asio::post(executor, [weak, refusal = std::move(refusal)]() mutable {
          if (const auto self = weak.lock()) self->OnTurn(std::move(refusal));
        });
      },
      &slot_, &begins);
  if (error) return Done(std::move(error));
  if (begins) StartSome();
}

void RequestFlow::OnTurn(std::optional<ApiError> error) {
  if (sink_ == nullptr) return;
  if (error) return Done(std::move(error));
  router_.metrics.admission_wait.Observe(absl::ToDoubleSeconds(router_.clock.Now() - arrived_));
  StartSome();
}

std::optional<ApiError> RequestFlow::MakeSequences(Encoded encoded) {
  const int64_t context = router_.ContextLength();
  const uint64_t seed = generation_.seed ? *generation_.seed : router_.rng.Next();
  for (EncodedPrompt& prompt : encoded.prompts) {
    in_reasoning_ = prompt.in_reasoning;
    const int64_t length = static_cast<int64_t>(prompt.ids.size());
    if (length + 1 > context) {
      ApiError error = PromptTooLong(length, context);
      error.param = std::string(PromptField(generation_.prompts.front()));
      return error;
    }
    usage_.prompt_tokens += length;
    SequenceSpec spec;
    spec.request_id = generation_.request_id;
    spec.prompt = std::make_shared<const std::vector<int32_t>>(std::move(prompt.ids));
    spec.echo = std::move(prompt.echo);
    spec.sampling = encoded.sampling;
    spec.cache_salt = generation_.cache_salt;
    const v1::AdmissionConfig& defaults = router_.config.admission();
    spec.ttft_slo_s =
        generation_.ttft_slo_s > 0 ? generation_.ttft_slo_s : 1e-3 * defaults.ttft_slo_ms();
    spec.tpot_slo_s =
        generation_.tpot_slo_s > 0 ? generation_.tpot_slo_s : 1e-3 * defaults.tpot_slo_ms();
    spec.stop = generation_.stop;
    spec.score_only = generation_.score_only;
    spec.embed = generation_.embed;
    if (spec.embed) {
      spec.embed->set_pooling(router_.config.pooling() == "last" ? v1::POOLING_LAST
                                                                 : v1::POOLING_MEAN);
    }
    const int64_t room = context - length;
    const int64_t wanted = spec.stop.max_tokens() > 0 ? spec.stop.max_tokens() : room;
    spec.stop.set_max_tokens(static_cast<int32_t>(std::min(wanted, room)));
    spec.stop.set_min_tokens(std::min(spec.stop.min_tokens(), spec.stop.max_tokens()));
    spec.stop_strings = generation_.stop_strings;
    spec.include_stop = generation_.include_stop;
    spec.skip_special_tokens = generation_.skip_special_tokens;
    spec.traceparent = generation_.trace.trace_id.empty() ? "" : Traceparent(generation_.trace);
    spec.arrived = arrived_;
    spec.timeline = timeline_;
    spec.record = record_;
    spec.deadline = arrived_ + absl::Milliseconds(router_.config.request_timeout_ms());
    for (int32_t answer = 0; answer < generation_.n; ++answer) {
      spec.choice = static_cast<int32_t>(specs_.size());
      spec.sampling.set_seed(seed + static_cast<uint64_t>(answer));
      pending_.push_back(spec.choice);
      specs_.emplace(spec.choice, spec);
    }
  }
  record_->SetPromptTokens(usage_.prompt_tokens);
  return std::nullopt;
}

void RequestFlow::StartSome() {
  // Starting may fail at once and end the whole request.
  const auto self = shared_from_this();
  while (sink_ != nullptr && !pending_.empty() && active_.size() < kMaxActive) {
    const int32_t choice = pending_.front();
    pending_.pop_front();
    // The wait for a turn is part of being admitted.
    specs_.at(choice).timeline.Add(Phase::kAdmit, router_.clock.Now());
    auto flow = std::make_shared<SequenceFlow>(router_, executor_, specs_.at(choice), this);
    active_.emplace(choice, flow);
    flow->Start();
  }
}

void RequestFlow::OnSequenceDelta(Delta delta, int32_t new_tokens) {
  delivered_ = true;
  usage_.completion_tokens += new_tokens;
  delta.usage = usage_;
  delta.in_reasoning = in_reasoning_;
  delta.prompt = specs_.at(delta.choice).prompt;
  if (sink_ != nullptr) sink_->OnDelta(std::move(delta));
}

void RequestFlow::OnSequenceEnd(const SequenceEnd& end) {
  active_.erase(end.choice);
  last_end_ = end;
  if (end.error) {
    if (!end.retry_when_others_end || active_.empty()) return Done(end.error);
    pending_.push_back(end.choice);  // StartSome runs again when one of the others ends
    return;
  }
  specs_.erase(end.choice);
  cut_by_length_ = cut_by_length_ || end.finish == v1::FINISH_REASON_LENGTH;
  if (end.choice % generation_.n == 0) usage_.cached_tokens += end.cached_tokens;
  if (specs_.empty()) return Done(std::nullopt);
  StartSome();
}

void RequestFlow::Done(std::optional<ApiError> error) {
  GenerationSink* sink = std::exchange(sink_, nullptr);
  for (const auto& [choice, flow] : std::exchange(active_, {})) flow->Cancel();
  pending_.clear();
  if (sink == nullptr) return;
  Count(error);
  Log(error);
  router_.requests.Finish(record_, error ? error->code : "ok");
  sink->OnDone({std::move(error), usage_, last_end_.timings});
}

void RequestFlow::Cancel() {
  if (std::exchange(sink_, nullptr) == nullptr) return;
  for (const auto& [choice, flow] : std::exchange(active_, {})) flow->Cancel();
  pending_.clear();
  router_.requests.Finish(record_, "cancelled");
  router_.metrics.requests[static_cast<size_t>(RequestResult::kAbort)].Add();
  router_.metrics.end_to_end.Observe(absl::ToDoubleSeconds(router_.clock.Now() - arrived_));
  spdlog::info("request {} outcome=cancelled prompt_tokens={} output_tokens={} total_ms={:.1f}",
               generation_.request_id, usage_.prompt_tokens, usage_.completion_tokens,
               Ms(router_.clock.Now() - arrived_));
}

void RequestFlow::Count(const std::optional<ApiError>& error) {
  RequestResult result = cut_by_length_ ? RequestResult::kLength : RequestResult::kStop;
  if (error) result = error->http_status < 500 ? RequestResult::kRefused : RequestResult::kError;
  router_.metrics.requests[static_cast<size_t>(result)].Add();
  if (delivered_) {
    router_.metrics.prompt_tokens.Add(usage_.prompt_tokens);
    router_.metrics.end_to_end.Observe(absl::ToDoubleSeconds(router_.clock.Now() - arrived_));
  }
}

void RequestFlow::Log(const std::optional<ApiError>& error) const {
  const double total_ms = Ms(router_.clock.Now() - arrived_);
  if (error) {
    spdlog::info(
        "request {} outcome=error status={} code={} prompt_tokens={} output_tokens={} "
        "total_ms={:.1f}",
        generation_.request_id, error->http_status, error->code, usage_.prompt_tokens,
        usage_.completion_tokens, total_ms);
    return;
  }
  spdlog::info(
      "request {} outcome={} prompt_tokens={} output_tokens={} ttft_ms={:.2f} "
      "total_ms={:.1f} prefill={} decode={} placed={} cached_tokens={} retries={}",
      generation_.request_id, cut_by_length_ ? "length" : "stop", usage_.prompt_tokens,
      usage_.completion_tokens, Ms(last_end_.first_token), total_ms, last_end_.prefill_node,
      last_end_.decode_node, last_end_.timings.placement, usage_.cached_tokens, last_end_.retries);
}

}  // namespace baton::router
