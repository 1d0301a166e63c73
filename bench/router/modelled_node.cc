#include "bench/router/modelled_node.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace baton::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kReportInterval{100};

double Seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }
Clock::duration FromSeconds(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// An ordinary letter, so that every token is a byte of text.
v1::Token TokenAt(int32_t index) {
  v1::Token token;
  token.set_index(index);
  token.set_id(3 + 'a' + index % 26);
  return token;
}

}  // namespace

void ModelledWire::Expect(const std::string& ticket, ModelledNode* node, uint64_t sequence) {
  std::lock_guard lock(mutex_);
  waiting_[ticket] = {node, sequence};
}

void ModelledWire::Forget(const std::string& ticket) {
  std::lock_guard lock(mutex_);
  waiting_.erase(ticket);
}

void ModelledWire::Commit(const std::string& ticket) {
  std::pair<ModelledNode*, uint64_t> found{nullptr, 0};
  {
    std::lock_guard lock(mutex_);
    const auto it = waiting_.find(ticket);
    if (it == waiting_.end()) return;
    found = it->second;
    waiting_.erase(it);
  }
  found.first->Committed(found.second);
}

ModelledNode::ModelledNode(v1::NodeRole role, std::string id, const ModelledSpeed& speed,
                           uint64_t fingerprint, const std::string& version,
                           std::shared_ptr<ModelledWire> wire)
    : role_(role),
      id_(std::move(id)),
      speed_(speed),
      fingerprint_(fingerprint),
      version_(version),
      wire_(std::move(wire)),
      blocks_free_(speed.blocks) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(static_cast<v1::Prefill::CallbackService*>(this));
  builder.RegisterService(static_cast<v1::Decode::CallbackService*>(this));
  server_ = builder.BuildAndStart();
  address_ = "127.0.0.1:" + std::to_string(port);
  engine_ = std::thread([this] { role_ == v1::NODE_ROLE_PREFILL ? RunPrefill() : RunDecode(); });
}

ModelledNode::~ModelledNode() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  engine_.join();
  if (registration_.joinable()) registration_.join();
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

void ModelledNode::Join(const std::string& router_address) {
  registration_ = std::thread([this, router_address] { Report(router_address); });
}

grpc::ServerWriteReactor<v1::PrefillEvent>* ModelledNode::Run(grpc::CallbackServerContext*,
                                                              const v1::PrefillRequest* request) {
  PrefillJob job;
  job.outbox = EventOutbox<v1::PrefillEvent>::Make();
  job.tokens = request->prompt_size();
  job.first_index = request->first_index();
  job.max_tokens = request->stop().max_tokens();
  job.ticket = request->hand_over().ticket().id();
  job.arrived = Clock::now();
  auto* reactor = job.outbox.get();
  {
    std::lock_guard lock(mutex_);
    queued_tokens_ += job.tokens;
    jobs_.push_back(std::move(job));
  }
  wake_.notify_all();
  return reactor;
}

void ModelledNode::RunPrefill() {
  std::unique_lock lock(mutex_);
  auto free_at = Clock::now();
  while (true) {
    wake_.wait(lock, [&] { return stop_ || !jobs_.empty(); });
    if (stop_) return;
    PrefillJob job = std::move(jobs_.front());
    jobs_.pop_front();
    const double seconds = static_cast<double>(job.tokens) / speed_.prefill_tokens_per_s;
    const auto begin = std::max(free_at, job.arrived);
    lock.unlock();
    if (!job.outbox->gone()) {
      free_at = begin + FromSeconds(seconds);
      std::this_thread::sleep_until(free_at);
    }
    v1::PrefillEvent event;
    v1::PrefillFirstToken* first = event.mutable_first_token();
    *first->mutable_token() = TokenAt(job.first_index);
    first->set_prompt_tokens(static_cast<int32_t>(job.tokens));
    first->set_queue_seconds(Seconds(begin - job.arrived));
    first->set_prefill_seconds(seconds);
    if (job.max_tokens <= job.first_index + 1) first->set_finish_reason(v1::FINISH_REASON_LENGTH);
    job.outbox->Send(event);
    if (!job.ticket.empty()) {
      wire_->Commit(job.ticket);
      event.mutable_handed()->set_transfer_exposed_seconds(0);
      job.outbox->Send(event);
    }
    job.outbox->End(grpc::Status::OK);
    lock.lock();
    queued_tokens_ -= job.tokens;
  }
}

grpc::ServerWriteReactor<v1::DecodeEvent>* ModelledNode::Generate(
    grpc::CallbackServerContext*, const v1::DecodeRequest* request) {
  Sequence sequence;
  sequence.outbox = EventOutbox<v1::DecodeEvent>::Make();
  sequence.ticket = request->ticket().id();
  sequence.max_tokens = request->stop().max_tokens();
  sequence.prefills = request->prefill_here();
  sequence.runs = sequence.prefills;
  sequence.uncomputed = sequence.prefills ? request->prompt_size() : 0;
  sequence.next_index = request->first_index() + (sequence.prefills ? 0 : 1);
  sequence.blocks =
      (request->prompt_size() + sequence.max_tokens + speed_.block_tokens) / speed_.block_tokens;
  sequence.arrived = Clock::now();
  auto outbox = sequence.outbox;
  {
    std::lock_guard lock(mutex_);
    if (sequence.blocks > blocks_free_) {
      outbox->End({grpc::StatusCode::RESOURCE_EXHAUSTED, "no blocks"});
      return outbox.get();
    }
    blocks_free_ -= sequence.blocks;
    const uint64_t id = next_sequence_++;
    if (!sequence.prefills) {
      wire_->Expect(sequence.ticket, this, id);
      v1::DecodeEvent event;
      event.mutable_leased()->set_lease_timeout_ms(60000);
      outbox->Send(std::move(event));
    }
    sequences_.emplace(id, std::move(sequence));
  }
  wake_.notify_all();
  return outbox.get();
}

