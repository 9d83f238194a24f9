#include "roles/proxy/identity.hpp"

#include "base/encoding.hpp"
#include "base/metrics.hpp"
#include "sip/auth/digest.hpp"
#include "sip/message/auth_params.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/params.hpp"

#include <algorithm>

namespace skald::roles {

namespace {

metrics::counter challenges_cut("skald_proxy_challenges_cut_total",
                                "Challenges for our realms that UAs or foreign servers sent.");

constexpr sip::header challenge_headers[] = {sip::header::www_authenticate, sip::header::proxy_authenticate};
constexpr sip::header credential_headers[] = {sip::header::authorization, sip::header::proxy_authorization};

std::vector<std::string_view> lines_of(const sip::message& m, sip::header h) {
  std::vector<std::string_view> out;
  for (const sip::header_field& f : m.fields())
    if (f.id == h) out.push_back(f.value);
  return out;
}

template <class Keep> void keep_lines(sip::message& m, sip::header h, Keep&& keep) {
  const std::vector<std::string_view> all = lines_of(m, h);
  std::vector<std::string_view> kept;
  for (const std::string_view v : all)
    if (keep(v)) kept.push_back(v);
  if (kept.size() != all.size()) m.set_values(h, kept);
}

} // namespace

std::optional<std::string> our_aor_in(const name_index& names, std::string_view value) {
  const auto na = sip::parse_name_addr(value);
  if (!na) return std::nullopt;
  const auto u = na->uri();
  return u ? names.aor_of(*u) : std::nullopt;
}

std::optional<std::string> from_aor(const name_index& names, const sip::message& m) {
  return our_aor_in(names, m.line(sip::header::from).value_or(std::string_view{}));
}

std::optional<std::string> to_aor(const name_index& names, const sip::message& m) {
  return our_aor_in(names, m.line(sip::header::to).value_or(std::string_view{}));
}

std::string_view tag_of(const sip::message& m, sip::header h) {
  const auto na = sip::parse_name_addr(m.line(h).value_or(std::string_view{}));
  return na ? na->tag() : std::string_view{};
}

bool from_is_anonymous(const sip::message& m) {
  const auto na = sip::parse_name_addr(m.line(sip::header::from).value_or(std::string_view{}));
  if (!na) return false;
  const auto u = na->uri();
  return u && equal_nocase(u->host, "anonymous.invalid");
}

bool is_our_realm(const name_index& names, std::string_view value) {
  return names.facts()->config->serves(sip::realm_of(value));
}

std::optional<std::string> credentials_aor(const name_index& names, const sip::message& m, sip::header h) {
  for (const std::string_view value : lines_of(m, h)) {
    const std::string realm = sip::realm_of(value);
    if (!names.facts()->config->serves(realm)) continue;
    const auto parsed = sip::parse_auth_params(value);
    const auto named = parsed ? parsed->get("username") : std::nullopt;
    if (!named || named->empty()) return std::nullopt;
    const std::string username = sip::unquote(*named);
    const std::string_view user = sip::split_username(username, realm).user; // `user` or `user@realm` (sip.md §3)
    const std::string text = "sip:" + sip::escape_user(user) + "@" + realm;
    const auto u = sip::parse_uri(text);
    return u ? names.aor_of(*u) : std::nullopt;
  }
  return std::nullopt;
}

void drop_assertions(sip::message& m) {
  m.remove(sip::header::p_asserted_identity);
}

void assert_identity(sip::message& m, std::string_view aor) {
  m.remove(sip::header::p_preferred_identity);
  m.set(sip::header::p_asserted_identity, "<" + std::string(aor) + ">");
}

void leave_trust(sip::message& m) {
  m.remove(sip::header::p_preferred_identity);
  if (!m.has(sip::header::p_asserted_identity)) return;
  for (const std::string_view line : lines_of(m, sip::header::privacy))
    for (const std::string_view token : sip::split_top_level(line, ';'))
      if (equal_nocase(token, "id") || equal_nocase(token, "user"))
        return drop_assertions(m); // RFC 3325 §7, RFC 3323 §5.3
}

void drop_our_credentials(const name_index& names, sip::message& m) {
  for (const sip::header h : credential_headers)
    keep_lines(m, h, [&](std::string_view v) { return !is_our_realm(names, v); });
}

bool drop_our_challenges(const name_index& names, sip::message& response) {
  std::size_t left = 0;
  for (const sip::header h : challenge_headers) {
    keep_lines(response, h, [&](std::string_view v) {
      const bool ours = is_our_realm(names, v);
      if (ours)
        challenges_cut.add();
      else
        ++left;
      return !ours;
    });
  }
  return left > 0 || (response.status() != 401 && response.status() != 407);
}

bool is_trusted_peer(const settings& s, const sip::arrival& from, unix_ms now) {
  if (s.is_peer(from.flow.remote.ip)) return true;
  if (!from.certified || from.certified->until <= now) return false;
  return std::ranges::any_of(from.certified->names, [&](const std::string& n) { return s.is_peer(n); });
}

} // namespace skald::roles
