#include "sip/resolve/resolution.hpp"

#include "base/encoding.hpp"
#include "sip/resolve/srv_order.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace skald::sip {

namespace {

constexpr std::size_t dns_name_max = 253;

std::uint16_t default_port(transport t) {
  return t == transport::tls ? 5061 : 5060;
}

std::string without_final_dot(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  return std::string(name);
}

// RFC 3263 §4.1: SIP+D2U, SIP+D2T, SIPS+D2T; WebSocket and SCTP are not ours.
std::optional<transport> naptr_transport(std::string_view service) {
  if (equal_nocase(service, "SIP+D2U")) return transport::udp;
  if (equal_nocase(service, "SIP+D2T")) return transport::tcp;
  if (equal_nocase(service, "SIPS+D2T")) return transport::tls;
  return std::nullopt;
}

// The transport that the URI itself names. nullopt inside: one that is not spoken.
std::optional<std::optional<transport>> explicit_transport(const uri& where) {
  const auto named = where.param("transport");
  if (!named) return std::nullopt;
  const bool secure = where.scheme == uri_scheme::sips;
  if (equal_nocase(*named, "tls")) return std::optional(transport::tls); // deprecated, and everywhere
  if (equal_nocase(*named, "tcp")) return std::optional(secure ? transport::tls : transport::tcp); // RFC 3261 §26.2.2
  if (equal_nocase(*named, "udp") && !secure) return std::optional(transport::udp);
  return std::optional<transport>();
}

} // namespace

resolution::resolution(const uri& where, const resolve_options& options, rng& random)
    : options_(options), random_(random) {
  start(where);
}

// RFC 3263 §4.1 and §4.2, up to the first question
void resolution::start(const uri& where) {
  if (where.scheme != uri_scheme::sip && where.scheme != uri_scheme::sips) return finish(resolve_status::unsupported);
  secure_ = where.scheme == uri_scheme::sips;
  domain_ = without_final_dot(where.host);
  target_ = without_final_dot(where.param("maddr").value_or(where.host));
  const auto wished = explicit_transport(where);
  if (wished && (!*wished || !speaks(**wished))) return finish(resolve_status::unsupported);
  const transport by_default = secure_ ? transport::tls : transport::udp;
  const transport way = wished ? **wished : by_default;

  const auto numeric = ip_address::parse(target_);
  if (numeric || where.port != 0) {
    if (!speaks(way)) return finish(resolve_status::unsupported);
    if (!numeric) return plain_host(way, where.port);
    hosts_ = {{way, target_, where.port ? where.port : default_port(way), *numeric}};
    return conclude();
  }
  if (target_.empty() || target_.size() > dns_name_max) return finish(resolve_status::not_found);
  if (wished) { // no NAPTR: the transport is known (§4.1)
    services_ = {srv_service(way)};
    return ask_services();
  }
  phase_ = phase::naptr;
  ask(target_, dns_type::naptr);
}

bool resolution::speaks(transport t) const {
  if (secure_ && t != transport::tls) return false;
  return std::ranges::find(options_.transports, t) != options_.transports.end();
}

resolution::service resolution::srv_service(transport t) const {
  switch (t) {
  case transport::udp:
    return {t, "_sip._udp." + target_};
  case transport::tcp:
    return {t, "_sip._tcp." + target_};
  case transport::tls:
  case transport::link:
    return {t, "_sips._tcp." + target_};
  }
  return {t, {}};
}

void resolution::ask(std::string name, dns_type type) {
  const dns_query q{std::move(name), type};
  if (std::ranges::find(open_, q) != open_.end()) return;
  if (asked_ == resolve_queries_max) return;
  ++asked_;
  open_.push_back(q);
  untaken_.push_back(q);
}

std::vector<dns_query> resolution::take_queries() {
  return std::exchange(untaken_, {});
}

void resolution::answer(const dns_query& question, const dns_answer& reply) {
  const auto it = std::ranges::find(open_, question);
  if (it == open_.end()) return;
  open_.erase(it);
  (reply.status == dns_status::failure ? trouble_ : heard_) = true;
  switch (phase_) {
  case phase::naptr:
    return take_naptr(reply);
  case phase::srv:
    for (service& s : services_)
      if (question.type == dns_type::srv && s.name == question.name && reply.status == dns_status::ok) {
        s.refused = is_refusal(reply.srv);
        s.records = order_srv(reply.srv, random_);
      }
    if (open_.empty()) services_answered();
    return;
  case phase::addresses:
    if (reply.status == dns_status::ok) addresses_.emplace_back(question, reply.addresses);
    if (open_.empty()) conclude();
    return;
  case phase::done:
    return;
  }
}

