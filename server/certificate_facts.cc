#include "server/certificate_facts.h"

#include <openssl/x509v3.h>

#include <ctime>
#include <fstream>
#include <memory>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/x509.h"

namespace baton::server {
namespace {

absl::StatusOr<CertificatePtr> ReadCertificate(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) return absl::NotFoundError(absl::StrCat("certificate file ", path, " cannot be read"));
  return ParseCertificate(path, text.str());
}

absl::Time TimeOf(const ASN1_TIME* time) {
  std::tm parts = {};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return absl::InfinitePast();
  return absl::FromTM(parts, absl::UTCTimeZone());
}

std::string HolderOf(X509* certificate) {
  struct Free {
    void operator()(GENERAL_NAMES* names) const { GENERAL_NAMES_free(names); }
  };
  const std::unique_ptr<GENERAL_NAMES, Free> names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    const std::string text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                           static_cast<size_t>(ASN1_STRING_length(uri)));
    if (absl::StartsWith(text, "baton://")) return text;
  }
  return "";
}

}  // namespace

absl::StatusOr<CertificateFacts> ReadCertificateFacts(const std::string& folder) {
  BATON_ASSIGN_OR_RETURN(const CertificatePtr authority, ReadCertificate(folder + "/ca.pem"));
  BATON_ASSIGN_OR_RETURN(const CertificatePtr own, ReadCertificate(folder + "/node.pem"));
  CertificateFacts facts;
  facts.holder = HolderOf(own.get());
  facts.not_before = TimeOf(X509_get0_notBefore(own.get()));
  facts.not_after = TimeOf(X509_get0_notAfter(own.get()));
  facts.authority_not_after = TimeOf(X509_get0_notAfter(authority.get()));
  facts.issued_by_authority = X509_verify(own.get(), X509_get0_pubkey(authority.get())) == 1;
  OpenSslError();  // a signature that does not fit is an answer, not an error to be kept
  return facts;
}

}  // namespace baton::server
