#include "bench/kv_transfer/tcp_copy.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "kvcache/transfer/frame_checksum.h"

namespace baton::bench {
namespace {

constexpr int64_t kFrameBytes = 1 << 20;

struct Header {
  int32_t layer = 0;
  int32_t block_begin = 0;
  int32_t block_count = 0;
  int32_t last = 0;
  uint64_t xxh3 = 0;
};

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

bool ReceiveAll(int socket, void* data, size_t bytes) {
  auto* at = static_cast<uint8_t*>(data);
  while (bytes > 0) {
    const ssize_t got = recv(socket, at, bytes, 0);
    if (got <= 0) return false;
    at += got;
    bytes -= static_cast<size_t>(got);
  }
  return true;
}

bool SendAll(int socket, std::vector<iovec> pieces) {
  size_t first = 0;
  while (first < pieces.size()) {
    ssize_t sent = writev(socket, &pieces[first],
                          static_cast<int>(std::min<size_t>(pieces.size() - first, 512)));
    if (sent <= 0) return false;
    for (; first < pieces.size() && sent >= static_cast<ssize_t>(pieces[first].iov_len); ++first) {
      sent -= static_cast<ssize_t>(pieces[first].iov_len);
    }
    if (sent > 0) {
      pieces[first].iov_base = static_cast<uint8_t*>(pieces[first].iov_base) + sent;
      pieces[first].iov_len -= static_cast<size_t>(sent);
    }
  }
  return true;
}

}  // namespace

int ListenOnLoopback(uint16_t* port) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof(address);
  if (listener < 0 || bind(listener, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      listen(listener, 1) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return -1;
  }
  *port = ntohs(address.sin_port);
  return listener;
}

int ConnectToLoopback(uint16_t port) {
  const int connection = socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in address = Loopback(port);
  if (connection < 0 ||
      connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return -1;
  }
  const int on = 1;
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return connection;
}

bool SendBlocksOverTcp(int socket, const kvcache::KvStore& store, int32_t blocks) {
  const int64_t block_bytes = store.geometry().BlockLayerBytes();
  const auto per_frame = static_cast<int32_t>(std::max<int64_t>(1, kFrameBytes / block_bytes));
  const int32_t layers = store.geometry().layers;
  for (int32_t layer = 0; layer < layers; ++layer) {
    for (int32_t begin = 0; begin < blocks; begin += per_frame) {
      Header header{layer, begin, std::min(per_frame, blocks - begin), 0, 0};
      header.last = layer == layers - 1 && begin + per_frame >= blocks ? 1 : 0;
      std::vector<absl::Span<const uint8_t>> payload;
      std::vector<iovec> pieces = {{&header, sizeof(header)}};
      for (int32_t block = begin; block < begin + header.block_count; ++block) {
        uint8_t* data = store.BlockLayer(layer, block);
        payload.push_back({data, static_cast<size_t>(block_bytes)});
        pieces.push_back({data, static_cast<size_t>(block_bytes)});
      }
      header.xxh3 = kvcache::PayloadXxh3(payload);
      if (!SendAll(socket, std::move(pieces))) return false;
    }
  }
  char done = 0;
  return ReceiveAll(socket, &done, 1) && done == 1;
}

void ReceiveBlocksOverTcp(int socket, const kvcache::KvStore& store) {
  const size_t block_bytes = store.geometry().BlockLayerBytes();
  std::vector<uint8_t> frame;
  Header header;
  while (ReceiveAll(socket, &header, sizeof(header))) {
    frame.resize(block_bytes * static_cast<size_t>(header.block_count));
    if (!ReceiveAll(socket, frame.data(), frame.size())) return;
    if (kvcache::PayloadXxh3({absl::Span<const uint8_t>(frame)}) != header.xxh3) return;
    for (int32_t i = 0; i < header.block_count; ++i) {
      std::memcpy(store.BlockLayer(header.layer, header.block_begin + i),
                  frame.data() + static_cast<size_t>(i) * block_bytes, block_bytes);
    }
    const char done = 1;
    if (header.last == 1 && send(socket, &done, 1, MSG_NOSIGNAL) != 1) return;
  }
}

}  // namespace baton::bench
