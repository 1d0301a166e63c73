#include "tests/fakes/fake_node.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>

#include "base/check.h"

namespace baton::fakes {
namespace {

void Sleep(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

bool Contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

bool EndsWith(const NodeScript& script, const v1::StopParams& stop, int32_t id) {
  const auto& ids = stop.stop_token_ids();
  if (std::find(ids.begin(), ids.end(), id) != ids.end()) return true;
  return !stop.ignore_eos() && Contains(script.eos_ids, id);
}

// Counts a call for as long as it runs, and whether its caller gave it up.
class CallCount {
 public:
  CallCount(grpc::ServerContext* context, std::atomic<int>& calls, std::atomic<int>& running,
            std::atomic<int>& cancelled)
      : context_(context), running_(running), cancelled_(cancelled) {
    ++calls;
    ++running_;
  }
  ~CallCount() {
    if (context_->IsCancelled()) ++cancelled_;
    --running_;
  }

 private:
  grpc::ServerContext* context_;
  std::atomic<int>& running_;
  std::atomic<int>& cancelled_;
};

std::string TraceparentOf(const grpc::ServerContext& context) {
  const auto found = context.client_metadata().find("traceparent");
  if (found == context.client_metadata().end()) return "";
  return {found->second.data(), found->second.size()};
}

}  // namespace

void FakeWire::Commit(const std::string& ticket_id, uint64_t epoch) {
  MutexLock lock(mutex_);
  uint64_t& known = epochs_[ticket_id];
  known = std::max(known, epoch);
}

uint64_t FakeWire::CommittedEpoch(const std::string& ticket_id) const {
  MutexLock lock(mutex_);
  const auto it = epochs_.find(ticket_id);
  return it == epochs_.end() ? 0 : it->second;
}

std::function<int32_t(const std::vector<int32_t>&, uint64_t, int32_t)> Says(std::string text) {
  return [text = std::move(text)](const std::vector<int32_t>&, uint64_t, int32_t index) {
    if (static_cast<size_t>(index) >= text.size()) return 2;
    return 3 + static_cast<int32_t>(static_cast<unsigned char>(text[index]));
  };
}

FakeNode::FakeNode(Options options, std::shared_ptr<FakeWire> wire)
    : options_(std::move(options)), wire_(std::move(wire)) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(static_cast<v1::Prefill::Service*>(this));
  builder.RegisterService(static_cast<v1::Decode::Service*>(this));
  server_ = builder.BuildAndStart();
  BATON_CHECK(server_ != nullptr, "the fake node's server starts");
  address_ = "127.0.0.1:" + std::to_string(port);
}

FakeNode::~FakeNode() {
  Leave();
  Kill();
}

void FakeNode::Join(const std::string& router_address) {
  registration_ = std::thread([this, router_address] { RunRegistration(router_address); });
}

void FakeNode::Leave() {
  leave_ = true;
  if (registration_.joinable()) registration_.join();
}

void FakeNode::Kill() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

void FakeNode::SendCache(v1::CacheEvents events) {
  MutexLock lock(mutex_);
  cache_events_.push_back(std::move(events));
}

void FakeNode::SetScript(NodeScript script) {
  MutexLock lock(mutex_);
  script_ = std::move(script);
}

NodeScript FakeNode::script() const {
  MutexLock lock(mutex_);
  return script_;
}

bool FakeNode::TakeFailure() {
  MutexLock lock(mutex_);
  if (script_.failures == 0) return false;
  if (script_.failures > 0) --script_.failures;
  return true;
}

std::vector<v1::PrefillRequest> FakeNode::prefill_requests() const {
  MutexLock lock(mutex_);
  return prefill_requests_;
}

std::vector<v1::DecodeRequest> FakeNode::decode_requests() const {
  MutexLock lock(mutex_);
  return decode_requests_;
}

std::vector<std::string> FakeNode::traceparents() const {
  MutexLock lock(mutex_);
  return traceparents_;
}

grpc::Status FakeNode::join_status() const {
  MutexLock lock(mutex_);
  return join_status_;
}

bool FakeNode::Pause(grpc::ServerContext* context, int ms) {
  for (int waited = 0; waited < ms && !context->IsCancelled(); waited += 2) Sleep(2);
  return !context->IsCancelled();
}

v1::Token FakeNode::MakeToken(const NodeScript& script, const std::vector<int32_t>& prompt,
                              const v1::SamplingParams& sampling, int32_t index) const {
  v1::Token token;
  token.set_index(index);
  token.set_id(script.token(prompt, sampling.seed(), index));
  if (sampling.logprobs()) {
    token.mutable_logprob()->set_id(token.id());
    token.mutable_logprob()->set_logprob(-0.5f);
    for (int32_t i = 0; i < sampling.top_logprobs(); ++i) {
      v1::TokenLogprob* top = token.add_top();
      top->set_id(token.id() + i);
      top->set_logprob(-0.5f - static_cast<float>(i));
    }
  }
  return token;
}

namespace {

// Its first value tells the pooling, the others the prompt.
v1::Embedding EmbeddingFor(const std::vector<int32_t>& prompt, const v1::Embed& embed) {
  v1::Embedding embedding;
  embedding.add_values(static_cast<float>(embed.pooling()) + (embed.normalize() ? 0.5f : 0.0f));
  for (const int32_t id : prompt) embedding.add_values(static_cast<float>(id));
  return embedding;
}

// Two tokens from position `at` on, those before `end`: -1.5 for the token at position 1, -2.5 for
// the next.
v1::PromptLogprobs ScoresFor(const std::vector<int32_t>& prompt, int32_t at, int32_t end) {
  v1::PromptLogprobs scores;
  scores.set_first(at);
  const int32_t stop = std::min({at + 2, end, static_cast<int32_t>(prompt.size())});
  for (int32_t i = at; i < stop; ++i) {
    v1::PromptToken* token = scores.add_tokens();
    token->mutable_logprob()->set_id(prompt[i]);
    token->mutable_logprob()->set_logprob(-0.5f - static_cast<float>(i));
    token->set_rank(7);
    token->add_top()->set_id(3 + 'z');
    token->mutable_top(0)->set_logprob(-0.25f);
  }
  return scores;
}

}  // namespace

grpc::Status FakeNode::Run(grpc::ServerContext* context, const v1::PrefillRequest* request,
                           grpc::ServerWriter<v1::PrefillEvent>* writer) {
  const CallCount count(context, calls_, running_, cancelled_);
  const NodeScript script = this->script();
  {
    MutexLock lock(mutex_);
    prefill_requests_.push_back(*request);
    traceparents_.push_back(TraceparentOf(*context));
  }
  if (!script.refuse.ok() && TakeFailure()) return script.refuse;
  if (!Pause(context, script.first_token_ms)) return grpc::Status::CANCELLED;
  const std::vector<int32_t> prompt(request->prompt().begin(), request->prompt().end());
  v1::PrefillEvent event;
  if (request->has_embed()) {
    *event.mutable_embedding()->mutable_embedding() = EmbeddingFor(prompt, request->embed());
    writer->Write(event);
    return script.break_off;
  }
  if (request->sampling().has_prompt_logprobs()) {
    for (int32_t at = 1; at < request->prompt_size(); at += 2) {
      *event.mutable_prompt_logprobs() = ScoresFor(prompt, at, script.drop_scores_from);
      writer->Write(event);
    }
  }
  v1::PrefillFirstToken* first = event.mutable_first_token();
  *first->mutable_token() = MakeToken(script, prompt, request->sampling(), request->first_index());
  first->set_prompt_tokens(static_cast<int32_t>(prompt.size()));
  first->set_queue_seconds(0.001);
  first->set_prefill_seconds(0.002);
  first->set_cached_tokens(script.cached_tokens);
  if (EndsWith(script, request->stop(), first->token().id())) {
    first->set_finish_reason(v1::FINISH_REASON_STOP);
  } else if (request->stop().max_tokens() == request->first_index() + 1) {
    first->set_finish_reason(v1::FINISH_REASON_LENGTH);
  }
  const bool finished = first->finish_reason() != v1::FINISH_REASON_UNSPECIFIED;
  writer->Write(event);
  if (!script.break_off.ok() && TakeFailure()) return script.break_off;
  if (finished || !request->has_hand_over()) return grpc::Status::OK;
  const v1::Ticket& ticket = request->hand_over().ticket();
  wire_->Commit(ticket.id(), ticket.epoch());
  event.mutable_handed()->set_transfer_exposed_seconds(0.001);
  writer->Write(event);
  return grpc::Status::OK;
}

grpc::Status FakeNode::Generate(grpc::ServerContext* context, const v1::DecodeRequest* request,
                                grpc::ServerWriter<v1::DecodeEvent>* writer) {
  const CallCount count(context, calls_, running_, cancelled_);
  const NodeScript script = this->script();
  {
    MutexLock lock(mutex_);
    decode_requests_.push_back(*request);
    traceparents_.push_back(TraceparentOf(*context));
  }
  if (!script.refuse.ok() && TakeFailure()) return script.refuse;
  while (script.never_leases) {
    if (!Pause(context, 10)) return grpc::Status::CANCELLED;
  }
  if (request->prefill_here()) return PrefillHere(context, script, *request, writer);
  v1::DecodeEvent event;
  event.mutable_leased()->set_lease_timeout_ms(script.lease_timeout_ms);
  writer->Write(event);
  if (script.die_at == 0) return script.death;
  while (wire_->CommittedEpoch(request->ticket().id()) == 0) {
    if (!Pause(context, 2)) return grpc::Status::CANCELLED;
  }
  return Stream(context, script, *request, request->first_index() + 1, writer);
}

grpc::Status FakeNode::PrefillHere(grpc::ServerContext* context, const NodeScript& script,
                                   const v1::DecodeRequest& request,
                                   grpc::ServerWriter<v1::DecodeEvent>* writer) {
  if (!Pause(context, script.first_token_ms)) return grpc::Status::CANCELLED;
  v1::DecodeEvent event;
  event.mutable_prefilled()->set_queue_seconds(0.001);
  event.mutable_prefilled()->set_prefill_seconds(0.002);
  event.mutable_prefilled()->set_cached_tokens(script.cached_tokens);
  writer->Write(event);
  return Stream(context, script, request, request.first_index(), writer);
}

grpc::Status FakeNode::Stream(grpc::ServerContext* context, const NodeScript& script,
                              const v1::DecodeRequest& request, int32_t index,
                              grpc::ServerWriter<v1::DecodeEvent>* writer) {
  const std::vector<int32_t> prompt(request.prompt().begin(), request.prompt().end());
  v1::DecodeEvent event;
  v1::FinishReason finish = v1::FINISH_REASON_LENGTH;
  for (; index < request.stop().max_tokens(); ++index) {
    if (script.die_at > 0 && index >= script.die_at) return script.death;
    if (!Pause(context, script.token_ms)) return grpc::Status::CANCELLED;
    event.mutable_tokens()->clear_tokens();
    v1::Token* token = event.mutable_tokens()->add_tokens();
    *token = MakeToken(script, prompt, request.sampling(), index);
    if (!writer->Write(event)) return grpc::Status::CANCELLED;
    if (EndsWith(script, request.stop(), token->id())) {
      finish = v1::FINISH_REASON_STOP;
      ++index;
      break;
    }
  }
  event.mutable_finished()->set_finish_reason(finish);
  event.mutable_finished()->set_output_tokens(index);
  event.mutable_finished()->set_decode_seconds(0.01);
  writer->Write(event);
  return grpc::Status::OK;
}

grpc::Status FakeNode::Renew(grpc::ServerContext*, const v1::RenewRequest* request,
                             v1::RenewReply*) {
  renewed_ += request->ticket_ids_size();
  return grpc::Status::OK;
}

void FakeNode::RunRegistration(const std::string& router_address) {
  auto stub = v1::Registry::NewStub(
      grpc::CreateChannel(router_address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  auto stream = stub->Join(&context);
  v1::NodeReport report;
  v1::NodeHello* hello = report.mutable_hello();
  hello->set_node_id(options_.node_id);
  hello->set_role(options_.role);
  hello->set_address(address_);
  hello->set_incarnation(options_.incarnation);
  hello->set_context_length(options_.context_length);
  hello->set_version(options_.version);
  v1::KvLayout* layout = hello->mutable_layout();
  layout->set_version(1);
  layout->set_layers(4);
  layout->set_kv_heads(2);
  layout->set_head_dim(16);
  layout->set_block_tokens(options_.block_tokens);
  layout->set_dtype("f16");
  layout->set_model_fingerprint(options_.fingerprint);
  stream->Write(report);
  v1::RouterReply reply;
  accepted_ = stream->Read(&reply) && reply.accepted();
  std::thread replies([&] {
    while (stream->Read(&reply)) cache_asked_ += reply.resend_cache() ? 1 : 0;
  });
  bool writable = accepted_;
  while (writable && !leave_) {
    if (!silent_) {
      v1::NodeLoad* load = report.mutable_load();
      load->set_blocks_total(options_.blocks_total);
      load->set_blocks_free(options_.blocks_total);
      load->set_prefill_tokens_per_s(options_.prefill_tokens_per_s);
      load->set_draining(draining_);
      writable = stream->Write(report);
      std::vector<v1::CacheEvents> caches;
      {
        MutexLock lock(mutex_);
        caches.swap(cache_events_);
      }
      for (v1::CacheEvents& events : caches) {
        *report.mutable_cache() = std::move(events);
        writable = writable && stream->Write(report);
      }
    }
    for (int waited = 0; waited < options_.report_ms && !leave_; waited += 5) Sleep(5);
  }
  if (silent_) context.TryCancel();
  stream->WritesDone();
  replies.join();
  const grpc::Status status = stream->Finish();
  MutexLock lock(mutex_);
  join_status_ = status;
}

}  // namespace baton::fakes