void resolution::take_naptr(const dns_answer& reply) {
  std::vector<naptr_record> usable;
  if (reply.status == dns_status::ok)
    for (const naptr_record& r : reply.naptr) {
      const auto t = naptr_transport(r.service);
      if (t && speaks(*t) && equal_nocase(r.flags, "s") && !r.replacement.empty()) usable.push_back(r);
    }
  std::ranges::sort(usable, {},
                    [](const naptr_record& r) { return std::tie(r.order, r.preference, r.service, r.replacement); });
  for (const naptr_record& r : usable)
    if (services_.size() < resolve_services_max)
      services_.push_back({*naptr_transport(r.service), without_final_dot(r.replacement)});
  // §4.1: none, or none that we speak, or no answer: SRV for each transport that we speak
  if (services_.empty())
    for (const transport t : options_.transports)
      if (speaks(t) && services_.size() < resolve_services_max) services_.push_back(srv_service(t));
  ask_services();
}

void resolution::ask_services() {
  phase_ = phase::srv;
  for (const service& s : services_)
    ask(s.name, dns_type::srv);
  if (open_.empty()) services_answered();
}

void resolution::services_answered() {
  std::vector<host> hosts;
  for (const service& s : services_)
    for (const srv_record& r : s.records) {
      const auto numeric = ip_address::parse(r.target); // against the RFC, and seen
      hosts.push_back(
          {s.transport, without_final_dot(r.target), r.port, numeric ? std::optional(*numeric) : std::nullopt});
    }
  if (!hosts.empty()) return ask_addresses(std::move(hosts));
  if (std::ranges::any_of(services_, &service::refused)) return finish(resolve_status::not_found); // RFC 2782
  if (!heard_) return finish(resolve_status::failed); // the DNS is dead: another round of time-outs tells no more
  // §4.2: no SRV: the name itself. With the transport of the URI if it names one, else UDP, for sips TLS.
  const transport way = services_.size() == 1 ? services_.front().transport : secure_ ? transport::tls : transport::udp;
  if (!speaks(way)) return finish(resolve_status::unsupported);
  plain_host(way, default_port(way));
}

void resolution::plain_host(transport t, std::uint16_t port) {
  if (target_.empty() || target_.size() > dns_name_max) return finish(resolve_status::not_found);
  ask_addresses({{t, target_, port}});
}

void resolution::ask_addresses(std::vector<host> hosts) {
  phase_ = phase::addresses;
  if (hosts.size() > resolve_hosts_max) hosts.resize(resolve_hosts_max);
  hosts_ = std::move(hosts);
  for (const host& h : hosts_)
    if (!h.numeric)
      for (const ip_family f : options_.families)
        ask(h.name, f == ip_family::v4 ? dns_type::a : dns_type::aaaa);
  if (open_.empty()) conclude();
}

target resolution::make_target(const host& h, const ip_address& ip) const {
  return {.transport = h.transport,
          .remote = {ip, h.port},
          .tls_name = h.transport == transport::tls ? domain_ : std::string{}};
}

void resolution::conclude() {
  std::vector<target> targets;
  const auto add = [&](const host& h, const ip_address& ip) {
    target t = make_target(h, ip);
    const bool wanted = std::ranges::find(options_.families, ip.family) != options_.families.end();
    if (wanted && targets.size() < resolve_targets_max && std::ranges::find(targets, t) == targets.end())
      targets.push_back(std::move(t));
  };
  for (const host& h : hosts_) {
    if (h.numeric)
      add(h, *h.numeric);
    else
      for (const ip_family f : options_.families)
        for (const auto& [question, addresses] : addresses_)
          if (question.name == h.name && question.type == (f == ip_family::v4 ? dns_type::a : dns_type::aaaa))
            for (const ip_address& ip : addresses)
              add(h, ip);
  }
  if (targets.empty()) return finish(trouble_ ? resolve_status::failed : resolve_status::not_found);
  phase_ = phase::done;
  outcome_ = resolved{resolve_status::ok, std::move(targets)};
}

void resolution::finish(resolve_status status) {
  phase_ = phase::done;
  outcome_ = resolved{status, {}};
}

} // namespace skald::sip
