#include "roles/proxy/routes.hpp"

#include "base/encoding.hpp"
#include "base/metrics.hpp"
#include "sip/message/cseq.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/params.hpp"

#include <fmt/format.h>

namespace skald::roles {

namespace {

metrics::counter routes_over_limit("skald_proxy_routes_over_limit_total",
                                   "Requests with more Routes of ours than make sense.");

// Two a node of each side; forged chains are not worth opening.
constexpr std::size_t our_routes_max = 8;

std::string host_text(const sip::uri& u) {
  return u.port == 0 ? std::string(u.host) : fmt::format("{}:{}", u.host, u.port);
}

} // namespace

std::string_view to_string(stage s) {
  switch (s) {
  case stage::in:
    return "in";
  case stage::orig:
    return "orig";
  case stage::term:
    return "term";
  case stage::out:
    return "out";
  }
  return "in";
}

std::optional<stage> stage_from(std::string_view text) {
  for (const stage s : {stage::in, stage::orig, stage::term, stage::out})
    if (text == to_string(s)) return s;
  return std::nullopt;
}

std::string make_link_route(const name_index& names, const node_id& to, const link_route& r) {
  std::string out = fmt::format("<sip:{};lr;stage={}", names.host_of(to), to_string(r.stage));
  if (!r.aor.empty()) out += fmt::format(";key={};aor={}", dht::key_of_aor(r.aor).hex(), to_base64url(r.aor));
  if (r.hop > 1) out += fmt::format(";hop={}", r.hop);
  if (!r.edge.empty()) out += ";edge=" + r.edge;
  if (r.secure) out += ";sips";
  if (names.facts()->view) out += ";vs=" + names.facts()->view->stamp.text();
  return out + ">";
}

std::optional<link_route> read_link_route(const name_index& names, std::string_view value) {
  const auto na = sip::parse_name_addr(value);
  if (!na) return std::nullopt;
  const auto u = na->uri();
  if (!u || names.kind_of(u->host, u->port) != host_kind::node) return std::nullopt;
  const auto s = stage_from(u->param("stage").value_or(std::string_view{}));
  if (!s) return std::nullopt;
  link_route r;
  r.stage = *s;
  if (auto aor = from_base64url(u->param("aor").value_or(std::string_view{}))) r.aor = std::move(*aor);
  if (const auto hop = u->param("hop")) r.hop = sip::parse_number(*hop).value_or(stage_hops_max + 1);
  r.edge = std::string(u->param("edge").value_or(std::string_view{}));
  r.secure = u->has_param("sips");
  r.stamp = std::string(u->param("vs").value_or(std::string_view{}));
  return r;
}

std::optional<our_route> read_our_route(const name_index& names, const endpoint& local, std::string_view value) {
  const auto na = sip::parse_name_addr(value);
  if (!na) return std::nullopt;
  const auto u = na->uri();
  if (!u) return std::nullopt;
  our_route r;
  r.host = host_text(*u);
  r.has_user = !u->user.empty();
  if (r.has_user && sip::looks_like_token(u->user)) {
    if (auto t = sip::open_token(u->user, *names.facts()->keys)) r.token = *t;
  }
  if (r.token || names.ours(*u)) return r;
  const auto ip = ip_address::parse(u->host); // the very address it came to, whatever the view says of it
  if (ip && *ip == local.ip && (u->port == 0 ? 5060 : u->port) == local.port) return r;
  return std::nullopt;
}

std::vector<our_route> pop_our_routes(const name_index& names, const endpoint& local, sip::message& m) {
  std::vector<our_route> out;
  while (const auto top = m.first(sip::header::route)) {
    auto r = read_our_route(names, local, *top);
    if (!r) break;
    if (out.size() == our_routes_max) {
      routes_over_limit.add();
      break;
    }
    out.push_back(std::move(*r));
    m.remove_first_value(sip::header::route);
  }
  return out;
}

void cut_our_params(const name_index& names, sip::message& m) {
  const std::vector<std::string_view> all = m.values(sip::header::route);
  std::vector<std::string> owned(all.size());
  std::vector<std::string_view> now(all.begin(), all.end());
  bool changed = false;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto na = sip::parse_name_addr(all[i]);
    if (!na) continue;
    const auto u = na->uri();
    if (!u || !u->has_param("stage") || !names.ours(*u)) continue;
    owned[i] = "<" + sip::without_params(*u, {"stage", "key", "aor", "hop", "edge", "sips", "vs"}) + ">";
    now[i] = owned[i];
    changed = true;
  }
  if (changed) m.set_values(sip::header::route, now);
}

token_fit fit_of(const sip::token& t, const sip::message& request) {
  if (t.kind != sip::token_kind::dialog) return token_fit::no;
  const auto call_id = request.line(sip::header::call_id);
  const auto tag = [&](sip::header h) {
    const auto na = sip::parse_name_addr(request.line(h).value_or(std::string_view{}));
    return na ? na->tag() : std::string_view{};
  };
  const std::string_view from = tag(sip::header::from), to = tag(sip::header::to);
  if (!call_id || from.empty()) return token_fit::no;
  if (sip::dialog_hash(*call_id, from) == t.dialog_hash)
    return t.side == sip::token_side::from ? token_fit::sender : token_fit::receiver;
  if (!to.empty() && sip::dialog_hash(*call_id, to) == t.dialog_hash)
    return t.side == sip::token_side::from ? token_fit::receiver : token_fit::sender;
  return token_fit::no;
}

} // namespace skald::roles
