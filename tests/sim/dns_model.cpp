#include "tests/sim/dns_model.hpp"

#include "dnsupdate/answer.hpp"

#include <algorithm>

namespace skald::sim {
namespace {

namespace du = dnsupdate;
constexpr duration way_min = milliseconds(1), way_max = milliseconds(8), no_answer_udp = seconds(1), no_answer_tcp = seconds(4);
constexpr int query_tries = 3;
constexpr std::uint16_t class_in = 1, class_none = 254, class_any = 255;
constexpr std::uint8_t opcode_update = 5;
constexpr std::size_t dns_header_bytes = 12;

bool is_update(std::string_view wire) {
  return wire.size() >= dns_header_bytes && ((static_cast<std::uint8_t>(wire[2]) >> 3) & 0xf) == opcode_update;
}

du::rr_type wire_type(sip::dns_type t) {
  switch (t) {
  case sip::dns_type::a: return du::rr_type::a;
  case sip::dns_type::aaaa: return du::rr_type::aaaa;
  case sip::dns_type::srv: return du::rr_type::srv;
  case sip::dns_type::naptr: return du::rr_type::naptr;
  }
  return du::rr_type::a;
}

} // namespace

dns_model::dns_model(world& w, std::string d) : time(w), domain(std::move(d)), random_(w.seed() ^ 0x646e73), server_(random_) { reload(); }

void dns_model::reload() {
  auto all = zone_;
  all.push_back(du::soa_record(domain, 3600, {"ns." + domain, "hostmaster." + domain, serial_++, 60, 60, 60, 15}));
  server_.set_zone(domain, std::move(all), true);
}

std::vector<du::record> dns_model::set_of(const std::string& name, du::rr_type type) const {
  std::vector<du::record> out;
  for (const du::record& r : zone_)
    if (r.name == name && r.type == type) out.push_back(r);
  return out;
}

// RFC 2136 §3.2: "does not exist", and "exists, value dependent", where the whole set has to be what is named.
bool dns_model::prerequisites_hold(const du::update_seen& u) const {
  std::size_t named = 0;
  for (const auto& p : u.prerequisites) {
    const auto set = set_of(p.what.name, p.what.type);
    if (p.rr_class == class_none && !set.empty()) return false;
    if (p.rr_class != class_in) continue;
    named = static_cast<std::size_t>(std::ranges::count_if(u.prerequisites, [&](const auto& o) { return o.rr_class == class_in && o.what.name == p.what.name; }));
    const bool there = std::ranges::any_of(set, [&](const du::record& r) { return r.same_data(p.what); });
    if (!there || set.size() != named) return false;
  }
  return !u.prerequisites.empty();
}

std::uint16_t dns_model::apply(const du::update_seen& u) {
  if (!prerequisites_hold(u)) return static_cast<std::uint16_t>(du::rcode::no_such_set);
  for (const auto& c : u.changes) {
    std::erase_if(zone_, [&](const du::record& z) {
      const bool same_set = z.name == c.what.name && z.type == c.what.type;
      return c.rr_class == class_any ? same_set : z.same_data(c.what);
    });
    if (c.rr_class == class_in) zone_.push_back(c.what);
  }
  ++updates_;
  reload();
  if (updated) updated();
  return 0;
}

std::string dns_model::answer(const std::string& wire) {
  if (!is_update(wire)) return server_.answer(wire, *ip_address::parse("198.51.100.1"), true, time.now());
  const auto u = du::read_update(wire);
  std::string out = wire.substr(0, 4) + std::string(8, '\0');
  out[2] = static_cast<char>(out[2] | 0x80);
  out[3] = static_cast<char>(u ? apply(*u) : static_cast<std::uint16_t>(du::rcode::format_error));
  return out;
}

// ---- ways to it

void dns_way::exchange(const endpoint&, std::string wire, bool tcp, du::exchange_port::callback done) {
  world& w = server_.time;
  const auto back = std::make_shared<du::exchange_port::callback>(std::move(done));
  const auto way = [this] { return way_min + duration(random_.below(static_cast<std::uint64_t>((way_max - way_min).count()))); };
  const bool lost_there = random_.chance(server_.loss), lost_back = random_.chance(server_.loss);
  const duration there = way(), again = way();
  if (lost_there || lost_back)
    w.after(tcp ? no_answer_tcp : no_answer_udp, [deliver = deliver_, back] { deliver([back] { (*back)(std::unexpected(errc::expired)); }); });
  if (lost_there) return;
  w.after(there, [server = &server_, deliver = deliver_, back, wire = std::move(wire), lost_back, again] {
    const std::string text = server->answer(wire);
    if (lost_back) return;
    server->time.after(again, [deliver, back, text] { deliver([back, text] { (*back)(text); }); });
  });
}

void dns_way::query(std::string name, sip::dns_type type, sip::dns_port::callback done) { ask(std::move(name), type, query_tries, std::move(done)); }

void dns_way::ask(std::string name, sip::dns_type type, int tries, sip::dns_port::callback done) {
  auto request = du::make_query(static_cast<std::uint16_t>(random_.next()), name, wire_type(type));
  exchange(dns_model::address(), request.wire, false, [this, name = std::move(name), type, tries, done = std::move(done)](result<std::string> got) mutable {
    if (got) return done(du::parse_answer(*got, name, type));
    if (tries > 1) return ask(std::move(name), type, tries - 1, std::move(done));
    done({});
  });
}

} // namespace skald::sim
