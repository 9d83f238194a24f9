#pragma once
// Parameters of URIs and headers: walking, removing, adding; lists; quoted strings (RFC 3261 §25.1).
#include "sip/message/name_addr.hpp"
#include "sip/message/uri.hpp"

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skald::sip {

struct parameter {
  std::string_view text;  // "name=value" as it stands, without its ';'
  std::string_view name;
  std::string_view value; // as it stands, quotes included
  bool has_value = false;
};
// Takes the first parameter off `rest` (";a=b;c" with its first ';'). Empty ones are skipped. nullopt at the end.
std::optional<parameter> next_param(std::string_view& rest);

using param_names = std::initializer_list<std::string_view>;
// ";a=b;c" without those named; the others stay as they stand.
std::string without_params(std::string_view params, param_names names);
// The URI without those of its parameters.
std::string without_params(const uri& u, param_names names);
// The URI with that parameter set (an old one of that name goes); an empty value: ";name" alone. The text is put in as
// it is: escape it before if it is not ours.
std::string with_param(const uri& u, std::string_view name, std::string_view value);

// The trimmed pieces of `text`, split where `separator` stands in no quoted string and no <>. Empty ones are left out.
std::vector<std::string_view> split_top_level(std::string_view text, char separator);

std::string quote(std::string_view text);          // "…", with '"' and '\' escaped; CR, LF and NUL become spaces
std::string unquote(std::string_view text);        // takes quotes off, if there are any, and escapes away
// %HH for everything that may not stand in a user part (RFC 3261 §25.1).
std::string escape_user(std::string_view text);
bool is_token(std::string_view text);

} // namespace skald::sip
