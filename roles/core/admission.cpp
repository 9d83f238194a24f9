#include "roles/core/admission.hpp"

#include "sip/message/name_addr.hpp"
#include "sip/message/uri.hpp"

#include <algorithm>

namespace skald::roles {
namespace {

constexpr double rise_least = 0.05, rise_most = 0.4; // an interval; in between, as the waiting time in seconds
constexpr double rise_past = 0.1;
constexpr double fall = 0.04;
constexpr unsigned standing_least = 3;               // intervals that a queue stands before anybody is turned away
constexpr std::uint32_t busy_least = 100;            // in the sketch: about 500 datagrams and requests a second
constexpr unsigned unread_after = 5;                 // intervals
constexpr double unread_from = 1.0;
constexpr std::uint32_t heavy_share = 4;             // a source is heavy over a quarter of everything
constexpr std::uint32_t heavy_least = 64;            // requests in the sketch; below it nobody is

constexpr std::uint32_t retry_least_s = 3, retry_spread_s = 27;

double seconds_of(duration d) { return std::chrono::duration<double>(d).count(); }

std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

} // namespace

urgency urgency_of(const sip::message& request, std::span<const std::string> emergency) {
  const sip::method m = request.method_id();
  if (m == sip::method::ack || m == sip::method::cancel) return urgency::established;
  const auto to_header = sip::parse_name_addr(request.line(sip::header::to).value_or(std::string_view{}));
  if (to_header && !to_header->tag().empty()) return urgency::established;
  if (m == sip::method::register_) return request.line(sip::header::authorization) ? urgency::answer : urgency::registration;
  const std::string_view to = request.request_uri();
  if (to.starts_with("urn:service:sos")) return urgency::established;
  if (emergency.empty()) return urgency::call;
  const auto uri = sip::parse_uri(to);
  return uri && std::ranges::find(emergency, uri->user) != emergency.end() ? urgency::established : urgency::call;
}

admission::admission(rng& random) : random_(random) {
  for (std::uint64_t& s : seeds_) s = random_.next();
}

void admission::waited(duration d) { least_ = std::min(least_, std::max(d, duration{0})); }

void admission::tick(duration elsewhere, double floor) {
  const duration here = least_ == duration::max() ? duration{0} : least_;
  const duration wait = std::max(here, elsewhere);
  least_ = duration::max();
  // Where little comes, it is not what comes that makes it wait: the machine stood still, and turning away is no help.
  const bool ours = wait > standing_queue && total_ >= busy_least;
  stood_for_ = ours ? stood_for_ + 1 : 0;
  if (!ours) {
    level_ -= fall;
    pressed_for_ = 0;
  } else if (stood_for_ >= standing_least && wait >= last_wait_) { // a queue that shrinks needs no more than patience
    // Past 1 only when turning away all registrations has had the time to shorten the queue; then by small steps.
    const double most = level_ >= 1 && ++pressed_for_ > unread_after ? level_max : std::max(level_, 1.0);
    const double rise = level_ < 1 ? std::clamp(seconds_of(wait), rise_least, rise_most) : rise_past;
    level_ = std::min(level_ + rise, most);
  }
  last_wait_ = wait;
  level_ = std::clamp(level_, std::clamp(floor, 0.0, level_max), level_max);
  for (auto& row : counts_)
    for (std::uint32_t& c : row) c /= 2;
  total_ /= 2;
}

bool admission::hears(const ip_address& source, bool registration) {
  const std::uint64_t h = std::hash<ip_address>{}(source);
  for (std::size_t r = 0; r < rows; ++r) ++counts_[r][mix(h ^ seeds_[r]) % columns];
  ++total_;
  if (level_ < unread_from) return true;
  return !heavy(source) && !(registration && random_.chance(2 * (level_ - unread_from)));
}

bool admission::heavy(const ip_address& source) const {
  const std::uint64_t h = std::hash<ip_address>{}(source);
  std::uint32_t least = ~0u;
  for (std::size_t r = 0; r < rows; ++r) least = std::min(least, counts_[r][mix(h ^ seeds_[r]) % columns]);
  return least > heavy_least && least > total_ / heavy_share;
}

bool admission::judge(urgency u, const ip_address& source) {
  if (!pressed()) return true;
  if (heavy(source)) return !random_.chance(std::min(1.0, heavy_share * level_)); // in everything: a flood of BYEs is a flood
  switch (u) {
  case urgency::established: return true;
  case urgency::call: return !random_.chance(2 * level_ - 3);
  case urgency::answer: return !random_.chance(2 * level_ - 1);
  case urgency::registration: return !random_.chance(2 * level_);
  }
  return true;
}

std::uint32_t admission::retry_after_s() {
  const double reach = retry_least_s + retry_spread_s * std::min(1.0, level_ / level_max);
  return retry_least_s + static_cast<std::uint32_t>(random_.below(static_cast<std::uint64_t>(reach)));
}

} // namespace skald::roles
