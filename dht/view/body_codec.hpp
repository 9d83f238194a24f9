#pragma once
// member_body and fact as positional msgpack arrays (design §10): what the directory signs, links carry, gossip repeats.
#include "base/pack.hpp"
#include "dht/view/fact.hpp"

#include <string>
#include <string_view>

namespace skald::dht {

inline constexpr std::size_t body_bytes_max = 2048;
inline constexpr std::size_t body_addresses_max = 16;
inline constexpr std::size_t body_text_max = 255; // name, zone, software: bytes

std::string encode_body(const member_body& b);
// Errors: malformed; too_large (a limit above); a capacity of 0 or over 65535 and an empty name are malformed.
result<member_body> decode_body(std::string_view bytes);

void put_fact(pack::writer& w, const fact& f);
fact get_fact(pack::reader& r); // failing shows in r.ok()

} // namespace skald::dht
