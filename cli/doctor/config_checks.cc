#include "cli/doctor/config_checks.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "server/certificate_facts.h"
#include "server/config_file.h"
#include "server/config_keys.h"
#include "server/tls.h"

namespace baton::cli {
namespace {

constexpr absl::Duration kExpiresSoon = absl::Hours(30 * 24);
constexpr char kArea[] = "configuration";

void AddConfig(Findings* findings, Verdict verdict, std::string what, std::string cure = "") {
  findings->push_back({kArea, verdict, std::move(what), std::move(cure)});
}

bool SplitAddress(const std::string& address, std::string* host, std::string* port) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return false;
  *host = address.substr(0, colon);
  *port = address.substr(colon + 1);
  if (host->size() > 1 && host->front() == '[') *host = host->substr(1, host->size() - 2);
  return true;
}

struct AddressFree {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, AddressFree>;

// Null where the name is not known; `why` says so.
Addresses Resolve(const std::string& host, const std::string& port, std::string* why) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int code = getaddrinfo(host.c_str(), port.c_str(), &hints, &list);
  if (code != 0) *why = gai_strerror(code);
  return Addresses(code == 0 ? list : nullptr);
}

// 0, or the errno of binding there.
int TryListen(const addrinfo& address) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const bool good = bind(fd, address.ai_addr, address.ai_addrlen) == 0 && listen(fd, 1) == 0;
  const int error = good ? 0 : errno;
  close(fd);
  return error;
}

void CheckPlaintext(const v1::ProcessConfig& process, const std::string& key,
                    const std::string& address, Findings* findings) {
  const absl::Status status =
      server::ServerCredentials({process.certs(), process.insecure()}, address).status();
  if (status.ok()) return;
  AddConfig(findings, Verdict::kError, absl::StrCat(key, ": ", status.message()),
            "see docs/operations.md, Between hosts");
}

void CheckRouterAddress(const v1::NodeConfig& node, Findings* findings) {
  std::string host, port, why;
  if (!SplitAddress(node.router(), &host, &port)) {
    AddConfig(findings, Verdict::kError, absl::StrCat("router is '", node.router(), "'"),
              "write host:port of the router's cluster_listen");
    return;
  }
  const Addresses addresses = Resolve(host, port, &why);
  if (addresses == nullptr) {
    AddConfig(findings, Verdict::kError, absl::StrCat("router: ", host, ": ", why),
              "the name must be known on this machine (DNS or /etc/hosts)");
    return;
  }
  const int fd = socket(addresses->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience{2, 0};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  const bool reached = connect(fd, addresses->ai_addr, addresses->ai_addrlen) == 0;
  const int error = errno;
  close(fd);
  if (reached) {
    AddConfig(findings, Verdict::kGood, absl::StrCat("router ", node.router(), " can be reached"));
  } else {
    AddConfig(
        findings, Verdict::kWarning,
        absl::StrCat("router ", node.router(), ": ", std::strerror(error)),
        "start the router first, or open its cluster port in the firewall; a node keeps trying");
  }
}

void CheckNode(const v1::NodeConfig& node, const v1::ProcessConfig& process,
               const std::string& role, int64_t memory_available, absl::Time now,
               Findings* findings) {
  CheckListen("listen", node.listen(), findings);
  CheckPlaintext(process, "listen", node.listen(), findings);
  if (node.advertise().empty() &&
      (absl::StartsWith(node.listen(), "0.0.0.0:") || absl::StartsWith(node.listen(), "[::]:"))) {
    AddConfig(findings, Verdict::kError,
              absl::StrCat("listen is ", node.listen(), " and advertise is empty"),
              "advertise: \"HOST:PORT\" tells others where they reach this node");
  }
  CheckRouterAddress(node, findings);
  if (!process.certs().empty()) {
    CheckCertificates(process.certs(), role, node.node_id(), now, findings);
  }
  if (node.model().empty()) {
    AddConfig(findings, Verdict::kError, "model is empty",
              "model: \"FILE.gguf\", the same for all nodes");
    return;
  }
  CheckModel(node.model(),
             {.nodes = 1,
              .kv_bytes = node.kv_bytes(),
              .max_context = node.max_context(),
              .block_tokens = node.block_tokens(),
              .kv_dtype = node.kv_dtype(),
              .memory_available = memory_available},
             findings);
}

void CheckRouter(const v1::RouterConfig& router, int64_t memory_available, absl::Time now,
                 Findings* findings) {
  CheckListen("port", absl::StrCat(router.host(), ":", router.port()), findings);
  CheckListen("grpc_listen", router.grpc_listen(), findings);
  CheckListen("cluster_listen", router.cluster_listen(), findings);
  CheckPlaintext(router.process(), "grpc_listen", router.grpc_listen(), findings);
  CheckPlaintext(router.process(), "cluster_listen", router.cluster_listen(), findings);
  if (!router.process().certs().empty()) {
    CheckCertificates(router.process().certs(), "router", "", now, findings);
  }
  if (router.model().empty()) {
    AddConfig(findings, Verdict::kError, "model is empty",
              "model: \"FILE.gguf\"; the router reads its tokenizer and chat template");
    return;
  }
  CheckModel(router.model(), {.nodes = 0, .memory_available = memory_available}, findings);
}

// The file alone: keys, types and ranges.
bool Merge(const std::string& path, google::protobuf::Message& message, Findings* findings) {
  const absl::Status merged = server::MergeConfigFile(path, message);
  if (!merged.ok()) {
    AddConfig(findings, Verdict::kError, std::string(merged.message()),
              "docs/configuration.md lists every key");
    return false;
  }
  bool good = true;
  for (const server::Key& key : server::KeysOf(message)) {
    const absl::Status range = server::CheckRange(key);
    if (range.ok()) continue;
    AddConfig(findings, Verdict::kError, absl::StrCat(path, ": ", range.message()));
    good = false;
  }
  if (good)
    AddConfig(findings, Verdict::kGood, absl::StrCat(path, ": every key is known and in range"));
  return good;
}

}  // namespace

