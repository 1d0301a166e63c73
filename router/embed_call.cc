#include "router/embed_call.h"

#include <boost/asio/post.hpp>
#include <memory>
#include <utility>

#include "router/http_message.h"
#include "router/inference_request.h"
#include "router/request_flow.h"

namespace baton::router {
namespace {

// gRPC's callbacks only post to the loop; everything else happens there.
class EmbedCall final : public grpc::ServerUnaryReactor, public GenerationSink {
 public:
  EmbedCall(RouterContext& router, const grpc::CallbackServerContext& context,
            const v1::EmbedRequest& request, v1::EmbedReply* reply)
      : router_(router), reply_(reply), executor_(router.loops.Next().get_executor()) {
    const absl::Time arrived = router.clock.Now();
    Generation generation;
    if (auto error = ReadEmbedRequest(request, &generation)) {
      router.metrics.requests[static_cast<size_t>(RequestResult::kRefused)].Add();
      finished_ = true;
      Finish(ToGrpcStatus(*error));
      return;
    }
    generation.request_id = RequestIdOr(request.request_id(), router.rng);
    generation.trace = TraceOfCall(context, router.rng);
    for (size_t i = 0; i < generation.prompts.size(); ++i) reply_->add_embeddings();
    boost::asio::post(executor_, [this, arrived, generation = std::move(generation)]() mutable {
      if (finished_) return;
      flow_ = RequestFlow::Start(router_, executor_, std::move(generation), arrived, this);
    });
  }

  void OnDelta(Delta delta) override {
    auto* values = reply_->mutable_embeddings(delta.choice)->mutable_values();
    values->Add(delta.embedding.begin(), delta.embedding.end());
  }

  void OnDone(const Outcome& outcome) override {
    v1::Usage* usage = reply_->mutable_usage();
    usage->set_prompt_tokens(static_cast<int32_t>(outcome.usage.prompt_tokens));
    usage->set_cached_tokens(static_cast<int32_t>(outcome.usage.cached_tokens));
    End(outcome.error ? ToGrpcStatus(*outcome.error) : grpc::Status::OK);
  }

  void OnCancel() override {
    boost::asio::post(executor_, [this] {
      if (flow_) flow_->Cancel();
      End(grpc::Status::CANCELLED);
    });
  }

  void OnDone() override {
    // Last in the queue of the loop, so that nothing that was posted before finds this gone. Owned
    // by the task: a loop that has been stopped destroys its tasks.
    boost::asio::post(executor_, [owned = std::unique_ptr<EmbedCall>(this)] {});
  }

 private:
  void End(const grpc::Status& status) {
    if (std::exchange(finished_, true)) return;
    Finish(status);
  }

  RouterContext& router_;
  v1::EmbedReply* reply_;
  Executor executor_;
  std::shared_ptr<RequestFlow> flow_;
  bool finished_ = false;  // executor only, once the constructor is through
};

}  // namespace

grpc::ServerUnaryReactor* StartEmbed(RouterContext& router,
                                     const grpc::CallbackServerContext& context,
                                     const v1::EmbedRequest& request, v1::EmbedReply* reply) {
  return new EmbedCall(router, context, request, reply);
}

}  // namespace baton::router
