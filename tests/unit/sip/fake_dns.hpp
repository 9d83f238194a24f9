#pragma once
// A zone in memory behind a dns_port: answers at once, or when told to.
#include "base/encoding.hpp"
#include "sip/resolve/dns.hpp"

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace skald::sip::test {

class fake_dns final : public dns_port {
public:
  void a(const std::string& name, std::string_view ip) { add_address(name, dns_type::a, ip); }
  void aaaa(const std::string& name, std::string_view ip) { add_address(name, dns_type::aaaa, ip); }
  void srv(const std::string& name, std::uint16_t priority, std::uint16_t weight, std::uint16_t port,
           std::string target) {
    auto& r = record(name, dns_type::srv);
    r.srv.push_back({priority, weight, port, std::move(target)});
  }
  void naptr(const std::string& name, std::uint16_t order, std::uint16_t preference, std::string service,
             std::string replacement, std::string flags = "s") {
    auto& r = record(name, dns_type::naptr);
    r.naptr.push_back({order, preference, std::move(flags), std::move(service), {}, std::move(replacement)});
  }
  void set(const std::string& name, dns_type type, dns_answer answer) { zone[{name, type}] = std::move(answer); }

  void query(std::string name, dns_type type, callback done) override {
    asked.push_back(name + " " +
                    std::string(type == dns_type::a      ? "A"
                                : type == dns_type::aaaa ? "AAAA"
                                : type == dns_type::srv  ? "SRV"
                                                         : "NAPTR"));
    const auto it = zone.find({to_lower(name), type});
    dns_answer reply = it != zone.end() ? it->second : otherwise;
    if (at_once) return done(std::move(reply));
    held.emplace_back(std::move(done), std::move(reply));
  }
  // Answers what was asked so far, the last question first.
  void answer_held() {
    auto now = std::exchange(held, {});
    for (auto it = now.rbegin(); it != now.rend(); ++it)
      it->first(std::move(it->second));
  }

  bool at_once = true;
  dns_answer otherwise{.status = dns_status::nxdomain, .addresses = {}, .srv = {}, .naptr = {}, .ttl = seconds(15)};
  std::vector<std::string> asked;
  std::map<std::pair<std::string, dns_type>, dns_answer> zone;
  std::vector<std::pair<callback, dns_answer>> held;

private:
  dns_answer& record(const std::string& name, dns_type type) {
    dns_answer& r = zone[{name, type}];
    r.status = dns_status::ok;
    r.ttl = seconds(15);
    return r;
  }
  void add_address(const std::string& name, dns_type type, std::string_view ip) {
    record(name, type).addresses.push_back(*ip_address::parse(ip));
  }
};

} // namespace skald::sip::test
