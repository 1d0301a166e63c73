// Owns one request from its arrival to its end. Read this first, then sequence_flow.h.
//
// The way of a request: the prompts become token ids (long ones on a worker thread); admission lets
// it begin, has it wait or says 429; each prompt gives n sequences with seeds seed, seed + 1, ...;
// each sequence goes its own way (sequence_flow.h); what they produce is interleaved into one sink.
// The first sequence that fails ends the request.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "router/generation.h"
#include "router/router_context.h"
#include "router/sequence_flow.h"

namespace baton::router {

// Lives on one executor: made, called and destroyed there.
class RequestFlow final : public SequenceListener,
                          public std::enable_shared_from_this<RequestFlow> {
 public:
  // Starts the request; errors that are found at once reach the sink before this returns. `sink`
  // must stay until OnDone or Cancel. The admission slot is held until the flow is destroyed, so
  // keep it until the answer is written.
  static std::shared_ptr<RequestFlow> Start(RouterContext& router, Executor executor,
                                            Generation generation, absl::Time arrived,
                                            GenerationSink* sink);
  ~RequestFlow() override;

  // The client is gone: everything that runs for it on any node is cancelled. The sink is not
  // called any more.
  void Cancel();

  void OnSequenceDelta(Delta delta, int32_t new_tokens) override;
  void OnSequenceEnd(const SequenceEnd& end) override;

 private:
  RequestFlow(RouterContext& router, Executor executor, Generation generation, absl::Time arrived,
              GenerationSink* sink);
  struct EncodedPrompt {
    std::vector<int32_t> ids;
    std::string echo;
    bool in_reasoning = false;
  };
  struct Encoded {
    std::optional<ApiError> error;
    std::vector<EncodedPrompt> prompts;
    v1::SamplingParams sampling;  // with the token ids of bad words
  };
  static Encoded Encode(const RouterContext& router, const Generation& generation);

  void Begin();
  void OnEncoded(Encoded encoded);
  std::optional<ApiError> MakeSequences(Encoded encoded);
  // Begins, or waits until OnTurn, or is turned away.
  void TakePlace();
  void OnTurn(std::optional<ApiError> error);
  void StartSome();
  void Done(std::optional<ApiError> error);
  void Count(const std::optional<ApiError>& error);
  void Log(const std::optional<ApiError>& error) const;

  RouterContext& router_;
  Executor executor_;
  const Generation generation_;
  const absl::Time arrived_;
  Timeline timeline_;  // up to where the sequences' own begin
  std::shared_ptr<RequestRecord> record_;
  GenerationSink* sink_;
  Admission::Slot slot_;

  std::map<int32_t, SequenceSpec> specs_;  // sequences that have not ended
  std::deque<int32_t> pending_;            // of these, those that have not started
  std::map<int32_t, std::shared_ptr<SequenceFlow>> active_;
  Usage usage_;
  bool delivered_ = false;
  bool in_reasoning_ = false;  // chat: the prompt has opened the model's reasoning
  bool cut_by_length_ = false;
  SequenceEnd last_end_;
};

}  // namespace baton::router
