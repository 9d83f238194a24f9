#include "certs/pem.hpp"

#include "base/encoding.hpp"

namespace skald::certs {
namespace {
constexpr std::string_view begin_mark = "-----BEGIN ";
constexpr std::string_view dashes = "-----";
} // namespace

result<std::vector<pem_block>> pem_decode(std::string_view text) {
  std::vector<pem_block> out;
  for (;;) {
    const auto begin = text.find(begin_mark);
    if (begin == std::string_view::npos) return out;
    if (out.size() == pem_blocks_max) return std::unexpected(errc::too_large);
    text.remove_prefix(begin + begin_mark.size());
    const auto label_end = text.find(dashes);
    if (label_end == std::string_view::npos) return std::unexpected(errc::malformed);
    const std::string label(text.substr(0, label_end));
    text.remove_prefix(label_end + dashes.size());
    const std::string end_mark = "-----END " + label + "-----";
    const auto end = text.find(end_mark);
    if (end == std::string_view::npos) return std::unexpected(errc::incomplete);
    std::string packed;
    for (const char c : text.substr(0, end))
      if (c != '\n' && c != '\r' && c != ' ' && c != '\t') packed.push_back(c);
    auto bytes = from_base64(packed);
    if (!bytes) return std::unexpected(bytes.error());
    out.push_back({label, std::move(*bytes)});
    text.remove_prefix(end + end_mark.size());
  }
}

std::string pem_encode(std::string_view label, std::string_view bytes) {
  const std::string packed = to_base64(bytes);
  std::string out;
  out.append("-----BEGIN ").append(label).append("-----\n");
  for (std::size_t at = 0; at < packed.size(); at += 64) out.append(packed, at, 64).push_back('\n');
  out.append("-----END ").append(label).append("-----\n");
  return out;
}

} // namespace skald::certs
