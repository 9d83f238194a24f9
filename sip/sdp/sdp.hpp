#pragma once
// Session descriptions (RFC 8866), as far as a relay and an accountant need them: origin, connection addresses, media
// lines with their ports. Views into the text; every other line is passed by.
#include "base/errors.hpp"

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace skald::sip {

struct sdp_connection {     // c=IN IP4 192.0.2.1/127
  std::string_view family;  // "IP4", "IP6"
  std::string_view address; // an address or a name, without "/ttl"
};

struct sdp_origin { // o=alice 1 2 IN IP4 192.0.2.1
  std::string_view user, session_id, version;
  sdp_connection connection;
};

struct sdp_media {            // m=audio 49170/2 RTP/AVP 0 8
  std::string_view kind;      // "audio"
  std::uint16_t port = 0;     // 0: refused or off
  std::uint16_t port_count = 1;
  std::string_view port_text; // the port as it stands, for whoever writes another one there
  std::string_view protocol;  // "RTP/AVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF" …
  std::string_view formats;   // "0 8"
  std::optional<sdp_connection> connection; // its own, if it has one
  std::string_view section;   // from "m=" to the next "m=" or the end
};

struct sdp {
  sdp_origin origin;
  std::optional<sdp_connection> connection; // the session's
  std::vector<sdp_media> media;

  // Where that medium is to be sent: its own connection, else the session's.
  std::optional<sdp_connection> connection_of(const sdp_media& m) const { return m.connection ? m.connection : connection; }
};

inline constexpr std::size_t sdp_media_max = 64;

// Lines may end in CRLF or LF. Malformed: a line that is not "x=…", no v=0 at the start, no o= line, an o=, c= or m= line
// that does not follow the grammar. too_large: more media than sdp_media_max.
result<sdp> parse_sdp(std::string_view text);

} // namespace skald::sip
