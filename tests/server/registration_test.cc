// A node keeps its place in the cluster whatever happens to the router.
#include "server/registration.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>

#include "proto/node.grpc.pb.h"

namespace baton::server {
namespace {

// A router that counts hellos and loads, and may refuse.
class FakeRegistry final : public v1::Registry::Service {
 public:
  grpc::Status Join(grpc::ServerContext*,
                    grpc::ServerReaderWriter<v1::RouterReply, v1::NodeReport>* stream) override {
    v1::NodeReport report;
    if (!stream->Read(&report) || !report.has_hello()) return grpc::Status::CANCELLED;
    ++hellos;
    if (refuse) return {grpc::StatusCode::FAILED_PRECONDITION, "layout.layers differs"};
    v1::RouterReply reply;
    reply.set_accepted(true);
    stream->Write(reply);
    while (!drop && stream->Read(&report)) {
      if (report.has_load()) ++loads;
      if (wanted_role != v1::NODE_ROLE_UNSPECIFIED) {
        reply.set_take_role(wanted_role);
        stream->Write(reply);
      }
      if (!report.has_cache()) continue;
      {
        MutexLock lock(mutex);
        events.push_back(report.cache());
      }
      if (!lost.exchange(false)) continue;
      reply.set_resend_cache(true);
      stream->Write(reply);
    }
    return grpc::Status::OK;
  }

  std::vector<v1::CacheEvents> Events() {
    MutexLock lock(mutex);
    return events;
  }

  Mutex mutex;
  std::vector<v1::CacheEvents> events ABSL_GUARDED_BY(mutex);
  std::atomic<int> hellos{0}, loads{0};
  std::atomic<v1::NodeRole> wanted_role{v1::NODE_ROLE_UNSPECIFIED};
  std::atomic<bool> refuse{false}, drop{false}, lost{false};
};

std::unique_ptr<grpc::Server> Serve(const std::string& address, grpc::Service* service, int* port) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), port);
  builder.RegisterService(service);
  return builder.BuildAndStart();
}

bool Eventually(const std::function<bool()>& what) {
  for (int i = 0; i < 1000 && !what(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return what();
}

class RegistrationTest : public testing::Test {
 protected:
  RegistrationTest() : server(Serve("127.0.0.1:0", &registry, &port)) {}

  std::unique_ptr<Registration> Register(absl::Duration interval = absl::Milliseconds(20),
                                         CacheFeed cache = {}) {
    Registration::Options options;
    options.hello.set_node_id("d0");
    options.interval = interval;
    options.load = [] { return v1::NodeLoad(); };
    options.cache = std::move(cache);
    options.health = [this] {
      return healthy ? absl::OkStatus() : absl::UnavailableError("no progress");
    };
    options.on_role = [this](v1::NodeRole wanted) { role = wanted; };
    options.on_change = [this](absl::Status status) {
      MutexLock lock(mutex);
      told.push_back(std::move(status));
    };
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 50);
    return std::make_unique<Registration>(
        grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port),
                                  grpc::InsecureChannelCredentials(), arguments),
        options);
  }
  absl::Status LastTold() {
    MutexLock lock(mutex);
    return told.empty() ? absl::UnknownError("nothing told") : told.back();
  }

  int port = 0;
  std::atomic<bool> healthy{true};
  FakeRegistry registry;
  std::unique_ptr<grpc::Server> server;
  std::atomic<v1::NodeRole> role{v1::NODE_ROLE_UNSPECIFIED};
  Mutex mutex;
  std::vector<absl::Status> told ABSL_GUARDED_BY(mutex);
};

TEST_F(RegistrationTest, SaysHelloOnceAndReportsAtEachInterval) {
  const auto registration = Register();
  ASSERT_TRUE(Eventually([&] { return registry.loads >= 3; }));
  EXPECT_EQ(registry.hellos, 1);
  EXPECT_TRUE(LastTold().ok());
}

TEST_F(RegistrationTest, ReportsAtOnceWhenAsked) {
  const auto registration = Register(absl::Minutes(10));
  ASSERT_TRUE(Eventually([&] { return registry.loads == 1; }));
  registration->ReportNow();
  EXPECT_TRUE(Eventually([&] { return registry.loads == 2; }));
}

