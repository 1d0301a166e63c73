#include "server/x509.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "absl/strings/str_cat.h"

namespace baton::server {
namespace {

struct BioFree {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using BioPtr = std::unique_ptr<BIO, BioFree>;

// Keys made by `baton certs` have no passphrase; a prompt would hang a server.
int NoPassphrase(char*, int, int, void*) { return -1; }

BioPtr Reader(absl::string_view pem) {
  return BioPtr(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

std::string Contents(BIO* bio) {
  char* data = nullptr;
  const long bytes = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(bytes));
}

}  // namespace

std::string OpenSslError() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  if (code == 0) return "unknown error";
  char text[256];
  ERR_error_string_n(code, text, sizeof(text));
  return text;
}

absl::StatusOr<CertificatePtr> ParseCertificate(const std::string& path, absl::string_view pem) {
  const BioPtr bio = Reader(pem);
  CertificatePtr certificate(PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr));
  if (certificate == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("certificate file ", path,
                                                   " is not a certificate in PEM: ",
                                                   OpenSslError()));
  }
  return certificate;
}

absl::StatusOr<PrivateKeyPtr> ParsePrivateKey(const std::string& path, absl::string_view pem) {
  const BioPtr bio = Reader(pem);
  PrivateKeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  if (key == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "certificate file ", path, " is not a private key in PEM: ", OpenSslError()));
  }
  return key;
}

absl::StatusOr<std::string> ToPem(X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(bio.get(), certificate) != 1) return absl::InternalError(OpenSslError());
  return Contents(bio.get());
}

absl::StatusOr<std::string> ToPem(EVP_PKEY* key) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return absl::InternalError(OpenSslError());
  }
  return Contents(bio.get());
}

}  // namespace baton::server
