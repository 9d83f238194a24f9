#include "sip/sdp/sdp.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace skald::sip {

namespace {

constexpr auto npos = std::string_view::npos;

// The next word of a line; words are separated by single spaces, more are tolerated.
std::string_view take_word(std::string_view& rest) {
  const std::size_t begin = rest.find_first_not_of(' ');
  if (begin == npos) {
    rest = {};
    return {};
  }
  rest.remove_prefix(begin);
  const std::string_view word = rest.substr(0, rest.find(' '));
  rest.remove_prefix(word.size());
  return word;
}

bool to_u16(std::string_view text, std::uint16_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

// "IN IP4 192.0.2.1/127"
result<sdp_connection> take_connection(std::string_view& rest) {
  const std::string_view network = take_word(rest);
  sdp_connection out{.family = take_word(rest), .address = take_word(rest)};
  out.address = out.address.substr(0, out.address.find('/'));
  if (network.empty() || out.family.empty() || out.address.empty()) return std::unexpected(errc::malformed);
  return out;
}

result<sdp_origin> parse_origin(std::string_view rest) {
  sdp_origin out{.user = take_word(rest), .session_id = take_word(rest), .version = take_word(rest), .connection = {}};
  const auto connection = take_connection(rest);
  if (!connection) return std::unexpected(connection.error());
  out.connection = *connection;
  return out;
}

result<sdp_media> parse_media(std::string_view rest) {
  sdp_media out;
  out.kind = take_word(rest);
  const std::string_view ports = take_word(rest);
  const std::size_t slash = ports.find('/');
  out.port_text = ports.substr(0, slash);
  out.protocol = take_word(rest);
  const std::size_t formats = rest.find_first_not_of(' ');
  if (formats != npos) out.formats = rest.substr(formats);
  if (out.protocol.empty() || !to_u16(out.port_text, out.port)) return std::unexpected(errc::malformed);
  if (slash != npos && !to_u16(ports.substr(slash + 1), out.port_count)) return std::unexpected(errc::malformed);
  return out;
}

struct reader {
  sdp out;
  bool has_version = false, has_origin = false;

  result<void> take(char kind, std::string_view value, std::size_t offset, std::string_view text) {
    if (!has_version) { // v=0 is the first line (RFC 8866 §5.1)
      has_version = true;
      return kind == 'v' && value == "0" ? result<void>{} : std::unexpected(errc::malformed);
    }
    if (kind == 'o') return keep_origin(value);
    if (kind == 'c') return keep_connection(value);
    if (kind == 'm') return keep_media(value, offset, text);
    return {};
  }
  result<void> keep_origin(std::string_view value) {
    const auto origin = parse_origin(value);
    if (!origin) return std::unexpected(origin.error());
    out.origin = *origin;
    has_origin = true;
    return {};
  }
  result<void> keep_connection(std::string_view value) {
    const auto connection = take_connection(value);
    if (!connection) return std::unexpected(connection.error());
    // A medium may have several (layered multicast); the first is where it begins.
    std::optional<sdp_connection>& place = out.media.empty() ? out.connection : out.media.back().connection;
    if (!place) place = *connection;
    return {};
  }
  result<void> keep_media(std::string_view value, std::size_t offset, std::string_view text) {
    if (out.media.size() == sdp_media_max) return std::unexpected(errc::too_large);
    auto media = parse_media(value);
    if (!media) return std::unexpected(media.error());
    end_section(offset);
    media->section = text.substr(offset);
    out.media.push_back(*media);
    return {};
  }
  // Sections are kept open to the end of the text until the next one begins.
  void end_section(std::size_t offset) {
    if (out.media.empty()) return;
    std::string_view& open = out.media.back().section;
    const std::size_t begin = text_size - open.size();
    open = open.substr(0, offset - begin);
  }
  std::size_t text_size = 0;
};

} // namespace

result<sdp> parse_sdp(std::string_view text) {
  reader lines;
  lines.text_size = text.size();
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t newline = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, newline - at);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) {
      if (line.size() < 2 || line[1] != '=') return std::unexpected(errc::malformed);
      if (const auto taken = lines.take(line[0], line.substr(2), at, text); !taken) return std::unexpected(taken.error());
    }
    at = newline + 1;
  }
  if (!lines.has_version || !lines.has_origin) return std::unexpected(errc::malformed);
  return std::move(lines.out);
}

} // namespace skald::sip
