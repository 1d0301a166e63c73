#include "tests/router/router_fixture.h"

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "models/gguf/fingerprint.h"
#include "tests/fakes/tiny_gguf.h"

namespace baton::router {

const std::string& TinyModelPath() {
  static const std::string path = [] {
    const auto folder =
        std::filesystem::temp_directory_path() / ("baton-router-test-" + std::to_string(getpid()));
    std::filesystem::create_directories(folder);
    const std::string file = (folder / "tiny.gguf").string();
    std::ofstream(file, std::ios::binary) << fakes::TinyGguf({.layers = 1, .context = 512});
    std::atexit([] {
      std::error_code ignored;
      std::filesystem::remove_all(std::filesystem::temp_directory_path() /
                                      ("baton-router-test-" + std::to_string(getpid())),
                                  ignored);
    });
    return file;
  }();
  return path;
}

RouterFixture::RouterFixture() : wire(std::make_shared<fakes::FakeWire>()) {
  config.set_model(TinyModelPath());
  config.set_served_model_name("tiny");
  config.set_port(0);
  config.set_grpc_listen("127.0.0.1:0");
  config.set_cluster_listen("127.0.0.1:0");
}

RouterFixture::~RouterFixture() {
  // The router first: its nodes then see their calls cancelled.
  router.reset();
  nodes.clear();
}

void RouterFixture::StartRouter() {
  auto started = RouterNode::Start(config, limits);
  ASSERT_TRUE(started.ok()) << started.status();
  router = *std::move(started);
}

uint64_t TinyModelFingerprint() {
  return models::Fingerprint(**models::GgufFile::Open(TinyModelPath()));
}

fakes::FakeNode* RouterFixture::AddNode(fakes::FakeNode::Options options) {
  if (options.fingerprint == 0) options.fingerprint = TinyModelFingerprint();
  nodes.push_back(std::make_unique<fakes::FakeNode>(std::move(options), wire));
  fakes::FakeNode* node = nodes.back().get();
  node->Join(router->cluster_address());
  const bool known = Eventually([&] {
    const auto cluster = router->context().cluster.snapshot();
    for (const auto* list : {&cluster->prefill, &cluster->decode}) {
      for (const auto& other : *list) {
        if (other->hello.node_id() == node->options().node_id &&
            other->hello.incarnation() == node->options().incarnation &&
            other->load.blocks_total() > 0) {
          return true;
        }
      }
    }
    return false;
  });
  EXPECT_TRUE(known) << "the node did not join";
  return node;
}

fakes::FakeNode* RouterFixture::AddPrefill(const std::string& id) {
  return AddNode({.role = v1::NODE_ROLE_PREFILL, .node_id = id});
}

fakes::FakeNode* RouterFixture::AddDecode(const std::string& id) {
  return AddNode({.role = v1::NODE_ROLE_DECODE, .node_id = id});
}

void RouterFixture::StartCluster(const std::string& text) {
  StartRouter();
  prefill = AddPrefill();
  decode = AddDecode();
  Say(text);
}

void RouterFixture::Say(const std::string& text) {
  fakes::NodeScript script;
  script.token = fakes::Says(text);
  for (const auto& node : nodes) node->SetScript(script);
}

RawReply RouterFixture::Ask(const std::string& path, const std::string& body,
                            const std::string& headers) {
  RawClient client(router->http_address());
  EXPECT_TRUE(client.Send(Post(path, body, headers)));
  return client.Read();
}

RawReply RouterFixture::Fetch(const std::string& path) {
  RawClient client(router->http_address());
  EXPECT_TRUE(client.Send(Get(path)));
  return client.Read();
}

double RouterFixture::Metric(const std::string& name_and_labels) {
  const std::string text = Fetch("/metrics").body;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::StartsWith(line, name_and_labels + " ")) {
      return std::atof(std::string(line.substr(name_and_labels.size() + 1)).c_str());
    }
  }
  return -1;
}

bool RouterFixture::Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (std::chrono::steady_clock::now() < deadline) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return false;
}

}  // namespace baton::router
