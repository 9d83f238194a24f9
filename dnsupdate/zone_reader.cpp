#include "dnsupdate/zone_reader.hpp"

#include "dnsupdate/zone.hpp"

#include <algorithm>
#include <deque>
#include <fmt/format.h>

namespace skald::dnsupdate {

std::string_view to_string(publish_state s) {
  switch (s) {
  case publish_state::off: return "off";
  case publish_state::reading: return "reading";
  case publish_state::sending: return "sending";
  case publish_state::published: return "published";
  case publish_state::silent: return "silent";
  case publish_state::timed_out: return "timed_out";
  case publish_state::servfail: return "servfail";
  case publish_state::refused: return "refused";
  case publish_state::notauth: return "notauth";
  case publish_state::bad_key: return "bad_key";
  case publish_state::bad_time: return "bad_time";
  case publish_state::another_publisher: return "another_publisher";
  case publish_state::bad_answer: return "bad_answer";
  case publish_state::not_applied: return "not_applied";
  }
  return "?";
}

publish_problem problem_of(const response& r, std::string_view about) {
  std::string text = fmt::format("{}: the server answers {}", about, rcode_text(r.code));
  if (r.tsig_error != 0) text += fmt::format(" ({})", rcode_text(r.tsig_error));
  const auto error = static_cast<rcode>(r.tsig_error != 0 ? r.tsig_error : r.code);
  publish_state state = publish_state::bad_answer;
  if (error == rcode::bad_time) state = publish_state::bad_time;
  else if (error == rcode::bad_key || error == rcode::bad_signature) state = publish_state::bad_key;
  else if (error == rcode::server_failure) state = publish_state::servfail;
  else if (error == rcode::refused) state = publish_state::refused;
  else if (error == rcode::not_authoritative || error == rcode::not_in_zone) state = publish_state::notauth;
  return {state, std::move(text)};
}

struct zone_reader::impl : std::enable_shared_from_this<zone_reader::impl> {
  struct item {
    asked_set what;
    int tries = 0;
    bool tcp = false;
  };

  impl(exchange_port& p, rng& r, endpoint s, std::string d, callback c)
      : port(p), random(r), server(s), domain(std::move(d)), done(std::move(c)) {}

  void ask_hosts(const std::vector<std::string>& hosts) {
    for (const std::string& h : hosts) {
      if (asked_hosts.size() >= hosts_read_max || !asked_hosts.insert(h).second) continue;
      for (asked_set& s : host_sets(h)) waiting.push_back({std::move(s)});
    }
  }

  void pump() {
    while (!ended && under_way < reads_at_once && !waiting.empty()) {
      item i = std::move(waiting.front());
      waiting.pop_front();
      send(std::move(i));
    }
    if (ended || under_way > 0 || !waiting.empty()) return;
    ended = true;
    done(std::move(seen));
  }

  void send(item i) {
    ++under_way;
    ++i.tries;
    request q = make_query(static_cast<std::uint16_t>(random.next()), i.what.name, i.what.type);
    std::string wire = q.wire;
    const bool tcp = i.tcp; // before `i` is moved from
    port.exchange(server, std::move(wire), tcp, [weak = weak_from_this(), i = std::move(i), q = std::move(q)](result<std::string> got) mutable {
      const auto self = weak.lock();
      if (!self || self->ended) return;
      --self->under_way;
      self->answered(std::move(i), q, std::move(got));
      self->pump();
    });
  }

  void fail(publish_problem p) {
    if (ended) return;
    ended = true;
    done(std::unexpected(std::move(p)));
  }

  void answered(item i, const request& q, result<std::string> got) {
    const auto r = got ? read_response(*got, q, {}) : result<response>(std::unexpected(got.error()));
    const std::string about = fmt::format("{} {}", i.what.name, to_string(i.what.type));
    if (!r) {
      if (i.tries < read_tries) return waiting.push_back(std::move(i));
      if (r.error() == errc::expired) return fail({publish_state::timed_out, about + ": no answer"});
      return fail({publish_state::bad_answer, about + ": no answer that can be read"});
    }
    if (r->truncated && !i.tcp) {
      i.tcp = true;
      i.tries = 0;
      return waiting.push_back(std::move(i));
    }
    if (r->code != 0 && r->code != static_cast<std::uint16_t>(rcode::no_such_name)) return fail(problem_of(*r, about));
    if (!r->authoritative) return fail({publish_state::notauth, fmt::format("{}: the server is not authoritative for it", about)});
    take(i, *r);
  }

  void take(const item& i, const response& r) {
    if (i.what.type == rr_type::soa) return take_soa(r);
    std::vector<record> found;
    for (const record& a : r.answer)
      if (a.name == i.what.name && a.type == i.what.type) found.push_back(a);
    ask_hosts(hosts_in(domain, found));
    seen.records.insert(seen.records.end(), found.begin(), found.end());
  }

  // The zone is where the SOA is: in the answer for the apex, else in the authority section (RFC 2308 §3).
  void take_soa(const response& r) {
    for (const auto* section : {&r.answer, &r.authority})
      for (const record& a : *section) {
        const auto soa = read_soa(a);
        if (!soa || !is_under(domain, a.name) || !seen.zone.empty()) continue;
        seen.zone = a.name;
        seen.negative_ttl = std::min(a.ttl, soa->minimum);
      }
    if (seen.zone.empty()) return fail({publish_state::notauth, fmt::format("the server has no zone for {}", domain)});
    for (asked_set& s : domain_sets(domain)) waiting.push_back({std::move(s)});
    ask_hosts(first_hosts);
  }

  exchange_port& port;
  rng& random;
  endpoint server;
  std::string domain;
  callback done;
  std::vector<std::string> first_hosts;
  std::set<std::string> asked_hosts;
  std::deque<item> waiting;
  std::size_t under_way = 0;
  bool ended = false;
  zone_seen seen;
};

zone_reader::zone_reader(exchange_port& port, rng& random, endpoint server, std::string domain, std::vector<std::string> hosts, callback done)
    : impl_(std::make_shared<impl>(port, random, server, std::move(domain), std::move(done))) {
  impl_->first_hosts = std::move(hosts);
}

zone_reader::~zone_reader() { impl_->ended = true; }

void zone_reader::start() {
  const auto keep = impl_;
  keep->waiting.push_back({{keep->domain, rr_type::soa}});
  keep->pump();
}

} // namespace skald::dnsupdate
