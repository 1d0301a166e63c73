#include "router/inference_service.h"

#include <boost/asio/post.hpp>
#include <deque>
#include <map>
#include <utility>

#include "absl/strings/str_format.h"
#include "router/api/turn_reader.h"
#include "router/embed_call.h"
#include "router/http_message.h"
#include "router/inference_request.h"
#include "router/prompt_tokens.h"
#include "router/request_flow.h"

namespace baton::router {
namespace {

// Chunks that wait for a client; more means that it does not read.
constexpr size_t kMaxWaitingChunks = 8192;

// One Generate call. gRPC's callbacks only post to the loop; everything else happens there.
class GenerateCall final : public grpc::ServerWriteReactor<v1::GenerateChunk>,
                           public GenerationSink {
 public:
  GenerateCall(RouterContext& router, grpc::CallbackServerContext* context,
               const v1::GenerateRequest& request)
      : router_(router), context_(context), executor_(router.loops.Next().get_executor()) {
    const absl::Time arrived = router.clock.Now();
    request_id_ = RequestIdOr(request.request_id(), router.rng);
    ApiRequest api;
    auto error = ReadGenerateRequest(request, router.tokenizer.vocab_size(), &api);
    if (!error) error = ApplyTurnFormat(router.turn_format, router.tokenizer, &api);
    if (error) {
      router.metrics.requests[static_cast<size_t>(RequestResult::kRefused)].Add();
      Finish(ToGrpcStatus(*error));
      finished_ = true;
      return;
    }
    Generation& generation = api.generation;
    generation.request_id = request_id_;
    answer_id_ = absl::StrFormat("%016x%016x", router.rng.Next(), router.rng.Next());
    chat_ = api.dialect == Dialect::kChat;
    reading_.tools = api.tools.offered();
    if (reading_.tools || router.turn_format.reasoning != ReasoningStyle::kNone) {
      reading_.format = &router.turn_format;
    }
    generation.trace = TraceOfCall(*context, router.rng);
    boost::asio::post(executor_, [this, arrived, generation = std::move(generation)]() mutable {
      if (gone_) return;
      flow_ = RequestFlow::Start(router_, executor_, std::move(generation), arrived, this);
    });
  }

  void OnDelta(Delta delta) override {
    v1::GenerateChunk chunk;
    chunk.set_request_id(request_id_);
    chunk.set_index(delta.choice);
    if (chat_) {
      ReadTurn(delta, &chunk);
    } else {
      chunk.set_text(std::move(delta.text));
    }
    if (delta.prompt_scores) {
      for (const v1::PromptToken& token : *delta.prompt_scores) *chunk.add_prompt_tokens() = token;
    }
    for (v1::Token& token : delta.tokens) *chunk.add_tokens() = std::move(token);
    chunk.set_finish_reason(delta.finish);
    chunks_.push_back(std::move(chunk));
    if (chunks_.size() > kMaxWaitingChunks) return context_->TryCancel();
    // The last chunk of a sequence may be the last of the stream: OnDone, which follows at once,
    // puts the usage into it.
    if (delta.finish != v1::FINISH_REASON_UNSPECIFIED) {
      boost::asio::post(executor_, [this] { Pump(); });
    } else {
      Pump();
    }
  }

  void OnDone(const Outcome& outcome) override {
    done_ = true;
    if (outcome.error) {
      status_ = ToGrpcStatus(*outcome.error);
    } else {
      if (chunks_.empty()) {
        chunks_.emplace_back();
        chunks_.back().set_request_id(request_id_);
      }
      v1::Usage* usage = chunks_.back().mutable_usage();
      usage->set_prompt_tokens(static_cast<int32_t>(outcome.usage.prompt_tokens));
      usage->set_completion_tokens(static_cast<int32_t>(outcome.usage.completion_tokens));
      usage->set_cached_tokens(static_cast<int32_t>(outcome.usage.cached_tokens));
    }
    Pump();
  }

  void OnWriteDone(bool ok) override {
    boost::asio::post(executor_, [this, ok] {
      writing_ = false;
      if (ok) {
        Pump();
      } else {
        GiveUp();
      }
    });
  }

  void OnCancel() override {
    boost::asio::post(executor_, [this] { GiveUp(); });
  }

  void OnDone() override {
    // Last in the queue of the loop, so that nothing that was posted before finds this gone. Owned
    // by the task: a loop that has been stopped destroys its tasks.
    boost::asio::post(executor_, [owned = std::unique_ptr<GenerateCall>(this)] {});
  }

 private:
  void ReadTurn(const Delta& delta, v1::GenerateChunk* chunk) {
    TurnReader& turn =
        turns_.try_emplace(delta.choice, TurnReader(reading_, answer_id_, delta.choice))
            .first->second;
    int32_t index = turn.calls() - 1;
    v1::ToolCall* call = nullptr;
    for (const TurnPart& part : turn.Read(delta)) {
      if (part.kind == TurnPart::Kind::kContent) chunk->mutable_text()->append(part.text);
      if (part.kind == TurnPart::Kind::kReasoning) chunk->mutable_reasoning()->append(part.text);
      if (part.kind == TurnPart::Kind::kCall) {
        call = chunk->add_tool_calls();
        call->set_index(++index);
        call->set_id(part.id);
        call->set_name(part.text);
      }
      if (part.kind == TurnPart::Kind::kArguments) {
        if (call == nullptr) {
          call = chunk->add_tool_calls();
          call->set_index(index);
        }
        call->mutable_arguments()->append(part.text);
      }
    }
  }

  void Pump() {
    if (writing_ || finished_) return;
    if (!chunks_.empty()) {
      current_ = std::move(chunks_.front());
      chunks_.pop_front();
      writing_ = true;
      StartWrite(&current_);
    } else if (done_) {
      finished_ = true;
      Finish(status_);
    }
  }

  void GiveUp() {
    gone_ = true;
    if (flow_) flow_->Cancel();
    if (finished_) return;
    finished_ = true;
    Finish(grpc::Status::CANCELLED);
  }

  RouterContext& router_;
  grpc::CallbackServerContext* context_;
  Executor executor_;
  std::string request_id_;
  std::string answer_id_;
  bool chat_ = false;
  TurnReading reading_;
  std::map<int32_t, TurnReader> turns_;
  std::shared_ptr<RequestFlow> flow_;
  std::deque<v1::GenerateChunk> chunks_;
  v1::GenerateChunk current_;
  grpc::Status status_;
  bool writing_ = false;
  bool done_ = false;
  bool finished_ = false;
  bool gone_ = false;
};

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context,
                                 const std::optional<ApiError>& error) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(error ? ToGrpcStatus(*error) : grpc::Status::OK);
  return reactor;
}

}  // namespace

