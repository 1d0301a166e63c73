// What a process's folder of certificates says of itself: whose it is, until when, and whether its
// parts belong together.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace baton::server {

struct CertificateFacts {
  std::string holder;  // baton://<cluster>/<role>/<node-id>; empty: the certificate names none
  absl::Time not_before, not_after;
  absl::Time authority_not_after;
  bool issued_by_authority = false;  // ca.pem signed node.pem
};

// Reads ca.pem and node.pem of `folder`. NotFound or InvalidArgument name the file.
absl::StatusOr<CertificateFacts> ReadCertificateFacts(const std::string& folder);

}  // namespace baton::server
