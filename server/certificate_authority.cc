#include "server/certificate_authority.h"

#include <openssl/ec.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "server/atomic_file.h"

namespace baton::server {
namespace {

constexpr long kSecondsPerDay = 24 * 60 * 60;
// Clocks of hosts differ a little; a certificate made now must be valid everywhere at once.
constexpr long kBackdateSeconds = 5 * 60;

bool IsName(absl::string_view text) {
  return !text.empty() && text.size() <= 63 && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

bool IsIpAddress(const std::string& host) {
  boost::system::error_code error;
  boost::asio::ip::make_address(host, error);
  return !error;
}

std::string AlternativeNames(const std::string& cluster, const NodeName& node) {
  std::vector<std::string> names = {
      absl::StrCat("URI:baton://", cluster, "/", node.role, "/", node.id)};
  for (const std::string& host : node.hosts) {
    names.push_back(absl::StrCat(IsIpAddress(host) ? "IP:" : "DNS:", host));
  }
  return absl::StrJoin(names, ",");
}

// The names as OpenSSL prints them, for the comparison of a kept certificate with what is wanted.
absl::StatusOr<std::string> AlternativeNamesOf(X509* certificate) {
  const int at = X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1);
  if (at < 0) return absl::InvalidArgumentError("no subject alternative names");
  std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), &BIO_free);
  X509V3_EXT_print(bio.get(), X509_get_ext(certificate, at), 0, 0);
  char* data = nullptr;
  const long bytes = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(bytes));
}

absl::Status AddExtension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  if (extension == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("certificate extension '", value, "': ", OpenSslError()));
  }
  const int added = X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
  return added == 1 ? absl::OkStatus() : absl::InternalError(OpenSslError());
}

absl::StatusOr<PrivateKeyPtr> NewKey() {
  PrivateKeyPtr key(EVP_EC_gen("P-256"));
  if (key == nullptr) return absl::InternalError(absl::StrCat("key: ", OpenSslError()));
  return key;
}

// A certificate without extensions and signature. `issuer` null: issued by itself.
absl::StatusOr<CertificatePtr> NewCertificate(const std::string& organisation,
                                              const std::string& name, EVP_PKEY* key, X509* issuer,
                                              int days) {
  CertificatePtr certificate(X509_new());
  unsigned char serial[16];
  if (certificate == nullptr || RAND_bytes(serial, sizeof(serial)) != 1) {
    return absl::InternalError(OpenSslError());
  }
  serial[0] &= 0x7f;  // serial numbers are positive
  BIGNUM* number = BN_bin2bn(serial, sizeof(serial), nullptr);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate.get()));
  BN_free(number);
  X509_set_version(certificate.get(), X509_VERSION_3);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -kBackdateSeconds);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), days * kSecondsPerDay);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  for (const auto& [field, text] : {std::pair("O", organisation), std::pair("CN", name)}) {
    X509_NAME_add_entry_by_txt(subject, field, MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(text.c_str()), -1, -1, 0);
  }
  X509_set_issuer_name(certificate.get(),
                       issuer == nullptr ? subject : X509_get_subject_name(issuer));
  return certificate;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  return text.str();
}

std::string OrganisationOf(X509* certificate) {
  char text[128] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_organizationName, text,
                            sizeof(text));
  return text;
}

}  // namespace

absl::StatusOr<NodeName> ParseNodeName(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits(':', 2));
  if (parts.size() != 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("node '", text, "': needs role:id:host[,host...]"));
  }
  NodeName node{parts[0], parts[1], absl::StrSplit(parts[2], ',')};
  if (node.role != "router" && node.role != "prefill" && node.role != "decode" &&
      node.role != "any") {
    return absl::InvalidArgumentError(absl::StrCat("node '", text, "': role '", node.role,
                                                   "', allowed: router, prefill, decode, any"));
  }
  if (!IsName(node.id)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "node '", text, "': id '", node.id, "', allowed: 1 to 63 letters, digits, '-', '_', '.'"));
  }
  for (const std::string& host : node.hosts) {
    if (!IsName(host) && !IsIpAddress(host)) {
      return absl::InvalidArgumentError(absl::StrCat("node '", text, "': host '", host,
                                                     "', allowed: a host name or an IP address"));
    }
  }
  return node;
}

