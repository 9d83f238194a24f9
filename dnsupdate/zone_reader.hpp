#pragma once
// Reads from a DNS server, by query, all that the publisher compares with (AXFR is often refused). No I/O: messages leave
// through a port. One thread.
#include "base/clock.hpp"
#include "base/endpoint.hpp"
#include "base/rng.hpp"
#include "dnsupdate/difference.hpp"
#include "dnsupdate/wire.hpp"

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace skald::dnsupdate {

// Port: one try at one server; `done` runs once, soon or later, on the same thread: `expired` when no answer came in
// time (about 1 s; 4 s for TCP). What comes need not be an answer to this request.
class exchange_port {
public:
  using callback = std::move_only_function<void(result<std::string>)>;
  virtual ~exchange_port() = default;
  virtual void exchange(const endpoint& server, std::string wire, bool tcp, callback done) = 0;
};

inline constexpr std::size_t reads_at_once = 16;
inline constexpr int read_tries = 3;
inline constexpr std::size_t hosts_read_max = 2048;

enum class publish_state : std::uint8_t {
  off, reading, sending, published, silent,
  timed_out, servfail, refused, notauth, bad_key, bad_time, another_publisher, bad_answer, not_applied,
};
std::string_view to_string(publish_state s);

struct publish_problem {
  publish_state state;
  std::string text;
};
publish_problem problem_of(const response& r, std::string_view about); // of a response that is not NOERROR

struct zone_seen {
  std::string zone;                 // its apex at the server: the domain or a parent
  std::uint32_t negative_ttl = 0;   // seconds
  std::vector<record> records;      // the guard's too
};

// Runs until `done` is called or it is destroyed; then nothing more happens.
class zone_reader {
public:
  using callback = std::move_only_function<void(std::expected<zone_seen, publish_problem>)>;
  zone_reader(exchange_port& port, rng& random, endpoint server, std::string domain, std::vector<std::string> hosts, callback done);
  ~zone_reader();
  void start();

  struct impl;

private:
  std::shared_ptr<impl> impl_;
};

} // namespace skald::dnsupdate
