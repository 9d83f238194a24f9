#include "node/dns/tsig_file.hpp"

#include "base/encoding.hpp"

#include <optional>
#include <regex>

namespace skald::node {
namespace {

std::optional<std::string> match(const std::string& text, const char* pattern) {
  std::smatch m;
  if (!std::regex_search(text, m, std::regex(pattern, std::regex::icase))) return std::nullopt;
  return m[1].str();
}

} // namespace

outcome<tsig_key_text> read_tsig_file(std::string_view raw) {
  const failure wrong{"the TSIG file holds no key", "write it with: tsig-keygen -a hmac-sha256 skald, or as hmac-sha256:NAME:SECRET"};
  if (raw.size() > 65'536) return std::unexpected(wrong);
  const std::string text(raw);
  std::optional<std::string> name, algorithm, secret;
  if (std::smatch m; std::regex_search(text, m, std::regex(R"(^\s*(hmac-[a-z0-9]+):([^:\s]+):([A-Za-z0-9+/=]+)\s*$)"))) {
    algorithm = m[1], name = m[2], secret = m[3];
  } else {
    name = match(text, R"re(\bkey\s+"?([A-Za-z0-9._-]+)"?\s*\{)re"); // BIND
    if (!name) name = match(text, R"(\bid:\s*"?([A-Za-z0-9._-]+))"); // Knot
    algorithm = match(text, R"re(\balgorithm:?\s+"?([a-z0-9-]+))re");
    secret = match(text, R"re(\bsecret:?\s+"?([A-Za-z0-9+/=]+))re");
  }
  if (!name || !secret || !from_base64(*secret)) return std::unexpected(wrong);
  return tsig_key_text{*name, algorithm.value_or("hmac-sha256"), *secret};
}

} // namespace skald::node
