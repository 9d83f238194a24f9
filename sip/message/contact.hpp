#pragma once
// One Contact value (RFC 3261 §20.10; +sip.instance and reg-id: RFC 5626 §4.1, §11.1).
#include "sip/message/name_addr.hpp"

#include <cstdint>
#include <optional>
#include <string_view>

namespace skald::sip {

struct contact {
  bool is_star = false;                  // "*": everything below is empty
  name_addr address;
  std::optional<int> q;                  // thousandths, 0…1000; nullopt: not given or no qvalue
  std::optional<std::uint32_t> expires;  // seconds; over 2^32 - 1 is that; nullopt: not given or no number (§20.10)
  std::string_view instance;             // "urn:uuid:…", without quotes and angle brackets; empty if not given
  std::optional<std::uint32_t> reg_id;   // 1…2^31 - 1; nullopt: not given, or no such number
  bool ob = false;                       // the URI's parameter of that name (RFC 5626 §5.4)
};
// The URI parses, unless it is "*". Views into `value`.
result<contact> parse_contact(std::string_view value);

// "0.5", "1.000" → thousandths (RFC 3261 §25.1 qvalue).
result<int> parse_qvalue(std::string_view text);

} // namespace skald::sip
