// OpenSSL's certificates and keys as owned values, read from PEM with errors that name the file.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace baton::server {

struct OpenSslFree {
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using CertificatePtr = std::unique_ptr<X509, OpenSslFree>;
using PrivateKeyPtr = std::unique_ptr<EVP_PKEY, OpenSslFree>;

// `path` is only named in errors. InvalidArgument: `pem` does not start with a certificate or key that parses.
absl::StatusOr<CertificatePtr> ParseCertificate(const std::string& path, absl::string_view pem);
absl::StatusOr<PrivateKeyPtr> ParsePrivateKey(const std::string& path, absl::string_view pem);

absl::StatusOr<std::string> ToPem(X509* certificate);
absl::StatusOr<std::string> ToPem(EVP_PKEY* key);

// The newest error of OpenSSL in this thread as text; clears its queue.
std::string OpenSslError();

}  // namespace baton::server
