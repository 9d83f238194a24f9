#pragma once
// DNS messages that the publisher sends and reads: queries, updates (RFC 2136) signed with TSIG (RFC 8945), and what
// comes back. libknot parses and signs. The time in TSIG is the machine's, read by libknot.
#include "dnsupdate/record.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace skald::dnsupdate {

struct tsig_key {
  std::string name, algorithm, secret; // "hmac-sha256"; base64, never shown
  bool operator==(const tsig_key&) const = default;
  bool empty() const { return name.empty(); }
};
bool usable(const tsig_key& key); // libknot knows the algorithm, the secret is base64

inline constexpr std::size_t udp_message_max = 1232;     // over it: TCP
inline constexpr std::size_t update_bytes_max = 16'384;  // one update; the rest comes in the next one
inline constexpr std::size_t response_records_max = 4096; // what stands behind is left out

struct request {
  std::string wire;
  std::uint16_t id = 0;
  std::string mac; // of TSIG; empty: not signed
};

request make_query(std::uint16_t id, std::string_view name, rr_type type);

struct update {
  std::string zone;
  std::string guard_name;             // TXT whose value is the prerequisite
  std::vector<record> guard_was;      // empty: it must not exist (RFC 2136 §2.4.3); else value dependent (§2.4.2)
  std::vector<record> removed, added; // never the same record in both
};
// `key` empty: not signed. Fails only for a key that is not usable().
result<request> make_update(std::uint16_t id, const update& u, const tsig_key& key);

// Beyond RFC 1035's: what servers say of updates.
enum class rcode : std::uint16_t {
  ok = 0, format_error = 1, server_failure = 2, no_such_name = 3, not_implemented = 4, refused = 5,
  name_exists = 6, set_exists = 7, no_such_set = 8, not_authoritative = 9, not_in_zone = 10, bad_key = 17, bad_signature = 16, bad_time = 18,
};
std::string rcode_text(std::uint16_t code); // "REFUSED", "NOTAUTH (BADKEY)" is composed by the caller

struct response {
  std::uint16_t code = 0;       // of the header and EDNS
  std::uint16_t tsig_error = 0; // 0: none, or no TSIG in the answer
  bool truncated = false, authoritative = false;
  bool verified = false;        // TSIG of the answer fits the request's
  std::vector<record> answer, authority; // types of rr_type, class IN
};
// `malformed` also for an answer to something else (id, question).
result<response> read_response(std::string_view wire, const request& to, const tsig_key& key);

// All records of the types we know, for tests and tools: sections of an UPDATE keep their class apart.
struct update_seen {
  std::string zone;
  struct item {
    record what;
    std::uint16_t rr_class; // 1 IN, 254 NONE, 255 ANY
    bool whole_set;         // empty rdata
  };
  std::vector<item> prerequisites, changes;
  std::uint16_t id = 0;
};
result<update_seen> read_update(std::string_view wire);
struct query_seen {
  std::uint16_t id = 0;
  std::string name;
  std::uint16_t type = 0;
};
result<query_seen> read_query(std::string_view wire);

} // namespace skald::dnsupdate