absl::StatusOr<CertificateAuthority> CertificateAuthority::Open(const std::string& folder,
                                                                const std::string& cluster,
                                                                int days) {
  if (!IsName(cluster)) {
    return absl::InvalidArgumentError(
        absl::StrCat("cluster '", cluster, "', allowed: 1 to 63 letters, digits, '-', '_', '.'"));
  }
  CertificateAuthority authority;
  authority.folder_ = folder;
  authority.cluster_ = cluster;
  const std::string certificate_path = absl::StrCat(folder, "/ca.pem");
  const std::string key_path = absl::StrCat(folder, "/ca.key");
  const bool has_certificate = std::filesystem::exists(certificate_path);
  if (has_certificate != std::filesystem::exists(key_path)) {
    return absl::FailedPreconditionError(
        absl::StrCat("folder ", folder,
                     " has only one of ca.pem and ca.key; needs both, or none for a new one"));
  }
  if (has_certificate) {
    BATON_ASSIGN_OR_RETURN(const std::string certificate, ReadFile(certificate_path));
    BATON_ASSIGN_OR_RETURN(const std::string key, ReadFile(key_path));
    BATON_ASSIGN_OR_RETURN(authority.certificate_, ParseCertificate(certificate_path, certificate));
    BATON_ASSIGN_OR_RETURN(authority.key_, ParsePrivateKey(key_path, key));
    if (OrganisationOf(authority.certificate_.get()) != cluster) {
      return absl::InvalidArgumentError(
          absl::StrCat(certificate_path, " is the authority of cluster '",
                       OrganisationOf(authority.certificate_.get()), "', not of '", cluster, "'"));
    }
    return authority;
  }
  authority.is_new_ = true;
  BATON_ASSIGN_OR_RETURN(authority.key_, NewKey());
  BATON_ASSIGN_OR_RETURN(
      authority.certificate_,
      NewCertificate(cluster, "Baton cluster authority", authority.key_.get(), nullptr, days));
  X509* certificate = authority.certificate_.get();
  BATON_RETURN_IF_ERROR(
      AddExtension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0"));
  BATON_RETURN_IF_ERROR(
      AddExtension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign"));
  BATON_RETURN_IF_ERROR(AddExtension(certificate, certificate, NID_subject_key_identifier, "hash"));
  if (X509_sign(certificate, authority.key_.get(), EVP_sha256()) == 0) {
    return absl::InternalError(OpenSslError());
  }
  BATON_ASSIGN_OR_RETURN(const std::string key_pem, ToPem(authority.key_.get()));
  BATON_ASSIGN_OR_RETURN(const std::string certificate_pem, ToPem(certificate));
  BATON_RETURN_IF_ERROR(WriteFile(key_path, key_pem, FileReaders::kOwner));
  BATON_RETURN_IF_ERROR(WriteFile(certificate_path, certificate_pem, FileReaders::kAll));
  return authority;
}

absl::Status CertificateAuthority::CheckKept(const std::string& path, const NodeName& node) const {
  BATON_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  BATON_ASSIGN_OR_RETURN(const CertificatePtr kept, ParseCertificate(path, text));
  if (X509_verify(kept.get(), key_.get()) != 1) {
    OpenSslError();
    return absl::FailedPreconditionError(
        absl::StrCat(path, " comes from another authority; --force makes it anew"));
  }
  if (X509_cmp_current_time(X509_get0_notAfter(kept.get())) < 0) {
    return absl::FailedPreconditionError(absl::StrCat(path, " has expired; --force makes it anew"));
  }
  CertificatePtr wanted(X509_new());
  BATON_RETURN_IF_ERROR(AddExtension(wanted.get(), certificate_.get(), NID_subject_alt_name,
                                     AlternativeNames(cluster_, node)));
  BATON_ASSIGN_OR_RETURN(const std::string wanted_names, AlternativeNamesOf(wanted.get()));
  BATON_ASSIGN_OR_RETURN(const std::string kept_names, AlternativeNamesOf(kept.get()));
  if (wanted_names != kept_names) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is for ", kept_names, ", wanted ",
                                                      wanted_names, "; --force makes it anew"));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> CertificateAuthority::Issue(const NodeName& node, int days, bool force) const {
  const std::string folder = absl::StrCat(folder_, "/", node.id);
  const std::string path = absl::StrCat(folder, "/node.pem");
  if (!force && std::filesystem::exists(path) && std::filesystem::exists(folder + "/node.key")) {
    BATON_RETURN_IF_ERROR(CheckKept(path, node));
    return false;
  }
  BATON_ASSIGN_OR_RETURN(const PrivateKeyPtr key, NewKey());
  BATON_ASSIGN_OR_RETURN(const CertificatePtr certificate,
                         NewCertificate(cluster_, absl::StrCat(node.role, " ", node.id), key.get(),
                                        certificate_.get(), days));
  const std::pair<int, std::string> extensions[] = {
      {NID_basic_constraints, "critical,CA:FALSE"},
      {NID_key_usage, "critical,digitalSignature"},
      {NID_ext_key_usage, "serverAuth,clientAuth"},
      {NID_authority_key_identifier, "keyid"},
      {NID_subject_alt_name, AlternativeNames(cluster_, node)}};
  for (const auto& [kind, value] : extensions) {
    BATON_RETURN_IF_ERROR(AddExtension(certificate.get(), certificate_.get(), kind, value));
  }
  if (X509_sign(certificate.get(), key_.get(), EVP_sha256()) == 0) {
    return absl::InternalError(OpenSslError());
  }
  BATON_ASSIGN_OR_RETURN(const std::string key_pem, ToPem(key.get()));
  BATON_ASSIGN_OR_RETURN(const std::string certificate_pem, ToPem(certificate.get()));
  BATON_ASSIGN_OR_RETURN(const std::string authority_pem, ToPem(certificate_.get()));
  BATON_RETURN_IF_ERROR(WriteFile(folder + "/ca.pem", authority_pem, FileReaders::kAll));
  BATON_RETURN_IF_ERROR(WriteFile(folder + "/node.key", key_pem, FileReaders::kOwner));
  BATON_RETURN_IF_ERROR(WriteFile(path, certificate_pem, FileReaders::kAll));
  return true;
}

}  // namespace baton::server
