#pragma once
// PEM as bundles use it (RFC 7468): labelled base64 blocks; text between blocks is ignored.
#include "base/errors.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace skald::certs {

struct pem_block {
  std::string label; // "CERTIFICATE"
  std::string bytes;
};
inline constexpr std::size_t pem_blocks_max = 16;

result<std::vector<pem_block>> pem_decode(std::string_view text);
std::string pem_encode(std::string_view label, std::string_view bytes);

} // namespace skald::certs
