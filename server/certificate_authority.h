// Makes a cluster's certificates: one authority (P-256) and one certificate for each process.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/x509.h"

namespace baton::server {

// Who a certificate is for.
struct NodeName {
  std::string role;                // "router", "prefill", "decode" or "any"
  std::string id;                  // unique in the cluster; letters, digits, '-', '_' and '.'
  std::vector<std::string> hosts;  // names and IP addresses that others reach it at
};

// Parses "role:id:host[,host...]". InvalidArgument says what is wrong; IPv6 hosts stand as they are
// ("::1").
absl::StatusOr<NodeName> ParseNodeName(const std::string& text);

class CertificateAuthority {
 public:
  // Loads <folder>/ca.pem and ca.key, or makes them, valid for `days`. InvalidArgument: files that
  // do not parse, or that belong to another cluster, or a bad cluster name. FailedPrecondition:
  // only one of the two files is there.
  static absl::StatusOr<CertificateAuthority> Open(const std::string& folder,
                                                   const std::string& cluster, int days);

  // True when Open made it.
  bool is_new() const { return is_new_; }

  // Writes <folder>/<id>/{ca.pem, node.pem, node.key} with the subject alternative names
  // URI:baton://<cluster>/<role>/<id> and one DNS or IP entry a host; the key is readable by its
  // owner only. A certificate that is already there and says the same is kept (returns false); one
  // that says something else, has expired or comes from another authority is FailedPrecondition
  // unless `force`.
  absl::StatusOr<bool> Issue(const NodeName& node, int days, bool force) const;

 private:
  CertificateAuthority() = default;
  absl::Status CheckKept(const std::string& path, const NodeName& node) const;

  std::string folder_;
  std::string cluster_;
  bool is_new_ = false;
  CertificatePtr certificate_;
  PrivateKeyPtr key_;
};

}  // namespace baton::server
