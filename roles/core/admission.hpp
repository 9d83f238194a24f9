#pragma once
// Overload control at an edge: what is done first, and what is turned away, when work arrives faster than it is done
// (RFC 7339's aim by local means; sip.md §7: 503 tells a phone to use another server). No I/O. One per worker.
//
// Not a level that chooses who is refused, but an order: what comes is read at once, however much there is, and waits in
// lines (waiting_lines.hpp). Requests in a dialog and emergency calls do not wait. Calls are served before registrations,
// and registrations as long as any time is left: so as many are served as can be, whatever comes. A line that stands is
// shortened from its head: who has waited too long is turned away, with a 503 as long as that costs little, else unread. A
// burst that is worked off turns nobody away (the sign is the one of CoDel, RFC 8289: the wait does not go below 50 ms
// for a while). There is no feedback from a measured level to who is taken, hence nothing that swings: the level is told,
// not used.
#include "base/clock.hpp"
#include "base/endpoint.hpp"
#include "base/rng.hpp"
#include "sip/message/message.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace skald::roles {

enum class urgency : std::uint8_t {
  established,  // ACK, CANCEL, anything with a To tag, an emergency call, responses: never waits
  call,         // out of dialog, but not REGISTER
  answer,       // REGISTER with credentials: half of the work for it is done
  registration, // REGISTER without
  flood,        // whatever comes, under overload, from a source that alone sends a quarter of everything
};
inline constexpr std::size_t urgencies = 5;

// `emergency`: user parts that stand for an emergency service (112); urn:service:sos (RFC 5031) always does.
urgency urgency_of(const sip::message& request, std::span<const std::string> emergency);
// Without parsing: answer or registration if that is a REGISTER, else nothing.
std::optional<urgency> first_look(std::string_view bytes);

enum class fate : std::uint8_t {
  serve,
  refuse, // 503 with Retry-After
  drop,   // without a word: so many come that answers would cost what the work does
};

inline constexpr duration admission_interval = milliseconds(100);
inline constexpr duration standing_queue = milliseconds(50); // waiting longer than this is overload, if it lasts
inline constexpr duration standing_time = milliseconds(300); // that long
inline constexpr duration waiting_max = milliseconds(200);   // in a line that stands; under T1, so before the first repetition
inline constexpr std::size_t at_once_max = 32;               // requests in one turn that do not go through a line
inline constexpr duration at_once_waited = milliseconds(5);  // longer than this, and there is more to read first
inline constexpr duration others_wait = seconds(3600);
// Answered with 503 by one worker: so many a second, and one for each request that is served. What is above it is dropped:
// a 503 costs a good part of what a service does, and must not take its time.
inline constexpr std::uint32_t refusals_per_second = 500;
inline constexpr std::uint32_t refusals_at_once = 1000;      // saved up
inline constexpr double level_max = 2.0;

class admission {
public:
  explicit admission(rng& random);

  // Everything from outside, once, before it is read. A source is an IPv4 address, or the /64 of an IPv6 one.
  void heard(const ip_address& source);
  // Whether that is to wait behind everybody else.
  bool floods(const ip_address& source) const { return pressed() && heavy(source); }
  // Whether to do it now. `waited`: since the kernel had it; others_wait if there are lines.
  bool at_once(urgency u, duration waited);
  void turn_ended() { at_once_ = 0; }

  // Whom to take from which line; nothing: nobody, for now. `heads`: how long the first of each line has waited, by
  // urgency; negative: nobody waits.
  struct decision {
    urgency line;
    fate what;
  };
  using waits = std::array<duration, urgencies>;
  std::optional<decision> next(const waits& heads, mono_time now);
  // For one for whom there is no place in its line, or in memory.
  fate turn_away(urgency u);

  // Whether writes have to wait: registrations then do. Often.
  void held_up(bool is) { held_up_ = is; }
  // Once an interval. `floor`: 1: nobody is newly registered, 2: no calls either (memory).
  void tick(double floor);

  // Somebody was turned away in the last second, or is about to be.
  bool pressed() const { return pressed_for_ > 0; }
  // Seconds, spread out so that those turned away do not come back together; more while the level is high.
  std::uint32_t retry_after_s();
  // Up to 1 the share of registrations turned away lately, above it 1 and the share of calls. Without those of `flood`.
  double level() const;

private:
  bool heavy(const ip_address& source) const;
  bool busy() const;
  bool closed(urgency u) const;
  void will_serve(urgency u);
  bool stands(std::size_t line, duration wait, mono_time now);
  std::optional<urgency> first_in_order(const waits& heads);

  // A count-min sketch of the last moments, halved each interval: no source can make it grow.
  static constexpr std::size_t rows = 4, columns = 1024;
  rng& random_;
  std::array<std::uint64_t, rows> seeds_{};
  std::array<std::array<std::uint32_t, columns>, rows> counts_{};
  std::uint32_t total_ = 0;

  std::array<std::optional<mono_time>, urgencies> stands_since_{};
  std::array<std::uint32_t, urgencies> served_{}, turned_away_{}; // in this interval
  double registrations_ = 0, calls_ = 0;                          // shares turned away, smoothed
  double floor_ = 0;
  std::uint32_t refusals_left_;
  std::size_t at_once_ = 0;
  unsigned in_order_ = 0;
  unsigned pressed_for_ = 0; // intervals
  bool held_up_ = false;
};

} // namespace skald::roles
