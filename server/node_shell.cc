#include "server/node_shell.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "server/process.h"
#include "server/tls.h"

namespace baton::server {
namespace {

std::string RoleName(v1::NodeRole role) {
  return role == v1::NODE_ROLE_PREFILL ? "prefill" : "decode";
}

// "<role>-<host>-<port>", with nothing but letters, digits, dots and dashes.
std::string DefaultNodeId(const std::string& role, const std::string& address) {
  std::string id = absl::StrCat(role, "-", address);
  for (char& c : id) {
    if (c == ':' || c == '[' || c == ']') c = '-';
  }
  return id;
}

bool IsWildcard(const std::string& address) {
  return absl::StartsWith(address, "0.0.0.0:") || absl::StartsWith(address, "[::]:") ||
         absl::StartsWith(address, "*:");
}

}  // namespace

absl::StatusOr<std::unique_ptr<NodeShell>> NodeShell::Start(
    const v1::NodeConfig& config, const v1::ProcessConfig& process, v1::NodeRole role,
    const Description& description, const std::vector<grpc::Service*>& services, Reports reports) {
  if (config.advertise().empty() && IsWildcard(config.listen())) {
    return absl::InvalidArgumentError(
        absl::StrCat("listening on ", config.listen(),
                     " needs --advertise HOST:PORT: the address at which other processes reach "
                     "this node"));
  }
  BATON_ASSIGN_OR_RETURN(const std::vector<std::string> routers, RouterAddresses(config));
  BATON_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                         ClusterCredentials(config, process));
  const TlsOptions tls{.certs_folder = process.certs(), .insecure = process.insecure()};
  std::unique_ptr<NodeShell> shell(new NodeShell);
  BATON_ASSIGN_OR_RETURN(shell->server_, GrpcServer::Start(config.listen(), tls, services));
  const std::string address =
      config.advertise().empty() ? shell->server_->address() : config.advertise();
  const std::string name = RoleName(role);
  const std::string id = config.node_id().empty() ? DefaultNodeId(name, address) : config.node_id();
  v1::NodeHello hello;
  hello.set_node_id(id);
  hello.set_role(role);
  hello.set_address(address);
  hello.set_incarnation(description.incarnation);
  *hello.mutable_layout() = description.layout;
  hello.set_model_name(description.model_name);
  hello.set_context_length(description.context_length);
  hello.set_version(BATON_VERSION);
  hello.set_device(description.device);
  hello.set_movable(description.movable);
  shell->server_->SetServing(true);
  AnnounceReady(name, absl::StrCat("address=", address, " node_id=", id, " device=\"",
                                   description.device, "\" kv_blocks=", description.blocks));
  spdlog::info("{} listens on {}, device {}, {} KV blocks", id, address, description.device,
               description.blocks);
  const absl::Duration limit = absl::Milliseconds(config.stall_timeout_ms());
  shell->feed_ = std::make_unique<SharedFeed>(std::move(reports.cache), routers.size());
  for (const std::string& router : routers) {
    Registration::Options options;
    options.hello = hello;
    options.interval = absl::Milliseconds(config.heartbeat_interval_ms());
    options.load = reports.load;
    options.cache = shell->feed_->Reader(shell->registrations_.size());
    options.health = [shell = shell.get(), stalled_for = reports.stalled_for, limit] {
      return shell->CheckProgress(stalled_for(), limit);
    };
    options.on_role = [shell = shell.get(), role, movable = description.movable](v1::NodeRole to) {
      if (!movable || to == role) return;
      // Once: a second request to stop would cut the drain short.
      if (shell->wanted_role_.exchange(to) != to) RequestStop();
    };
    options.on_change = [router](const absl::Status& status) {
      if (status.ok()) {
        spdlog::info("joined the router at {}", router);
      } else {
        spdlog::warn("not registered with the router at {}: {}; trying again", router,
                     std::string(status.message()));
      }
    };
    shell->registrations_.push_back(std::make_unique<Registration>(
        grpc::CreateCustomChannel(router, credentials, InternalChannelArguments()),
        std::move(options)));
  }
  return shell;
}

absl::Status NodeShell::CheckProgress(absl::Duration stalled_for, absl::Duration limit) {
  const bool stalled = stalled_for >= limit;
  if (stalled_.exchange(stalled) != stalled) {
    if (stalled) {
      spdlog::error("the engine has work and has finished nothing for {}: leaving the cluster",
                    absl::FormatDuration(stalled_for));
    } else {
      spdlog::info("the engine moves again");
    }
    server_->SetServing(!stalled && !draining_);
  }
  if (!stalled) return absl::OkStatus();
  return absl::UnavailableError("the engine makes no progress");
}

v1::NodeRole NodeShell::next_role() const {
  // A signal ends the process, also one that came while it drained for a move.
  return SignalSeen() ? v1::NODE_ROLE_UNSPECIFIED : wanted_role_.load();
}

void NodeShell::StartDraining() {
  draining_ = true;
  server_->SetServing(false);
  for (const auto& registration : registrations_) registration->ReportNow();
}

void NodeShell::Stop(const std::function<void()>& end_calls) {
  registrations_.clear();
  end_calls();
  server_->Shutdown(absl::Seconds(1));
}

absl::StatusOr<std::vector<std::string>> RouterAddresses(const v1::NodeConfig& config) {
  std::vector<std::string> routers = absl::StrSplit(config.router(), ',', absl::SkipWhitespace());
  if (routers.empty()) return absl::InvalidArgumentError("router: the address is empty");
  return routers;
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ClusterCredentials(
    const v1::NodeConfig& config, const v1::ProcessConfig& process) {
  BATON_ASSIGN_OR_RETURN(const std::vector<std::string> routers, RouterAddresses(config));
  const TlsOptions tls{.certs_folder = process.certs(), .insecure = process.insecure()};
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  for (const std::string& router : routers) {
    BATON_ASSIGN_OR_RETURN(credentials, ChannelCredentials(tls, router));
  }
  return credentials;
}

std::function<void(float)> LoadProgress(const std::string& model) {
  return [model, shown = -1](float fraction) mutable {
    const int tenths = static_cast<int>(fraction * 10);
    if (tenths == shown) return;
    shown = tenths;
    std::fprintf(stderr, "loading %s: %d %%\n", model.c_str(), tenths * 10);
  };
}

}  // namespace baton::server
