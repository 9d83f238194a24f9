#pragma once
// Tokens (sip.md §2): the flow to one UA, sealed under the cluster's key so that any node can open it and nobody else
// read it. They stand as user part in Path and Record-Route. Pure functions; any thread.
#include "base/clock.hpp"
#include "base/endpoint.hpp"
#include "base/errors.hpp"
#include "base/ids.hpp"
#include "base/key_ring.hpp"
#include "sip/flow.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace skald::sip {

enum class token_kind : std::uint8_t {
  path,   // believed on links only
  dialog, // opens only what has a To tag, and a Call-ID and tag that fit dialog_hash
};

// For which side of a dialog a Record-Route token stands. `from`: the UA whose tag is in the hash, the sender of the
// request into which it was put; `to`: the other one.
enum class token_side : std::uint8_t { from, to };

struct token {
  token_kind kind = token_kind::path;
  token_side side = token_side::from;
  sip::transport transport = sip::transport::udp;
  std::uint64_t node = 0; // node_id::head() of the edge that holds the flow
  std::uint16_t worker = 0;
  std::uint32_t serial = 0; // of the connection; UDP: 0
  endpoint local;
  endpoint remote;
  skald::partition partition{};  // of the AoR, whose owner knows the binding's newest flow
  std::uint64_t binding_id = 0;  // 0: not a registered UA
  std::uint64_t dialog_hash = 0; // 48 bits; path tokens: 0

  bool operator==(const token&) const = default;
  sip::flow flow() const {
    return {.transport = transport, .worker = worker, .serial = serial, .local = local, .remote = remote};
  }
};

inline constexpr std::size_t token_text_max = 127;

// base64url, at most token_text_max characters. Deterministic: the same flow gives the same text, as long as the
// signing key is the same. Empty if the ring is empty.
std::string seal_token(const token& t, const key_ring& keys, unix_ms now);

// malformed, unsupported (another version), not_authentic (of no key of the ring, or changed).
result<token> open_token(std::string_view text, const key_ring& keys);
// Whether it has a token's outer form; says nothing of its seal.
bool looks_like_token(std::string_view text);
// The key it was sealed with, to refuse dialog tokens of keys made before a revocation. 0: not of a token's form.
std::uint32_t key_id_of_token(std::string_view text);

// 64 bits that name a binding: by (instance, reg-id) where the phone gives both, else by its contact (sip.md §2, §4).
std::uint64_t binding_id(std::string_view aor, std::string_view instance, std::uint32_t reg_id);
std::uint64_t binding_id(std::string_view aor, std::string_view contact);

// 48 bits of hash(Call-ID, tag).
std::uint64_t dialog_hash(std::string_view call_id, std::string_view tag);

} // namespace skald::sip
