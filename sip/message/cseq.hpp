#pragma once
// CSeq (RFC 3261 §20.16): a number below 2^31 and a method.
#include "base/errors.hpp"
#include "sip/message/header_id.hpp"

#include <cstdint>
#include <string_view>

namespace skald::sip {

struct cseq {
  std::uint32_t number = 0;
  std::string_view method_name;
  method method_id = method::other;
};
result<cseq> parse_cseq(std::string_view value);
// Max-Forwards, Expires, Content-Length, Min-Expires …: decimal digits only, at most 2^32 - 1.
result<std::uint32_t> parse_number(std::string_view value);

} // namespace skald::sip
