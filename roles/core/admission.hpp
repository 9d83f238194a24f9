#pragma once
// Overload control at an edge: what is taken and what is turned away with 503 when work arrives faster than it is done
// (RFC 7339's aim by local means; sip.md §7: 503 tells a phone to use another server). No I/O. One per worker.
//
// The sign is waiting time, not load: the least time that anything waited in a tenth of a second is a queue that stands
// (a burst is not). While it stands the *level* rises, else it falls back to 0 within 5 s. Up to 0.5 registrations
// without credentials are turned away, up to 1 those with them too, up to 1.5 registrations are dropped unread, up to 2
// calls are turned away: a growing share of each. Requests in a dialog, and emergency calls, are taken
// always. A source that alone sends a quarter of everything is turned away first, and at a high level not even read.
#include "base/clock.hpp"
#include "base/endpoint.hpp"
#include "base/rng.hpp"
#include "sip/message/message.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace skald::roles {

enum class urgency : std::uint8_t {
  established,  // ACK, CANCEL, anything with a To tag, an emergency call
  call,         // out of dialog, but not REGISTER
  answer,       // REGISTER with credentials: half of the work for it is done
  registration, // REGISTER without
};
// `emergency`: user parts that stand for an emergency service (112); urn:service:sos (RFC 5031) always does.
urgency urgency_of(const sip::message& request, std::span<const std::string> emergency);

inline constexpr duration admission_interval = milliseconds(100);
inline constexpr duration standing_queue = milliseconds(50); // waiting longer than this is overload
inline constexpr double level_max = 2.0;

class admission {
public:
  explicit admission(rng& random);

  // How long what was read just now had waited in the socket's buffer.
  void waited(duration d);
  // Once an interval: how long the worker's own turn and the node's other queues made things wait, at least; and the
  // least level for other reasons (memory).
  void tick(duration elsewhere, double floor);

  // Counts what a source sends. False: drop it unread; an answer would cost as much as the work.
  bool hears(const ip_address& source, bool registration);
  // Whether to take a request from outside; false: 503 with Retry-After.
  bool judge(urgency u, const ip_address& source);
  bool pressed() const { return level_ > 0; }
  // Seconds, spread out so that those turned away do not come back together; more while the level is high.
  std::uint32_t retry_after_s();

  double level() const { return level_; }

private:
  bool heavy(const ip_address& source) const;

  // A count-min sketch of the last moments, halved each interval: no source can make it grow.
  static constexpr std::size_t rows = 4, columns = 1024;
  rng& random_;
  std::array<std::uint64_t, rows> seeds_{};
  std::array<std::array<std::uint32_t, columns>, rows> counts_{};
  std::uint32_t total_ = 0;
  duration least_ = duration::max();
  double level_ = 0;
  duration last_wait_{0};
  unsigned stood_for_ = 0;   // intervals that the queue has stood
  unsigned pressed_for_ = 0; // intervals at level 1 with the queue still standing
};

} // namespace skald::roles
