#pragma once
// From, To, Contact, Route, Record-Route, Path, P-Asserted-Identity: [display-name] <uri> ;params  (RFC 3261 §20.10, §25.1).
#include "base/errors.hpp"
#include "sip/message/uri.hpp"

#include <optional>
#include <string_view>

namespace skald::sip {

struct name_addr {
  std::string_view display;  // without quotes, escapes left in
  std::string_view uri_text;
  std::string_view params;   // header parameters, with the first ';', or empty
  bool in_brackets = false;

  std::optional<std::string_view> param(std::string_view name) const; // a quoted value without its quotes
  std::string_view tag() const { return param("tag").value_or(std::string_view{}); }
  result<sip::uri> uri() const { return parse_uri(uri_text); }
};
result<name_addr> parse_name_addr(std::string_view value); // without <>, ';' begins header parameters (§20.10)

// ";a=b;c" → the value of `name`; quotes are taken off. Shared by URIs, Via and name-addr.
std::optional<std::string_view> find_param(std::string_view params, std::string_view name);

} // namespace skald::sip
