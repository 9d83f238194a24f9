#include "roles/proxy/record_route.hpp"

#include "base/encoding.hpp"
#include "dht/ring/ring.hpp"
#include "roles/proxy/identity.hpp"
#include "roles/proxy/routes.hpp"

namespace skald::roles {

bool wants_record_route(sip::method m) {
  using enum sip::method;
  return m == invite || m == subscribe || m == refer || m == notify || m == update; // sip.md §2
}

std::string host_for(const worker_env& env, const name_index& names, const sip::arrival& from, std::string_view named) {
  const cluster_facts& facts = *names.facts();
  const std::string self = names.host_of_self();
  const std::string& domain = facts.config->default_domain;
  if (from.flow.transport == sip::transport::tls) { // the phone checks the certificate against this name
    if (equal_nocase(from.sni, domain) || (!self.empty() && equal_nocase(from.sni, self))) return to_lower(from.sni);
    if (facts.names_in_dns) return domain;
  }
  const bool by_address = ip_address::parse(named).has_value();
  if (by_address || !facts.names_in_dns || self.empty()) return env.flows.advertised(from.flow).text();
  return self;
}

std::string token_uri(std::string_view token, std::string_view host, sip::transport t, uri_use use, bool secure) {
  std::string out = secure ? "<sips:" : "<sip:";
  out.append(token).append("@").append(host);
  // Always, udp too: without it phones ask for _sips._tcp first (seen).
  if (!secure) out.append(";transport=").append(sip::param_name(t));
  out += ";lr";
  if (use == uri_use::path) out += ";ob";
  return out + ">";
}

sip::token describe(const worker_env& env, const name_index& names, const sip::flow& f) {
  sip::token t;
  t.transport = f.transport;
  t.node = names.facts()->view->self.head();
  t.worker = sip::is_stream(f.transport) ? f.worker : env.worker;
  t.serial = f.serial;
  t.local = f.local;
  t.remote = f.remote;
  return t;
}

std::string add_record_route(const worker_env& env, const name_index& names, sip::message& m, const sip::flow& f,
                             std::uint64_t binding_id, sip::token_side side, std::string_view host, bool secure) {
  sip::token t = describe(env, names, f);
  t.kind = sip::token_kind::dialog;
  t.side = side;
  t.binding_id = binding_id;
  const auto aor = side == sip::token_side::from ? from_aor(names, m) : to_aor(names, m);
  if (aor) t.partition = partition_of(dht::key_of_aor(*aor));
  t.dialog_hash =
      sip::dialog_hash(m.line(sip::header::call_id).value_or(std::string_view{}), tag_of(m, sip::header::from));
  const std::string text = sip::seal_token(t, *names.facts()->keys, env.clock.wall());
  m.prepend(sip::header::record_route, token_uri(text, host, f.transport, uri_use::record_route, secure));
  return text;
}

void add_path(const worker_env& env, const name_index& names, sip::message& m, const sip::arrival& from,
              std::string_view aor, std::string_view named) {
  // A Path that a customer's SBC brought stays beneath ours; values that name us are cut off (sip.md §3).
  m.filter_values(sip::header::path, [&](std::string_view v) { return !read_our_route(names, from.flow.local, v); });
  sip::token t = describe(env, names, from.flow);
  t.kind = sip::token_kind::path;
  t.partition = partition_of(dht::key_of_aor(aor));
  const std::string text = sip::seal_token(t, *names.facts()->keys, env.clock.wall());
  const std::string host = host_for(env, names, from, named);
  m.prepend(sip::header::path, token_uri(text, host, from.flow.transport, uri_use::path, false));
}

} // namespace skald::roles