grpc::ServerWriteReactor<v1::GenerateChunk>* InferenceService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  return new GenerateCall(router_, context, *request);
}

grpc::ServerUnaryReactor* InferenceService::Embed(grpc::CallbackServerContext* context,
                                                  const v1::EmbedRequest* request,
                                                  v1::EmbedReply* reply) {
  return StartEmbed(router_, *context, *request, reply);
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(grpc::CallbackServerContext* context,
                                                     const v1::TokenizeRequest* request,
                                                     v1::TokenizeReply* reply) {
  Prompt prompt;
  prompt.text = request->text();
  if (request->input_case() == v1::TokenizeRequest::kChat) {
    prompt.kind = Prompt::Kind::kChat;
    if (auto error = ReadChatMessages(request->chat(), &prompt.text)) return Answer(context, error);
  }
  std::vector<int32_t> ids;
  auto error = EncodePrompt(router_.tokenizer, prompt, request->add_special_tokens(),
                            /*add_generation_prompt=*/true, &ids);
  reply->mutable_ids()->Add(ids.begin(), ids.end());
  reply->set_context_length(router_.ContextLength());
  return Answer(context, error);
}

grpc::ServerUnaryReactor* InferenceService::Detokenize(grpc::CallbackServerContext* context,
                                                       const v1::DetokenizeRequest* request,
                                                       v1::DetokenizeReply* reply) {
  absl::StatusOr<std::string> text = router_.tokenizer.Decode(
      absl::MakeConstSpan(request->ids().data(), request->ids_size()), /*skip_special=*/false);
  if (!text.ok()) return Answer(context, InvalidParam("ids", std::string(text.status().message())));
  reply->set_text(*std::move(text));
  return Answer(context, std::nullopt);
}

grpc::ServerUnaryReactor* InferenceService::ListModels(grpc::CallbackServerContext* context,
                                                       const v1::ListModelsRequest*,
                                                       v1::ListModelsReply* reply) {
  v1::ModelInfo* model = reply->add_models();
  model->set_id(router_.model_id);
  model->set_root(router_.model_root);
  model->set_context_length(router_.ContextLength());
  model->set_vocab_size(router_.tokenizer.vocab_size());
  return Answer(context, std::nullopt);
}

grpc::ServerUnaryReactor* InferenceService::GetLoads(grpc::CallbackServerContext* context,
                                                     const v1::GetLoadsRequest*,
                                                     v1::GetLoadsReply* reply) {
  const auto cluster = router_.cluster.snapshot();
  reply->set_requests_running(router_.admission.running());
  for (const auto* nodes : {&cluster->prefill, &cluster->decode}) {
    for (const std::shared_ptr<const Node>& node : *nodes) {
      v1::Load* load = reply->add_nodes();
      load->set_node_id(node->hello.node_id());
      load->set_role(node->hello.role());
      *load->mutable_load() = node->load;
    }
  }
  return Answer(context, std::nullopt);
}

}  // namespace baton::router
