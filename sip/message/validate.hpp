#pragma once
// What a message must have to be processed at all (RFC 3261 §8.1.1, §8.2, §16.3 step 1; RFC 4475's torture cases).
#include "sip/message/message.hpp"

#include <optional>
#include <string_view>

namespace skald::sip {

struct verdict {
  int status;              // 400 or 505
  std::string_view reason; // a literal: says what is wrong
  bool answer;             // false: drop it in silence (a response, an ACK, or a request whose answer would find nobody)
};

// nullopt: process it. Judges what parse() and parse_lenient() leave open: the version, the Request-URI's form, the
// mandatory headers, headers that may stand only once, the grammar of Via, From, To, CSeq, Contact, Route and
// Record-Route, Max-Forwards in 0…255, Content-Length. Unknown schemes and methods are none of its business.
std::optional<verdict> validate(const message& m);

} // namespace skald::sip
