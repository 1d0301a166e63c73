#include "server/tls.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "server/x509.h"

namespace baton::server {
namespace {

constexpr absl::string_view kUriScheme = "baton://";
constexpr absl::string_view kHowToAllow =
    "give --certs FOLDER (made by 'baton certs'), or --insecure to allow plaintext beyond loopback";

struct Pem {
  std::string ca, certificate, key;
};

absl::StatusOr<std::string> ReadPem(const std::string& folder, absl::string_view name) {
  const std::string path = absl::StrCat(folder, "/", name);
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) {
    return absl::NotFoundError(
        absl::StrCat("certificate file ", path, " cannot be read (make it with 'baton certs')"));
  }
  return text.str();
}

// gRPC only says that a handshake failed; these checks name the file.
absl::Status CheckPem(const std::string& folder, const Pem& pem) {
  BATON_RETURN_IF_ERROR(ParseCertificate(absl::StrCat(folder, "/ca.pem"), pem.ca).status());
  BATON_ASSIGN_OR_RETURN(const CertificatePtr certificate,
                         ParseCertificate(absl::StrCat(folder, "/node.pem"), pem.certificate));
  BATON_ASSIGN_OR_RETURN(const PrivateKeyPtr key,
                         ParsePrivateKey(absl::StrCat(folder, "/node.key"), pem.key));
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "certificate file ", folder, "/node.key is not the key of ", folder, "/node.pem"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Pem> ReadFolder(const std::string& folder) {
  Pem pem;
  BATON_ASSIGN_OR_RETURN(pem.ca, ReadPem(folder, "ca.pem"));
  BATON_ASSIGN_OR_RETURN(pem.certificate, ReadPem(folder, "node.pem"));
  BATON_ASSIGN_OR_RETURN(pem.key, ReadPem(folder, "node.key"));
  BATON_RETURN_IF_ERROR(CheckPem(folder, pem));
  return pem;
}

}  // namespace

bool IsLoopback(absl::string_view address) {
  if (absl::StartsWith(address, "unix:")) return true;
  absl::string_view host = address;
  if (absl::ConsumePrefix(&host, "[")) {
    host = host.substr(0, host.find(']'));
  } else if (std::count(host.begin(), host.end(), ':') == 1) {
    host = host.substr(0, host.find(':'));
  }
  if (host == "localhost" || host == "::1") return true;
  // 127.0.0.0/8 in dotted form; a name such as 127.evil.example is not one.
  const std::vector<absl::string_view> parts = absl::StrSplit(host, '.');
  return parts.size() == 4 && parts[0] == "127" &&
         std::all_of(parts.begin(), parts.end(), [](absl::string_view part) {
           return !part.empty() && part.size() <= 3 &&
                  std::all_of(part.begin(), part.end(),
                              [](char c) { return c >= '0' && c <= '9'; });
         });
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerCredentials(
    const TlsOptions& options, absl::string_view listen_address) {
  if (options.certs_folder.empty()) {
    if (!options.insecure && !IsLoopback(listen_address)) {
      return absl::FailedPreconditionError(
          absl::StrCat("listening on ", listen_address, " needs mutual TLS: ", kHowToAllow));
    }
    return grpc::InsecureServerCredentials();
  }
  BATON_ASSIGN_OR_RETURN(Pem pem, ReadFolder(options.certs_folder));
  grpc::SslServerCredentialsOptions ssl(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  ssl.pem_root_certs = pem.ca;
  ssl.pem_key_cert_pairs.push_back({pem.key, pem.certificate});
  return grpc::SslServerCredentials(ssl);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentials(
    const TlsOptions& options, absl::string_view target) {
  if (options.certs_folder.empty()) {
    if (!options.insecure && !IsLoopback(target)) {
      return absl::FailedPreconditionError(
          absl::StrCat("calling ", target, " needs mutual TLS: ", kHowToAllow));
    }
    return grpc::InsecureChannelCredentials();
  }
  BATON_ASSIGN_OR_RETURN(Pem pem, ReadFolder(options.certs_folder));
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = pem.ca;
  ssl.pem_cert_chain = pem.certificate;
  ssl.pem_private_key = pem.key;
  return grpc::SslCredentials(ssl);
}

Peer PeerOf(const grpc::ServerContextBase& context) {
  Peer peer;
  const std::shared_ptr<const grpc::AuthContext> auth = context.auth_context();
  if (auth == nullptr || !auth->IsPeerAuthenticated()) return peer;
  peer.authenticated = true;
  for (const char* property : {"x509_uri", "x509_subject_alternative_name"}) {
    for (const grpc::string_ref& value : auth->FindPropertyValues(property)) {
      absl::string_view uri(value.data(), value.size());
      if (!absl::ConsumePrefix(&uri, kUriScheme)) continue;
      const std::vector<std::string> parts = absl::StrSplit(uri, '/');
      if (parts.size() != 3) continue;
      peer.role = parts[1];
      peer.node_id = parts[2];
      return peer;
    }
  }
  return peer;
}

absl::Status RequireRole(const grpc::ServerContextBase& context,
                         const std::vector<absl::string_view>& roles) {
  const Peer peer = PeerOf(context);
  if (!peer.authenticated) return absl::OkStatus();
  if (std::find(roles.begin(), roles.end(), peer.role) != roles.end()) return absl::OkStatus();
  // Such a node may be either at any moment; it is never a router.
  const bool node_allowed = std::any_of(roles.begin(), roles.end(), [](absl::string_view role) {
    return role == "prefill" || role == "decode";
  });
  if (peer.role == "any" && node_allowed) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat("the caller's certificate has role '", peer.role,
                                                  "', allowed: ", absl::StrJoin(roles, ", ")));
}

}  // namespace baton::server
