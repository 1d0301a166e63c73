// HTTP/1.1 itself: keep-alive, pipelining, limits, and what is not HTTP.
#include "absl/strings/str_cat.h"
#include "tests/router/router_fixture.h"

namespace baton::router {
namespace {

using HttpProtocolTest = RouterFixture;

TEST_F(HttpProtocolTest, AConnectionServesManyRequests) {
  StartCluster();
  RawClient client(router->http_address());
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(
        client.Send(Post("/v1/completions", i % 2 == 0 ? "{\"prompt\":\"x\",\"stream\":true}"
                                                       : "{\"prompt\":\"x\"}")));
    const RawReply reply = client.Read();
    ASSERT_EQ(reply.status, 200) << i;
    EXPECT_EQ(reply.headers.at("connection"), "keep-alive");
  }
}

TEST_F(HttpProtocolTest, PipelinedRequestsAreAnsweredInOrder) {
  StartCluster();
  RawClient client(router->http_address());
  ASSERT_TRUE(client.Send(
      Post("/v1/completions", "{\"prompt\":\"x\"}", "X-Request-Id: a\r\n") +
      Get("/health", "X-Request-Id: b\r\n") +
      Post("/v1/completions", "{\"prompt\":\"x\",\"stream\":true}", "X-Request-Id: c\r\n") +
      Get("/version", "X-Request-Id: d\r\n")));
  for (const char* id : {"a", "b", "c", "d"}) {
    const RawReply reply = client.Read();
    ASSERT_EQ(reply.status, 200);
    EXPECT_EQ(reply.headers.at("x-request-id"), id);
  }
}

TEST_F(HttpProtocolTest, ARequestMayComeByteByByteAndItsBodyInChunks) {
  StartCluster();
  RawClient client(router->http_address());
  const std::string request =
      "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"pro\r\n9;ext=1\r\nmpt\":\"x\"}\r\n0\r\n\r\n";
  for (const char byte : request) ASSERT_TRUE(client.Send(std::string(1, byte)));
  EXPECT_EQ(client.Read().status, 200);
}

TEST_F(HttpProtocolTest, CloseAndHttp10EndTheConnection) {
  StartCluster();
  RawClient closing(router->http_address());
  closing.Send(Get("/health", "Connection: close\r\n"));
  const RawReply reply = closing.Read();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("connection"), "close");
  EXPECT_TRUE(closing.AtEnd());
  RawClient old(router->http_address());
  old.Send(
      "POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\n"
      "Content-Length: 28\r\n\r\n{\"prompt\":\"x\",\"stream\":true}");
  const RawReply stream = old.Read();
  EXPECT_EQ(stream.status, 200);
  EXPECT_EQ(stream.headers.count("transfer-encoding"), 0u);
  EXPECT_EQ(Events(stream.body).back(), "[DONE]");
}

TEST_F(HttpProtocolTest, HeadHasTheHeadersOfGetAndNoBody) {
  StartRouter();
  RawClient client(router->http_address());
  client.Send("HEAD /health HTTP/1.1\r\nHost: t\r\n\r\n" + Get("/version"));
  const std::string both = client.ReadUntil("0.1.0");
  EXPECT_NE(both.find("content-length: 15\r\nconnection: keep-alive\r\n\r\nHTTP/1.1 200"),
            std::string::npos)
      << both;
}

TEST_F(HttpProtocolTest, AGiantHeaderIs431AndAGiantBody413) {
  config.set_max_body_bytes(100000);
  StartCluster();
  const RawReply header = [&] {
    RawClient client(router->http_address());
    client.Send(Get("/health", "X-Big: " + std::string(20000, 'a') + "\r\n"));
    return client.Read();
  }();
  EXPECT_EQ(header.status, 431);
  EXPECT_EQ(header.headers.at("connection"), "close");
  EXPECT_EQ(Ask("/v1/completions", std::string(100001, ' ')).status, 413);
  // The limit holds for chunks too, whose sum is not known before.
  RawClient chunked(router->http_address());
  chunked.Send(
      "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 11; ++i) chunked.Send("2710\r\n" + std::string(10000, ' ') + "\r\n");
  EXPECT_EQ(chunked.Read().status, 413);
  // The largest allowed body is read (on a worker thread, as it is long).
  std::string body = "{\"prompt\":\"x\"}";
  body += std::string(100000 - body.size(), ' ');
  EXPECT_EQ(Ask("/v1/completions", body).status, 200);
}

TEST_F(HttpProtocolTest, ClientsThatExpectContinueAreToldToGoOn) {
  StartCluster();
  RawClient client(router->http_address());
  client.Send(
      "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
      "Expect: 100-continue\r\nContent-Length: 14\r\n\r\n");
  EXPECT_EQ(client.Read().status, 100);
  client.Send("{\"prompt\":\"x\"}");
  EXPECT_EQ(client.Read().status, 200);
}

TEST_F(HttpProtocolTest, WhatIsNotHttpGetsA400OrNothingAndTheServerLivesOn) {
  StartRouter();
  for (const std::string& bytes :
       {std::string("\x16\x03\x01\x02"), std::string("GET\r\n\r\n"),
        std::string("GET / HTTP/9.9\r\n\r\n"), std::string("\r\n\r\n\r\n"),
        std::string("GET /health HTTP/1.1\r\nbroken header\r\n\r\n"),
        std::string("GET /%zz HTTP/1.1\r\nHost: t\r\n\r\n"),
        std::string("POST /tokenize HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        std::string("POST /tokenize HTTP/1.1\r\nContent-Length: -1\r\n\r\n"),
        std::string("POST /tokenize HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n"),
        std::string("POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        std::string("POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "ffffffffffffffff\r\n"),
        std::string(3000, '\0')}) {
    RawClient client(router->http_address(), 1500);
    client.Send(bytes);
    const int status = client.Read().status;
    EXPECT_TRUE(status == 400 || status == 0 || status == 413) << status << " for " << bytes;
  }
  EXPECT_EQ(Fetch("/health").status, 200);
}

TEST_F(HttpProtocolTest, SlowHeadersSlowBodiesAndIdleConnectionsAreCutOff) {
  limits.header_timeout = std::chrono::milliseconds(150);
  limits.body_timeout = std::chrono::milliseconds(150);
  limits.idle_timeout = std::chrono::milliseconds(150);
  StartRouter();
  RawClient idle(router->http_address());
  RawClient header(router->http_address());
  RawClient body(router->http_address());
  header.Send("GET /health HTT");
  body.Send("POST /tokenize HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n{");
  EXPECT_TRUE(idle.AtEnd());
  EXPECT_TRUE(header.AtEnd());
  EXPECT_TRUE(body.AtEnd());
}

TEST_F(HttpProtocolTest, AConnectionThatServedARequestIsStillCutOffWhenIdle) {
  limits.idle_timeout = std::chrono::milliseconds(200);
  StartCluster();
  RawClient client(router->http_address());
  client.Send(Post("/v1/completions", "{\"prompt\":\"x\"}"));
  EXPECT_EQ(client.Read().status, 200);
  EXPECT_TRUE(client.AtEnd());
}

}  // namespace
}  // namespace baton::router
