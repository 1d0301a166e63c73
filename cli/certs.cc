#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/status_macros.h"
#include "cli/commands.h"
#include "server/certificate_authority.h"

namespace baton::cli {
namespace {

struct CertsOptions {
  std::string out;
  std::string cluster = "baton";
  std::vector<std::string> nodes;
  int days = 365;
  bool force = false;
};

absl::Status MakeCertificates(const CertsOptions& options) {
  std::vector<server::NodeName> names;
  for (const std::string& node : options.nodes) {
    BATON_ASSIGN_OR_RETURN(server::NodeName name, server::ParseNodeName(node));
    names.push_back(std::move(name));
  }
  BATON_ASSIGN_OR_RETURN(
      const server::CertificateAuthority authority,
      server::CertificateAuthority::Open(options.out, options.cluster, options.days));
  std::printf("%s %s/ca.pem\n", authority.is_new() ? "made" : "kept", options.out.c_str());
  for (const server::NodeName& name : names) {
    BATON_ASSIGN_OR_RETURN(const bool made, authority.Issue(name, options.days, options.force));
    std::printf("%s %s/%s (%s)\n", made ? "made" : "kept", options.out.c_str(), name.id.c_str(),
                name.role.c_str());
  }
  return absl::OkStatus();
}

}  // namespace

void AddCertsCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<CertsOptions>();
  CLI::App* command = app.add_subcommand(
      "certs", "Make a cluster's certificate authority and its processes' certificates");
  command
      ->add_option("--out", options->out, "folder of the authority; one folder below it a process")
      ->required();
  command->add_option("--cluster", options->cluster, "name of the cluster")->capture_default_str();
  command
      ->add_option(
          "--node", options->nodes,
          "role:id:host[,host...] with role router, prefill, decode or any; may be repeated")
      ->required();
  command->add_option("--days", options->days, "days that the certificates are valid")
      ->check(CLI::Range(1, 3650))
      ->capture_default_str();
  command->add_flag("--force", options->force, "replace certificates that are there");
  command->callback([options, exit_code] {
    const absl::Status status = MakeCertificates(*options);
    if (status.ok()) return;
    std::fprintf(stderr, "baton certs: %s\n", std::string(status.message()).c_str());
    *exit_code = 1;
  });
}

}  // namespace baton::cli