TEST_F(RegistrationTest, TellsWhatTheCacheHoldsInOrderAndAnewToEachRouter) {
  std::atomic<int> restarts{0}, pending{0};
  const CacheFeed feed{.restart =
                           [&] {
                             ++restarts;
                             pending = 2;
                           },
                       .take =
                           [&](v1::CacheEvents* events) {
                             if (pending == 0) return false;
                             events->Clear();
                             events->set_reset(pending == 2);
                             events->add_stored(static_cast<uint64_t>(pending--));
                             return true;
                           }};
  const auto registration = Register(absl::Milliseconds(200), feed);
  ASSERT_TRUE(Eventually([&] { return registry.Events().size() == 2; }));
  pending = 1;
  ASSERT_TRUE(Eventually([&] { return registry.Events().size() == 3; }));
  server->Shutdown(std::chrono::system_clock::now());
  server.reset();
  server = Serve("127.0.0.1:" + std::to_string(port), &registry, &port);
  ASSERT_NE(server, nullptr);
  ASSERT_TRUE(Eventually([&] { return registry.Events().size() == 5; }));
  const std::vector<v1::CacheEvents> events = registry.Events();
  for (const int i : {0, 1, 2, 3, 4}) {
    EXPECT_EQ(events[i].sequence(), static_cast<uint64_t>(i < 3 ? i + 1 : i - 2));
    EXPECT_EQ(events[i].reset(), i == 0 || i == 3);
  }
  EXPECT_EQ(restarts, 2);
}

TEST_F(RegistrationTest, TellsEverythingAnewWhenTheRouterLostSomething) {
  std::atomic<int> restarts{0};
  std::atomic<bool> pending{false};
  const CacheFeed feed{.restart =
                           [&] {
                             ++restarts;
                             pending = true;
                           },
                       .take =
                           [&](v1::CacheEvents* events) {
                             events->Clear();
                             events->set_reset(true);
                             return pending.exchange(false);
                           }};
  registry.lost = true;
  const auto registration = Register(absl::Minutes(10), feed);
  ASSERT_TRUE(Eventually([&] { return registry.Events().size() == 2; }));
  EXPECT_EQ(restarts, 2);
  EXPECT_EQ(registry.hellos, 1);
  EXPECT_EQ(registry.Events()[1].sequence(), 2u);
}

TEST_F(RegistrationTest, PassesOnWhichRoleTheRouterWants) {
  registry.wanted_role = v1::NODE_ROLE_PREFILL;
  const auto registration = Register();
  EXPECT_TRUE(Eventually([&] { return role == v1::NODE_ROLE_PREFILL; }));
}

TEST_F(RegistrationTest, ComesBackWhenTheRouterWasRestarted) {
  const auto registration = Register();
  ASSERT_TRUE(Eventually([&] { return registry.loads >= 1; }));
  server->Shutdown(std::chrono::system_clock::now());
  server.reset();
  ASSERT_TRUE(Eventually([&] { return !LastTold().ok(); }));
  server = Serve("127.0.0.1:" + std::to_string(port), &registry, &port);
  ASSERT_NE(server, nullptr);
  EXPECT_TRUE(Eventually([&] { return registry.hellos == 2 && LastTold().ok(); }));
}

TEST_F(RegistrationTest, SaysWhyItIsRefusedAndTriesOn) {
  registry.refuse = true;
  const auto registration = Register();
  ASSERT_TRUE(Eventually([&] { return registry.hellos >= 2; }));
  EXPECT_EQ(LastTold().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(LastTold().message(), "layout.layers differs");
  registry.refuse = false;
  EXPECT_TRUE(Eventually([&] { return LastTold().ok(); }));
}

TEST_F(RegistrationTest, LeavesWhileTheNodeIsNotHealthyAndComesBack) {
  const auto registration = Register();
  ASSERT_TRUE(Eventually([&] { return registry.loads >= 1; }));
  healthy = false;
  ASSERT_TRUE(Eventually([&] { return LastTold().message() == "no progress"; }));
  const int hellos = registry.hellos;
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  EXPECT_EQ(registry.hellos, hellos);
  healthy = true;
  EXPECT_TRUE(Eventually([&] { return registry.hellos > hellos && LastTold().ok(); }));
}

TEST_F(RegistrationTest, EndsAtOnceWhileNobodyAnswers) {
  server->Shutdown(std::chrono::system_clock::now());
  auto registration = Register();
  const auto begin = std::chrono::steady_clock::now();
  registration.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
}

}  // namespace
}  // namespace baton::server
