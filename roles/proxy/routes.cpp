#include "roles/proxy/routes.hpp"

#include "base/encoding.hpp"
#include "base/key_trust.hpp"
#include "base/metrics.hpp"
#include "roles/proxy/attempt.hpp"
#include "sip/message/cseq.hpp"
#include "sip/message/name_addr.hpp"
#include "sip/message/params.hpp"

#include <fmt/format.h>

#include <charconv>

namespace skald::roles {

namespace {

metrics::counter routes_over_limit("skald_proxy_routes_over_limit_total",
                                   "Requests with more Routes of ours than make sense.");

// Two a node of each side; forged chains are not worth opening.
constexpr std::size_t our_routes_max = 8;

std::string without_link_params(const sip::uri& u) {
  return sip::without_params(u, {"stage", "key", "aor", "hop", "edge", "sips", "attach", "orphan", "moved", "dialogs", "vs", "instead-of", "origin",
                                 "turn", "attempt", "round"});
}

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
  if (r.use == leg_use::attach) out += ";attach";
  if (r.orphan) out += ";orphan";
  if (r.moved) out += r.removed ? ";moved=removed" : ";moved";
  if (r.dialogs) out += ";dialogs";
  // From here on nothing is part of where the request goes (loop_hash_of).
  if (names.facts()->view) out += ";vs=" + names.facts()->view->stamp.text();
  if (!r.instead_of.empty()) out += ";instead-of=" + r.instead_of;
  return out + ">";
}

std::string with_attempt(std::string_view link_route, const attempt_params& p) {
  std::string out(link_route.substr(0, link_route.size() - 1));
  out += fmt::format(";origin={:x}", p.origin);
  if (p.turn != 0) out += fmt::format(";turn={}", p.turn);
  if (!p.attempt.empty()) out.append(";attempt=").append(p.attempt);
  if (p.round != 0) out += fmt::format(";round={}", p.round);
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
  r.instead_of = std::string(u->param("instead-of").value_or(std::string_view{}));
  if (u->has_param("attach")) r.use = leg_use::attach;
  r.orphan = u->has_param("orphan");
  r.moved = u->has_param("moved");
  r.removed = u->param("moved") == "removed";
  r.dialogs = u->has_param("dialogs");
  if (const auto attempt = u->param("attempt"); attempt && is_attempt(*attempt)) r.attempt = std::string(*attempt);
  if (const auto origin = u->param("origin")) std::from_chars(origin->data(), origin->data() + origin->size(), r.origin, 16);
  const auto number = [&](std::string_view name) { return sip::parse_number(u->param(name).value_or("0")).value_or(0); };
  r.turn = number("turn");
  r.round = number("round");
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
    const auto keys = names.facts()->keys;
    if (auto t = sip::open_token(u->user, *keys)) r.token = *t;
    // Of a dialog, under a key from before a revocation: as if there were no token, so `dialogs` is asked (consistency.md §8).
    const cluster_key* key = r.token && r.token->kind == sip::token_kind::dialog ? keys->find(sip::key_id_of_token(u->user)) : nullptr;
    if (key != nullptr && distrusted(*key)) {
      r.token.reset();
      r.has_user = false;
      return r;
    }
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
    owned[i] = "<" + without_link_params(*u) + ">";
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
