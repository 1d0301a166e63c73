#include "router/registry_service.h"

#include <spdlog/spdlog.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/tls.h"

namespace baton::router {
namespace {

// Messages of cache events after which a node that has not sent a reset is asked for it again.
constexpr uint64_t kAskAgainAfter = 64;

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

absl::string_view ClaimedRole(v1::NodeRole role) {
  return role == v1::NODE_ROLE_PREFILL ? "prefill" : "decode";
}

// Over TLS a node is who its certificate says, and nobody else.
absl::Status CheckIdentity(const server::Peer& peer, const v1::NodeHello& hello) {
  if (!peer.authenticated) return absl::OkStatus();
  const bool any = peer.role == "any" && hello.movable();
  if (!any && peer.role != ClaimedRole(hello.role())) {
    return absl::PermissionDeniedError(absl::StrCat("role: the certificate says ", peer.role,
                                                    ", the node ", ClaimedRole(hello.role())));
  }
  if (peer.node_id != hello.node_id()) {
    return absl::PermissionDeniedError(absl::StrCat("node_id: the certificate says ", peer.node_id,
                                                    ", the node ", hello.node_id()));
  }
  return absl::OkStatus();
}

// One node's stream. gRPC calls it from one thread at a time per kind of event; the registration is
// touched by reads only, and by OnDone after the last of them.
class JoinStream final : public grpc::ServerBidiReactor<v1::NodeReport, v1::RouterReply> {
 public:
  JoinStream(ClusterView& cluster, server::Peer peer) : cluster_(cluster), peer_(std::move(peer)) {
    StartRead(&report_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return End(grpc::Status::OK);
    absl::Status status = Take();
    if (!status.ok()) {
      spdlog::warn("registration refused: {}", std::string(status.message()));
      return End(ToGrpc(status));
    }
    StartRead(&report_);
  }

  void OnWriteDone(bool) override { writing_ = false; }
  void OnCancel() override { End(grpc::Status::CANCELLED); }

  void OnDone() override {
    if (registration_ != 0) cluster_.Leave(registration_);
    delete this;
  }

 private:
  void End(const grpc::Status& status) {
    if (!ended_.exchange(true)) Finish(status);
  }

  absl::Status Take() {
    if (report_.has_hello()) {
      if (registration_ != 0) return absl::InvalidArgumentError("a stream has one hello");
      absl::Status status = CheckIdentity(peer_, report_.hello());
      if (!status.ok()) return status;
      absl::StatusOr<uint64_t> registration = cluster_.Join(report_.hello());
      if (!registration.ok()) return registration.status();
      registration_ = *registration;
      writing_ = true;
      reply_.set_accepted(true);
      StartWrite(&reply_);
      return absl::OkStatus();
    }
    if (registration_ == 0) return absl::InvalidArgumentError("a stream begins with a hello");
    if (report_.has_cache()) {
      if (!cluster_.ReportCache(registration_, report_.cache())) AskForCache();
      return absl::OkStatus();
    }
    if (!report_.has_load()) return absl::OkStatus();
    AskForRole();
    return cluster_.Report(registration_, report_.load());
  }

  // Once: the node drains and leaves then.
  void AskForRole() {
    const v1::NodeRole role = cluster_.WantedRole(registration_);
    if (role == v1::NODE_ROLE_UNSPECIFIED || asked_for_role_ || writing_.exchange(true)) return;
    asked_for_role_ = true;
    reply_.Clear();
    reply_.set_accepted(true);
    reply_.set_take_role(role);
    StartWrite(&reply_);
  }

  // Once a gap: until the reset comes, every further message would be another reason to ask. A
  // write that is still under way asks already, or is the first reply, after which the next message
  // asks.
  void AskForCache() {
    if (report_.cache().sequence() < asked_until_ || writing_.exchange(true)) return;
    asked_until_ = report_.cache().sequence() + kAskAgainAfter;
    reply_.Clear();
    reply_.set_accepted(true);
    reply_.set_resend_cache(true);
    StartWrite(&reply_);
  }

  ClusterView& cluster_;
  const server::Peer peer_;
  v1::NodeReport report_;
  v1::RouterReply reply_;
  uint64_t registration_ = 0;
  uint64_t asked_until_ = 0;  // sequence number of cache events
  bool asked_for_role_ = false;
  std::atomic<bool> writing_{false};
  std::atomic<bool> ended_{false};
};

}  // namespace

grpc::ServerBidiReactor<v1::NodeReport, v1::RouterReply>* RegistryService::Join(
    grpc::CallbackServerContext* context) {
  return new JoinStream(cluster_, server::PeerOf(*context));
}

}  // namespace baton::router
