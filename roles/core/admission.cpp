#include "roles/core/admission.hpp"

#include "base/source.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/uri.hpp"

#include <algorithm>

namespace skald::roles {
namespace {

constexpr std::uint32_t busy_least = 100;  // in the sketch: about 500 datagrams and requests a second
constexpr std::uint32_t heavy_share = 4;   // a source is heavy over a quarter of everything
constexpr std::uint32_t heavy_least = 64;  // requests in the sketch; below it nobody is
constexpr unsigned pressed_intervals = 10;
constexpr unsigned answers_before_one = 4; // REGISTERs with credentials that are served before one without

constexpr double smoothing = 0.1; // of the level, an interval: a time constant of one second
constexpr double level_least = 0.005;

constexpr std::uint32_t refusals_per_interval = refusals_per_second / 10;
constexpr std::uint32_t retry_least_s = 3, retry_spread_s = 27;
constexpr double retry_first_spread_s = 6; // before the level has risen: who is turned away in the first second is many, too

constexpr std::size_t at(urgency u) { return static_cast<std::size_t>(u); }

std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

double share(std::uint32_t part, std::uint32_t rest) {
  return part == 0 ? 0 : static_cast<double>(part) / (static_cast<double>(part) + static_cast<double>(rest));
}

void follow(double& level, double measured) {
  level += smoothing * (measured - level);
  if (level < level_least) level = 0;
}

bool starts_like(std::string_view bytes, std::string_view lower) {
  return bytes.size() >= lower.size() &&
         std::equal(lower.begin(), lower.end(), bytes.begin(), [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b + ('a' - 'A') : b); });
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

std::optional<urgency> first_look(std::string_view bytes) {
  if (!bytes.starts_with("REGISTER ")) return std::nullopt;
  for (auto end = bytes.find('\n'); end != std::string_view::npos; end = bytes.find('\n', end + 1)) {
    const std::string_view line = bytes.substr(end + 1);
    if (starts_like(line, "authorization")) return urgency::answer;
    if (line.starts_with('\r') || line.starts_with('\n')) break; // the body
  }
  return urgency::registration;
}

admission::admission(rng& random) : random_(random), refusals_left_(refusals_at_once) {
  for (std::uint64_t& s : seeds_) s = random_.next();
}

void admission::heard(const ip_address& source) {
  const std::uint64_t h = std::hash<ip_address>{}(source_of(source));
  for (std::size_t r = 0; r < rows; ++r) ++counts_[r][mix(h ^ seeds_[r]) % columns];
  ++total_;
}

bool admission::heavy(const ip_address& source) const {
  const std::uint64_t h = std::hash<ip_address>{}(source_of(source));
  std::uint32_t least = ~0u;
  for (std::size_t r = 0; r < rows; ++r) least = std::min(least, counts_[r][mix(h ^ seeds_[r]) % columns]);
  return least > heavy_least && least > total_ / heavy_share;
}

// Where little comes, it is not what comes that makes it wait: the machine stood still, and turning away is no help.
bool admission::busy() const { return total_ >= busy_least; }

bool admission::closed(urgency u) const {
  if (u == urgency::established || u == urgency::flood) return false;
  return floor_ >= (u == urgency::registration ? 1.0 : 2.0);
}

bool admission::at_once(urgency u, duration waited) {
  if (u == urgency::established) return true;
  if (waited > at_once_waited || closed(u) || at_once_ >= at_once_max) return false;
  if (u != urgency::call && held_up_ && busy()) return false;
  ++at_once_;
  will_serve(u);
  return true;
}

void admission::will_serve(urgency u) {
  ++served_[at(u)];
  refusals_left_ = std::min(refusals_left_ + 1, refusals_at_once);
}

// RFC 8289 §4: a queue stands when the wait has not been short for a while.
bool admission::stands(std::size_t line, duration wait, mono_time now) {
  auto& since = stands_since_[line];
  if (wait < standing_queue || !busy()) since.reset();
  else if (!since) since = now;
  return since && now - *since >= standing_time;
}

std::optional<urgency> admission::first_in_order(const waits& heads) {
  const auto waits = [&](urgency u) { return heads[at(u)] >= duration{0}; };
  if (waits(urgency::call)) return urgency::call;
  if (held_up_ && busy()) return std::nullopt;
  // In turns, so that those who only send credentials, whatever they are, do not keep everybody else out.
  const bool answer = waits(urgency::answer), registration = waits(urgency::registration);
  if (answer && registration) return ++in_order_ % (answers_before_one + 1) == 0 ? urgency::registration : urgency::answer;
  if (answer) return urgency::answer;
  if (registration) return urgency::registration;
  return waits(urgency::flood) ? std::optional(urgency::flood) : std::nullopt;
}

std::optional<admission::decision> admission::next(const waits& heads, mono_time now) {
  for (std::size_t line = 0; line < urgencies; ++line) {
    const auto u = static_cast<urgency>(line);
    const bool too_long = stands(line, heads[line], now) && heads[line] > waiting_max;
    if (heads[line] >= duration{0} && (too_long || closed(u))) return decision{u, turn_away(u)};
  }
  const auto u = first_in_order(heads);
  if (!u) return std::nullopt;
  will_serve(*u);
  return decision{*u, fate::serve};
}

fate admission::turn_away(urgency u) {
  ++turned_away_[at(u)];
  pressed_for_ = pressed_intervals;
  if (u == urgency::flood || refusals_left_ == 0) return fate::drop;
  --refusals_left_;
  return fate::refuse;
}

void admission::tick(double floor) {
  floor_ = floor;
  const auto both = [](const auto& counts) { return counts[at(urgency::answer)] + counts[at(urgency::registration)]; };
  follow(registrations_, share(both(turned_away_), both(served_)));
  follow(calls_, share(turned_away_[at(urgency::call)], served_[at(urgency::call)]));
  served_.fill(0);
  turned_away_.fill(0);
  refusals_left_ = std::min(refusals_left_ + refusals_per_interval, refusals_at_once);
  if (pressed_for_ > 0) --pressed_for_;
  for (auto& row : counts_)
    for (std::uint32_t& c : row) c /= 2;
  total_ /= 2;
}

double admission::level() const {
  if (floor_ >= 1) return std::max(floor_, calls_ > 0 ? 1 + calls_ : 0);
  return calls_ > 0 ? 1 + calls_ : registrations_;
}

std::uint32_t admission::retry_after_s() {
  const double reach = std::max(retry_first_spread_s, 1 + retry_spread_s * std::min(1.0, level()));
  return retry_least_s + static_cast<std::uint32_t>(random_.below(static_cast<std::uint64_t>(reach)));
}

} // namespace skald::roles
