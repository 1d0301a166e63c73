// Credentials between processes: mutual TLS from a folder of certificates, or plaintext on
// loopback.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_context.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace baton::server {

// A certificate names its holder in a URI subject alternative name:
// baton://<cluster>/<role>/<node-id>, with role "router", "prefill", "decode" or "any" (made by
// `baton certs`).
struct TlsOptions {
  std::string certs_folder;  // ca.pem, node.pem, node.key; empty: plaintext
  bool insecure = false;     // allow plaintext beyond loopback
};

// FailedPrecondition for plaintext on an address that is not loopback without `insecure`, NotFound
// / InvalidArgument for certificate files that are missing or do not parse, each naming the file.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerCredentials(
    const TlsOptions& options, absl::string_view listen_address);
// For calls to `target` ("host:port"): the same rule for plaintext.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentials(
    const TlsOptions& options, absl::string_view target);

// The caller of an RPC, from its certificate; on a plaintext connection `authenticated` is false
// and the rest is empty.
struct Peer {
  bool authenticated = false;
  std::string role;
  std::string node_id;
};
Peer PeerOf(const grpc::ServerContextBase& context);

// OK when the connection is plaintext (allowed by the listener) or the peer's role is one of
// `roles`; otherwise PermissionDenied naming the role that it has and those that are allowed.
absl::Status RequireRole(const grpc::ServerContextBase& context,
                         const std::vector<absl::string_view>& roles);

// True for 127.0.0.0/8, ::1, localhost and unix: addresses ("host:port" or "host").
bool IsLoopback(absl::string_view address);

}  // namespace baton::server
