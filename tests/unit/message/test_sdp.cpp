#include "sip/sdp/sdp.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace skald;
using namespace skald::sip;

namespace {

constexpr std::string_view offer = "v=0\r\n"
                                   "o=alice 2890844526 2890844527 IN IP4 host.example.org\r\n"
                                   "s=-\r\n"
                                   "c=IN IP4 192.0.2.1/127\r\n"
                                   "t=0 0\r\n"
                                   "m=audio 49170/2 RTP/AVP 0 8\r\n"
                                   "a=rtpmap:0 PCMU/8000\r\n"
                                   "m=video 0 UDP/TLS/RTP/SAVPF 31\n"
                                   "c=IN IP6 2001:db8::1\n";

} // namespace

TEST_CASE("sdp: origin, connections and media are found (RFC 8866 §5)") {
  const auto s = parse_sdp(offer);
  REQUIRE(s);
  CHECK(s->origin.user == "alice");
  CHECK(s->origin.version == "2890844527");
  CHECK(s->origin.connection.address == "host.example.org");
  CHECK(s->connection->address == "192.0.2.1");
  REQUIRE(s->media.size() == 2);
  CHECK(s->media[0].kind == "audio");
  CHECK(s->media[0].port == 49170);
  CHECK(s->media[0].port_count == 2);
  CHECK(s->media[0].port_text == "49170");
  CHECK(s->media[0].formats == "0 8");
  CHECK(s->media[0].section.ends_with("PCMU/8000\r\n"));
  CHECK(s->connection_of(s->media[0])->family == "IP4");
  CHECK(s->media[1].protocol == "UDP/TLS/RTP/SAVPF");
  CHECK(s->media[1].port == 0);
  CHECK(s->connection_of(s->media[1])->address == "2001:db8::1");
  CHECK(s->media[1].section.starts_with("m=video"));
}

TEST_CASE("sdp: what is no description is malformed, too many media are too large") {
  for (const char* bad : {"", "hello", "v=1\r\no=a 1 1 IN IP4 b\r\n", "v=0\r\n", "v=0\r\no=a 1 1 IN\r\n",
                          "v=0\r\no=a 1 1 IN IP4 b\r\nm=audio 99999 RTP/AVP 0\r\n", "v=0\r\no=a 1 1 IN IP4 b\r\nx\r\n"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_sdp(bad));
  }
  std::string many = "v=0\r\no=a 1 1 IN IP4 b\r\n";
  for (std::size_t i = 0; i < sdp_media_max; ++i) many += "m=audio 1 RTP/AVP 0\r\n";
  CHECK(parse_sdp(many));
  CHECK(parse_sdp(many + "m=audio 1 RTP/AVP 0\r\n").error() == errc::too_large);
}
