// A whole router over real sockets, with scripted nodes. Nothing in it computes.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "router/json_text.h"
#include "router/router_node.h"
#include "tests/fakes/fake_node.h"
#include "tests/router/raw_client.h"

namespace baton::router {

class RouterFixture : public ::testing::Test {
 protected:
  RouterFixture();
  ~RouterFixture() override;

  // Called before nodes are added. A test may change `config` and `limits` first.
  void StartRouter();
  // Adds a node and waits until the router has its first load report.
  fakes::FakeNode* AddNode(fakes::FakeNode::Options options);
  fakes::FakeNode* AddPrefill(const std::string& id = "p0");
  fakes::FakeNode* AddDecode(const std::string& id = "d0");
  // Router, one prefill and one decode node that both say `text`.
  void StartCluster(const std::string& text = "Hello");
  void Say(const std::string& text);

  // One request on a connection of its own.
  RawReply Ask(const std::string& path, const std::string& body, const std::string& headers = "");
  RawReply Fetch(const std::string& path);
  // The metric's value, or -1 where there is none of that name and labels.
  double Metric(const std::string& name_and_labels);

  // Polls until `condition` holds; false after five seconds.
  static bool Eventually(const std::function<bool()>& condition);

  v1::RouterConfig config;
  HttpLimits limits;
  std::shared_ptr<fakes::FakeWire> wire;
  std::unique_ptr<RouterNode> router;
  std::vector<std::unique_ptr<fakes::FakeNode>> nodes;
  fakes::FakeNode* prefill = nullptr;  // of StartCluster
  fakes::FakeNode* decode = nullptr;
};

// Path of the tiny model's file, written once a process.
const std::string& TinyModelPath();
uint64_t TinyModelFingerprint();

}  // namespace baton::router
