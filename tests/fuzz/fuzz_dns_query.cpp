// What anybody sends to the embedded DNS server.
#include "base/errors.hpp"
#include "dnsupdate/name_server.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

using namespace skald;

namespace {

dnsupdate::name_server& server() {
  static seeded_rng random(1);
  static dnsupdate::name_server s(random);
  static const bool filled = [] {
    std::vector<dnsupdate::record> zone{
        dnsupdate::soa_record("skald.test", 15, {"a.skald.test", "h.skald.test", 1, 60, 15, 3600, 15}),
        dnsupdate::ns_record("skald.test", 3600, "a.skald.test"),
        dnsupdate::naptr_record_of("skald.test", 3600, {10, 10, "s", "SIP+D2T", "_sip._tcp.skald.test"}),
    };
    for (int i = 0; i < 40; ++i) {
      const std::string host = "n" + std::to_string(i) + ".skald.test";
      zone.push_back(dnsupdate::srv_record_of("_sip._udp.skald.test", 15, {10, 100, 5060, host}));
      zone.push_back(dnsupdate::address_record(host, 15, *ip_address::parse("192.0.2." + std::to_string(i + 1))));
    }
    s.set_zone("skald.test", std::move(zone), true);
    return true;
  }();
  SKALD_ASSERT(filled);
  return s;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static mono_time now{};
  now += seconds(1); // the limit is not what is looked at
  const std::string_view query(reinterpret_cast<const char*>(data), size);
  const std::string udp = server().answer(query, *ip_address::parse("198.51.100.1"), false, now);
  SKALD_ASSERT(udp.size() <= dnsupdate::edns_answer_max);
  server().answer(query, *ip_address::parse("198.51.100.1"), true, now);
  return 0;
}