void CheckListen(const std::string& key, const std::string& address, Findings* findings) {
  std::string host, port, why;
  if (!SplitAddress(address, &host, &port)) {
    AddConfig(findings, Verdict::kError, absl::StrCat(key, " is '", address, "'"),
              "write host:port");
    return;
  }
  const Addresses addresses = Resolve(host, port, &why);
  if (addresses == nullptr) {
    AddConfig(findings, Verdict::kError, absl::StrCat(key, ": ", address, ": ", why),
              "use an address of this machine, or 0.0.0.0 for all of them");
    return;
  }
  const int error = TryListen(*addresses);
  if (error == 0) {
    AddConfig(findings, Verdict::kGood, absl::StrCat(key, ": ", address, " is free"));
  } else if (error == EADDRINUSE) {
    AddConfig(findings, Verdict::kError,
              absl::StrCat(key, ": port ", port, " of ", host, " is in use"),
              absl::StrCat("ss -ltnp 'sport = :", port,
                           "' shows who has it; end that, or choose another"));
  } else {
    AddConfig(findings, Verdict::kError,
              absl::StrCat(key, ": ", address, ": ", std::strerror(error)),
              error == EACCES ? "ports below 1024 need root: choose a higher one"
                              : "use an address of this machine, or 0.0.0.0 for all of them");
  }
}

void CheckCertificates(const std::string& folder, const std::string& role,
                       const std::string& node_id, absl::Time now, Findings* findings) {
  const absl::Status readable = server::ServerCredentials({folder, false}, "0.0.0.0:0").status();
  const auto facts = server::ReadCertificateFacts(folder);
  if (!readable.ok() || !facts.ok()) {
    AddConfig(findings, Verdict::kError,
              std::string(!readable.ok() ? readable.message() : facts.status().message()),
              "baton certs --out FOLDER --node ROLE:ID:HOST makes them");
    return;
  }
  const std::string again = "baton certs --force makes it anew; restart the process afterwards";
  if (!facts->issued_by_authority) {
    AddConfig(findings, Verdict::kError,
              absl::StrCat(folder, "/node.pem was not issued by ", folder, "/ca.pem"),
              "all processes of a cluster need certificates of one authority: " + again);
  }
  if (now > facts->not_after || now > facts->authority_not_after) {
    AddConfig(findings, Verdict::kError,
              absl::StrCat(folder, ": expired on ",
                           absl::FormatTime("%Y-%m-%d",
                                            std::min(facts->not_after, facts->authority_not_after),
                                            absl::UTCTimeZone())),
              again);
    return;
  }
  if (now < facts->not_before) {
    AddConfig(
        findings, Verdict::kError,
        absl::StrCat(folder, ": valid only from ",
                     absl::FormatTime("%Y-%m-%d %H:%M", facts->not_before, absl::UTCTimeZone()),
                     " UTC on"),
        "this machine's clock is behind: synchronise it");
    return;
  }
  const absl::Duration left = std::min(facts->not_after, facts->authority_not_after) - now;
  const std::string valid = absl::StrFormat("%s: %s, valid for %d days", folder, facts->holder,
                                            absl::ToInt64Hours(left) / 24);
  AddConfig(findings, left < kExpiresSoon ? Verdict::kWarning : Verdict::kGood, valid,
            left < kExpiresSoon ? again : "");
  const std::vector<std::string> parts = absl::StrSplit(facts->holder, '/');
  if (parts.size() != 5) {
    AddConfig(findings, Verdict::kError, absl::StrCat(folder, "/node.pem names no role"), again);
  } else if (!role.empty() && parts[3] != role) {
    AddConfig(findings, Verdict::kError,
              absl::StrCat(folder, "/node.pem is of a ", parts[3], ", this is a ", role),
              "give the folder that baton certs made for this process");
  } else if (!node_id.empty() && parts[4] != node_id) {
    AddConfig(findings, Verdict::kError,
              absl::StrCat(folder, "/node.pem is of ", parts[4], ", node_id is ", node_id),
              "a node proves its node_id by its certificate: make them agree");
  }
}

void CheckConfigFile(const std::string& path, const std::string& role, int64_t memory_available,
                     absl::Time now, Findings* findings) {
  if (role == "router") {
    v1::RouterConfig router;
    if (Merge(path, router, findings)) CheckRouter(router, memory_available, now, findings);
  } else if (role == "prefill") {
    v1::PrefillConfig prefill;
    if (!Merge(path, prefill, findings)) return;
    CheckNode(prefill.node(), prefill.process(), role, memory_available, now, findings);
  } else {
    v1::DecodeConfig decode;
    if (!Merge(path, decode, findings)) return;
    CheckNode(decode.node(), decode.process(), role, memory_available, now, findings);
  }
}

}  // namespace baton::cli
