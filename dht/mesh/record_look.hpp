#pragma once
// A look at the outside of a datagram on the overlay port: is it DTLS at all, and which of the sessions between two
// endpoints is it for. DTLS 1.2 has no connection id in use here, so this look is all there is to tell a new
// handshake from a session that is up. Pure; believes nothing.
#include <array>
#include <cstdint>
#include <string_view>

namespace skald::dht {

enum class record_kind : std::uint8_t {
  not_dtls,
  client_hello, // begins or goes on with a handshake towards us; `random` is set
  plain,        // another record of epoch 0: handshake, change of cipher, early alert
  sealed,       // under keys
};

using hello_random = std::array<std::uint8_t, 32>;

struct record_look {
  record_kind kind = record_kind::not_dtls;
  hello_random random{};
};
// RFC 6347 §4.1 (record header), §4.2.2 (handshake header), §4.2.1 (ClientHello).
record_look look_at(std::string_view datagram);

} // namespace skald::dht
