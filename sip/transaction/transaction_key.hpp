#pragma once
// What makes two messages one transaction (RFC 3261 §17.1.3, §17.2.3), as keys of hash tables. Looking up allocates
// nothing, but for requests of elements older than RFC 3261.
#include "sip/message/message.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace skald::sip {

// Views: into a message for a look-up, into an owned_key for what is kept. Client transactions leave the host empty.
struct transaction_key {
  std::string_view branch;
  std::string_view host; // sent-by, compared without regard to case
  std::uint16_t port = 0;
  std::string_view method;
  bool operator==(const transaction_key& other) const;
};

struct transaction_key_hash {
  std::size_t operator()(const transaction_key& k) const noexcept;
};

// Keeps the text that its view points into; stays where it was made.
class owned_key {
public:
  explicit owned_key(const transaction_key& k);
  owned_key(const owned_key&) = delete;
  owned_key& operator=(const owned_key&) = delete;
  const transaction_key& view() const { return view_; }

private:
  std::string text_;
  transaction_key view_;
};

inline constexpr std::string_view magic_cookie = "z9hG4bK"; // RFC 3261 §8.1.1.7
bool has_magic_cookie(std::string_view branch);

// The key under which a request's server transaction is found, taken as a request of `method` (an ACK and a CANCEL ask
// for their INVITE). Valid as long as this object and the message.
class server_key {
public:
  server_key(const message& request, std::string_view method);
  server_key(const server_key&) = delete;
  server_key& operator=(const server_key&) = delete;

  bool valid() const { return valid_; } // false: no topmost Via that parses
  bool legacy() const { return !base_.empty(); }
  const transaction_key& view() const { return view_; }
  // §17.2.3 for branches without the cookie: an ACK is found by the To tag of the response that it answers.
  static std::string legacy_ack(std::string_view base, std::string_view to_tag);
  const std::string& legacy_base() const { return base_; }

private:
  bool valid_ = false;
  std::string base_;     // legacy: Request-URI, Call-ID, From tag, CSeq number, topmost Via
  std::string composed_; // legacy: and the To tag
  transaction_key view_;
};

} // namespace skald::sip
