#include "roles/registrar/answer.hpp"

#include "sip/message/reply.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>

namespace skald::roles {
namespace {

std::string contact_value(const binding& b, unix_ms now) {
  // Rounded up: what was granted this instant is shown whole.
  const std::int64_t left_s = std::max<std::int64_t>(0, (b.expires - now + 999) / 1000);
  return fmt::format("<{}>{};expires={}", b.contact, b.contact_params, left_s);
}

} // namespace

std::string sip_date(unix_ms t) {
  static constexpr std::array days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array months{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::chrono::sys_time<milliseconds> at{milliseconds(t)};
  const auto day = std::chrono::floor<std::chrono::days>(at);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(std::chrono::floor<seconds>(at - day));
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT", days[std::chrono::weekday(day).c_encoding()],
                     static_cast<unsigned>(date.day()), months[static_cast<unsigned>(date.month()) - 1],
                     static_cast<int>(date.year()), time.hours().count(), time.minutes().count(), time.seconds().count());
}

sip::message registered(const sip::message& request, const register_request& wanted, const std::vector<binding>& current,
                        const settings& config, unix_ms now, std::string_view to_tag) {
  sip::message m = sip::make_reply(request, 200, {}, to_tag);
  for (const binding& b : current) m.append(sip::header::contact, contact_value(b, now));
  if (wanted.path_wanted) // RFC 3327 §5.3
    for (const std::string& p : wanted.path) m.append(sip::header::path, p);
  if (!config.service_route.empty()) m.append(sip::header::service_route, config.service_route);
  m.append(sip::header::supported, "path, outbound");
  if (wanted.outbound) { // RFC 5626 §6: phones ping only if told so
    m.append(sip::header::require, "outbound");
    m.append(sip::header::flow_timer, flow_timer_s);
  }
  m.append(sip::header::date, sip_date(now));
  return m;
}

sip::message refused(const sip::message& request, const register_refusal& why, std::string_view to_tag) {
  sip::message m = sip::make_reply(request, why.status, why.reason, to_tag);
  if (why.what != sip::header::other) m.append(why.what, why.value);
  return m;
}

sip::message try_again(const sip::message& request, std::uint32_t after_s, std::string_view to_tag) {
  sip::message m = sip::make_reply(request, 500, {}, to_tag);
  m.append(sip::header::retry_after, std::to_string(after_s));
  return m;
}

} // namespace skald::roles
