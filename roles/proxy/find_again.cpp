// A party of a dialog whose flow is gone: who it is, and how else it can be reached (sip.md §3, §6).
#include "base/metrics.hpp"
#include "roles/core/location.hpp"
#include "roles/proxy/identity.hpp"
#include "roles/proxy/in_dialog.hpp"
#include "roles/proxy/stages.hpp"

#include <algorithm>

namespace skald::roles {

namespace {

std::optional<dialog_record> record_in(std::span<const dht::record> records, const sip::message& m) {
  const std::string item = dialog_item(m.line(sip::header::call_id).value_or(std::string_view{}), tag_of(m, sip::header::from), tag_of(m, sip::header::to));
  for (const dht::record& r : records) {
    if (r.item != item) continue;
    if (auto d = decode_dialog(r.value)) return std::move(*d);
  }
  return std::nullopt;
}

} // namespace

// Asks `dialogs` at the owner of From's, then of To's AoR (sip.md §3).
void ask_dialogs(worker& w, const name_index& names, const sip::message& m, dialog_found done) {
  std::vector<std::string> aors;
  if (auto a = from_aor(names, m)) aors.push_back(*a);
  if (auto a = to_aor(names, m); a && (aors.empty() || aors[0] != *a)) aors.push_back(*a);
  if (aors.empty()) return done(std::nullopt);
  lookup_records(w.env, dht::table::dialogs, dht::key_of_aor(aors[0]),
                 [&w, alive = w.alive, m, aors, done = std::move(done)](dht::fetch_result got) mutable {
                   if (!*alive) return;
                   if (auto d = record_in(got.records, m)) return done(std::move(d));
                   if (aors.size() < 2) return done(std::nullopt);
                   lookup_records(w.env, dht::table::dialogs, dht::key_of_aor(aors[1]),
                                  [alive, m, done = std::move(done)](dht::fetch_result more) mutable {
                                    if (*alive) done(record_in(more.records, m));
                                  });
                 });
}

namespace {

metrics::counter by_newer_flow("skald_proxy_found_again_total", "In-dialog requests whose flow was gone.", R"(by="newer_flow")");
metrics::counter by_contact("skald_proxy_found_again_total", "In-dialog requests whose flow was gone.", R"(by="contact")");
metrics::counter not_found("skald_proxy_found_again_total", "In-dialog requests whose flow was gone.", R"(by="nothing")");

struct lost_party {
  std::shared_ptr<const name_index> names;
  sip::message m;
  our_route lost;
  bool secure = false;
  way_found done;
};

// The Contact is the remote target, which stands in the Request-URI. Where the flow came from that very place no NAT is
// before it, and it can be reached from anywhere.
bool is_reachable(const lost_party& p) {
  const auto u = sip::parse_uri(p.m.request_uri());
  const auto ip = u ? ip_address::parse(u->host) : std::unexpected(errc::malformed);
  const sip::token& t = *p.lost.token;
  if (!ip || ip->is_private() || *ip != t.remote.ip) return false;
  if (sip::is_stream(t.transport)) return true; // the port in Contact is where it listens
  const bool here = t.node == p.names->facts()->view->self.head();
  return !here && (u->port == 0 ? 5060 : u->port) == t.remote.port; // from here it was tried
}

void try_contact(lost_party p) {
  const bool ok = is_reachable(p) && (!p.secure || p.lost.token->transport == sip::transport::tls);
  (ok ? by_contact : not_found).add();
  if (!ok) return p.done(std::unexpected(430));
  way out = way_outside(*p.names, std::move(p.m));
  out.unreachable = 430; // 500 to who asks: it ends nothing
  p.done(std::move(out));
}

// Over the newest flow of the binding, if that is another one.
std::expected<way, int> way_by_binding(worker& w, const lost_party& p, const binding& b) {
  if (b.path.empty()) return std::unexpected(430);
  auto edge = read_our_route(*p.names, p.lost.token->local, b.path.front());
  if (!edge || !edge->token) return std::unexpected(430);
  const sip::token &old = *p.lost.token, &now = *edge->token;
  if (now.node == old.node && now.transport == old.transport && now.remote == old.remote && now.serial == old.serial)
    return std::unexpected(430);
  sip::message m = p.m;
  for (std::size_t i = b.path.size(); i-- > 1;)
    m.prepend(sip::header::route, b.path[i]);
  edge->token->binding_id = b.id;
  return way_by_token(w, *p.names, std::move(m), *edge, p.secure);
}

void try_bindings(worker& w, const std::string& aor, lost_party p) {
  lookup(w.env, aor, [&w, alive = w.alive, p = std::move(p)](location_result found) mutable {
    if (!*alive) return;
    const std::uint64_t id = p.lost.token->binding_id;
    for (const binding& b : found.bindings) {
      if (b.id != id) continue;
      auto to = way_by_binding(w, p, b);
      if (!to) break;
      by_newer_flow.add();
      return p.done(std::move(to));
    }
    try_contact(std::move(p));
  });
}

} // namespace

void find_again(worker& w, std::shared_ptr<const name_index> names, sip::message m, our_route lost, bool secure,
                way_found done) {
  lost_party p{std::move(names), std::move(m), std::move(lost), secure, std::move(done)};
  const sip::token& t = *p.lost.token;
  if (t.binding_id == 0) return try_contact(std::move(p));
  // Whose partition the token names: mostly that of To, which is the party that is asked.
  const auto to = to_aor(*p.names, p.m);
  if (to && partition_of(dht::key_of_aor(*to)) == t.partition) return try_bindings(w, *to, std::move(p));
  const name_index& n = *p.names;
  const sip::message copy = p.m;
  ask_dialogs(w, n, copy, [&w, p = std::move(p)](std::optional<dialog_record> d) mutable {
    if (d)
      for (const dialog_party* party : {&d->caller, &d->callee})
        if (party->binding_id == p.lost.token->binding_id && !party->aor.empty())
          return try_bindings(w, party->aor, std::move(p));
    try_contact(std::move(p));
  });
}

} // namespace skald::roles
