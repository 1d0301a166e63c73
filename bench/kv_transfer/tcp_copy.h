// The yardstick: KV blocks over a plain TCP connection, with the same frames and checksums and
// nothing else.
#pragma once

#include <cstdint>

#include "kvcache/kv_store.h"

namespace baton::bench {

// Listens on a free port of loopback; -1 when that fails. `port` gets the port.
int ListenOnLoopback(uint16_t* port);
int ConnectToLoopback(uint16_t port);

// Sends all layers of blocks [0, blocks) and waits for the other side to say that it has them.
// False when it broke.
bool SendBlocksOverTcp(int socket, const kvcache::KvStore& store, int32_t blocks);
// The other side: receives such hand-overs until the connection ends.
void ReceiveBlocksOverTcp(int socket, const kvcache::KvStore& store);

}  // namespace baton::bench