void ModelledNode::Committed(uint64_t sequence) {
  {
    std::lock_guard lock(mutex_);
    const auto it = sequences_.find(sequence);
    if (it != sequences_.end()) it->second.runs = true;
  }
  wake_.notify_all();
}

grpc::ServerUnaryReactor* ModelledNode::Renew(grpc::CallbackServerContext* context,
                                              const v1::RenewRequest*, v1::RenewReply*) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

void ModelledNode::RunDecode() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (!Step(lock)) wake_.wait_for(lock, std::chrono::milliseconds(20));
  }
}

bool ModelledNode::Step(std::unique_lock<std::mutex>& lock) {
  int running = 0;
  int64_t chunk = 0;
  for (auto it = sequences_.begin(); it != sequences_.end();) {
    Sequence& sequence = it->second;
    if (sequence.outbox->gone()) {
      blocks_free_ += sequence.blocks;
      wire_->Forget(sequence.ticket);
      it = sequences_.erase(it);
      continue;
    }
    if (sequence.runs) ++running;
    chunk = std::min<int64_t>(chunk + sequence.uncomputed, speed_.chunk_tokens);
    ++it;
  }
  if (running == 0) return false;
  const double seconds = 1e-3 * (speed_.step_ms + speed_.step_sequence_ms * running) +
                         static_cast<double>(chunk) / speed_.prefill_tokens_per_s;
  lock.unlock();
  std::this_thread::sleep_for(FromSeconds(seconds));
  lock.lock();
  step_seconds_ = step_seconds_ > 0 ? 0.9 * step_seconds_ + 0.1 * seconds : seconds;
  for (auto it = sequences_.begin(); it != sequences_.end();) {
    if (!it->second.runs || Advance(it->second, &chunk, seconds)) {
      ++it;
      continue;
    }
    blocks_free_ += it->second.blocks;
    it = sequences_.erase(it);
  }
  return true;
}

bool ModelledNode::Advance(Sequence& sequence, int64_t* chunk, double step_seconds) {
  if (sequence.uncomputed > 0) {
    const int64_t take = std::min(*chunk, sequence.uncomputed);
    *chunk -= take;
    sequence.uncomputed -= take;
    if (sequence.uncomputed > 0) return true;
  }
  v1::DecodeEvent event;
  if (std::exchange(sequence.prefills, false)) {
    event.mutable_prefilled()->set_prefill_seconds(Seconds(Clock::now() - sequence.arrived));
    sequence.outbox->Send(event);
  }
  if (sequence.next_index < sequence.max_tokens) {
    *event.mutable_tokens()->add_tokens() = TokenAt(sequence.next_index++);
    event.mutable_tokens()->set_step_seconds(step_seconds);
    sequence.outbox->Send(event);
    ++tokens_;
  }
  if (sequence.next_index < sequence.max_tokens) return true;
  event.mutable_finished()->set_finish_reason(v1::FINISH_REASON_LENGTH);
  event.mutable_finished()->set_output_tokens(sequence.max_tokens);
  sequence.outbox->Send(event);
  sequence.outbox->End(grpc::Status::OK);
  return false;
}

v1::NodeLoad ModelledNode::Load() {
  std::lock_guard lock(mutex_);
  v1::NodeLoad load;
  int32_t running = 0;
  for (const auto& [id, sequence] : sequences_) running += sequence.runs ? 1 : 0;
  load.set_sequences_running(role_ == v1::NODE_ROLE_DECODE ? running
                                                           : static_cast<int32_t>(jobs_.size()));
  load.set_prompt_tokens_queued(queued_tokens_);
  if (role_ == v1::NODE_ROLE_PREFILL) load.set_prefill_tokens_per_s(speed_.prefill_tokens_per_s);
  load.set_step_seconds(step_seconds_);
  load.set_blocks_total(speed_.blocks);
  load.set_blocks_free(blocks_free_);
  load.set_blocks_used(speed_.blocks - blocks_free_);
  load.set_tokens_generated(tokens_);
  return load;
}

v1::NodeHello ModelledNode::Hello() const {
  v1::NodeHello hello;
  hello.set_node_id(id_);
  hello.set_role(role_);
  hello.set_address(address_);
  hello.set_incarnation(1);
  hello.set_context_length(speed_.context_length);
  hello.set_version(version_);
  hello.set_device("modelled");
  v1::KvLayout* layout = hello.mutable_layout();
  layout->set_version(1);
  layout->set_layers(30);
  layout->set_kv_heads(3);
  layout->set_head_dim(64);
  layout->set_block_tokens(speed_.block_tokens);
  layout->set_dtype("f16");
  layout->set_model_fingerprint(fingerprint_);
  return hello;
}

void ModelledNode::Report(const std::string& router_address) {
  auto stub = v1::Registry::NewStub(
      grpc::CreateChannel(router_address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  auto stream = stub->Join(&context);
  v1::NodeReport report;
  *report.mutable_hello() = Hello();
  bool open = stream->Write(report);
  while (open) {
    *report.mutable_load() = Load();
    open = stream->Write(report);
    std::unique_lock lock(mutex_);
    if (wake_.wait_for(lock, kReportInterval, [&] { return stop_; })) break;
  }
  context.TryCancel();
  (void)stream->Finish();
}

}  // namespace baton::bench
