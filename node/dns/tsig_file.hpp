#pragma once
// TSIG keys as tsig-keygen (BIND) and keymgr (Knot) write them, and as ALGORITHM:NAME:SECRET.
#include "base/errors.hpp"

#include <string>
#include <string_view>

namespace skald::node {

struct tsig_key_text {
  std::string name, algorithm, secret; // secret: base64; never shown
};
outcome<tsig_key_text> read_tsig_file(std::string_view text);

} // namespace skald::node
