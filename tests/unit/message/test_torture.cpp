// RFC 4475 and RFC 5118, every message of them, as the parser and `validate` take it from a datagram. What the RFCs
// leave open ("may be liberal") is decided here, in the table.
#include "sip/message/message.hpp"
#include "sip/message/reply.hpp"
#include "sip/message/validate.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

using namespace skald;
using namespace skald::sip;

namespace {

enum class fate : std::uint8_t {
  taken,    // processed further; what comes then (404, 416, 420 …) is for the stages behind
  bad,      // answered 400
  version,  // answered 505
  silence,  // dropped
};

struct torture_case {
  std::string_view file;
  std::string_view section;
  fate expected;
};

constexpr torture_case cases[] = {
    // RFC 4475 §3.1.1: valid messages
    {"rfc4475/wsinv.dat", "3.1.1.1", fate::taken},
    {"rfc4475/intmeth.dat", "3.1.1.2", fate::taken},
    {"rfc4475/esc01.dat", "3.1.1.3", fate::taken},
    {"rfc4475/escnull.dat", "3.1.1.4", fate::taken},
    {"rfc4475/esc02.dat", "3.1.1.5", fate::taken},
    {"rfc4475/lwsdisp.dat", "3.1.1.6", fate::taken},
    {"rfc4475/longreq.dat", "3.1.1.7", fate::taken},
    {"rfc4475/dblreq.dat", "3.1.1.8", fate::taken},
    {"rfc4475/semiuri.dat", "3.1.1.9", fate::taken},
    {"rfc4475/transports.dat", "3.1.1.10", fate::taken},
    {"rfc4475/mpart01.dat", "3.1.1.11", fate::taken},
    {"rfc4475/unreason.dat", "3.1.1.12", fate::taken},
    {"rfc4475/noreason.dat", "3.1.1.13", fate::taken},
    // §3.1.2: invalid messages
    {"rfc4475/badinv01.dat", "3.1.2.1", fate::bad},
    {"rfc4475/clerr.dat", "3.1.2.2", fate::bad},
    {"rfc4475/ncl.dat", "3.1.2.3", fate::bad},
    {"rfc4475/scalar02.dat", "3.1.2.4", fate::bad},
    {"rfc4475/scalarlg.dat", "3.1.2.5", fate::silence},
    {"rfc4475/quotbal.dat", "3.1.2.6", fate::bad},
    {"rfc4475/ltgtruri.dat", "3.1.2.7", fate::bad},
    {"rfc4475/lwsruri.dat", "3.1.2.8", fate::bad},
    {"rfc4475/lwsstart.dat", "3.1.2.9", fate::bad},
    {"rfc4475/trws.dat", "3.1.2.10", fate::bad},
    {"rfc4475/escruri.dat", "3.1.2.11", fate::bad},
    {"rfc4475/baddate.dat", "3.1.2.12", fate::taken}, // a Date that nobody here reads
    {"rfc4475/regbadct.dat", "3.1.2.13", fate::bad},
    {"rfc4475/badaspec.dat", "3.1.2.14", fate::bad},
    {"rfc4475/baddn.dat", "3.1.2.15", fate::bad},
    {"rfc4475/badvers.dat", "3.1.2.16", fate::version},
    {"rfc4475/mismatch01.dat", "3.1.2.17", fate::bad},
    {"rfc4475/mismatch02.dat", "3.1.2.18", fate::bad},
    {"rfc4475/bigcode.dat", "3.1.2.19", fate::silence},
    // §3.2: transaction layer; §3.3: application layer
    {"rfc4475/badbranch.dat", "3.2.1", fate::taken},
    {"rfc4475/insuf.dat", "3.3.1", fate::silence}, // no From, To, Call-ID to put into an answer
    {"rfc4475/unkscm.dat", "3.3.2", fate::taken},
    {"rfc4475/novelsc.dat", "3.3.3", fate::taken},
    {"rfc4475/unksm2.dat", "3.3.4", fate::taken},
    {"rfc4475/bext01.dat", "3.3.5", fate::taken},
    {"rfc4475/invut.dat", "3.3.6", fate::taken},
    {"rfc4475/regaut01.dat", "3.3.7", fate::taken},
    {"rfc4475/multi01.dat", "3.3.8", fate::bad},
    {"rfc4475/mcl01.dat", "3.3.9", fate::bad},
    {"rfc4475/bcast.dat", "3.3.10", fate::taken}, // matches no transaction
    {"rfc4475/zeromf.dat", "3.3.11", fate::taken},
    {"rfc4475/cparam01.dat", "3.3.12", fate::taken},
    {"rfc4475/cparam02.dat", "3.3.13", fate::taken},
    {"rfc4475/regescrt.dat", "3.3.14", fate::taken},
    {"rfc4475/sdp01.dat", "3.3.15", fate::taken},
    {"rfc4475/inv2543.dat", "3.4.1", fate::taken},
    // RFC 5118 §4
    {"rfc5118/ipv6-good.dat", "4.1", fate::taken},
    {"rfc5118/ipv6-bad.dat", "4.2", fate::bad},
    {"rfc5118/port-ambiguous.dat", "4.3", fate::taken},
    {"rfc5118/port-unambiguous.dat", "4.4", fate::taken},
    {"rfc5118/via-received-param-with-delim.dat", "4.5", fate::taken},
    {"rfc5118/via-received-param-no-delim.dat", "4.5", fate::taken},
    {"rfc5118/ipv6-in-sdp.dat", "4.6", fate::taken},
    {"rfc5118/mult-ip-in-header.dat", "4.7", fate::taken},
    {"rfc5118/mult-ip-in-sdp.dat", "4.8", fate::taken},
    {"rfc5118/ipv4-mapped-ipv6.dat", "4.9", fate::taken},
    {"rfc5118/ipv6-bug-abnf-3-colons.dat", "4.10", fate::taken},
    {"rfc5118/ipv6-correct-abnf-2-colons.dat", "4.10", fate::taken},
};

std::string read(std::string_view file) {
  std::ifstream in(std::string(TEST_DATA "/torture/").append(file), std::ios::binary);
  REQUIRE(in);
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

std::string_view name_of(fate f) {
  switch (f) {
  case fate::taken: return "taken";
  case fate::bad: return "400";
  case fate::version: return "505";
  case fate::silence: return "silence";
  }
  return "";
}

fate judge(const result<message>& m) {
  if (!m) return fate::silence;
  const auto v = validate(*m);
  if (!v) return fate::taken;
  if (!v->answer) return fate::silence;
  return v->status == 505 ? fate::version : fate::bad;
}

} // namespace

TEST_CASE("torture: each message meets the fate that its RFC names (RFC 4475, RFC 5118)") {
  for (const torture_case& c : cases) {
    CAPTURE(c.file);
    CAPTURE(c.section);
    const auto m = message::parse_lenient(read(c.file));
    const auto why = m ? validate(*m) : std::nullopt;
    CAPTURE(std::string(why ? why->reason : "-"));
    CHECK(name_of(judge(m)) == name_of(c.expected));
  }
}

TEST_CASE("torture: no file is left out of the table") {
  std::set<std::string> listed, present;
  for (const torture_case& c : cases) listed.emplace(c.file);
  for (const std::string folder : {"rfc4475", "rfc5118"})
    for (const auto& entry : std::filesystem::directory_iterator(std::string(TEST_DATA "/torture/") + folder))
      present.insert(folder + '/' + entry.path().filename().string());
  CHECK(listed == present);
}

TEST_CASE("torture: what is taken is written so that it is taken again, with the same values") {
  for (const torture_case& c : cases) {
    if (c.expected != fate::taken) continue;
    CAPTURE(c.file);
    const auto first = message::parse(read(c.file));
    REQUIRE(first);
    const auto second = message::parse(first->serialize());
    REQUIRE(second);
    CHECK_FALSE(validate(*second).has_value());
    CHECK(second->body() == first->body());
    for (int h = 0; h < static_cast<int>(header::other); ++h)
      if (static_cast<header>(h) != header::content_length)
        CHECK(second->values(static_cast<header>(h)) == first->values(static_cast<header>(h)));
  }
}

TEST_CASE("torture: the answer to a broken request is itself sound, where what it copies is") {
  // These have a broken Via, To, From or CSeq, which the answer has to give back as it is.
  const std::set<std::string_view> broken = {"rfc4475/badinv01.dat", "rfc4475/scalar02.dat",   "rfc4475/quotbal.dat",
                                             "rfc4475/badaspec.dat", "rfc4475/baddn.dat",      "rfc4475/multi01.dat"};
  for (const torture_case& c : cases) {
    if ((c.expected != fate::bad && c.expected != fate::version) || broken.contains(c.file)) continue;
    CAPTURE(c.file);
    const auto m = message::parse_lenient(read(c.file));
    REQUIRE(m);
    const auto answer = message::parse(make_reply(*m, 400, {}, "mytag").serialize());
    REQUIRE(answer);
    CHECK_FALSE(validate(*answer).has_value());
  }
}
