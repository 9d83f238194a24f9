// What a DNS server (or a forger) sends: to the resolver, to the publisher.
#include "dnsupdate/answer.hpp"
#include "dnsupdate/difference.hpp"
#include "dnsupdate/wire.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

using namespace skald;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view wire(reinterpret_cast<const char*>(data), size);
  for (const sip::dns_type t : {sip::dns_type::a, sip::dns_type::aaaa, sip::dns_type::srv, sip::dns_type::naptr})
    dnsupdate::parse_answer(wire, "_sip._udp.skald.test", t);
  const dnsupdate::request q = dnsupdate::make_query(7, "_sip._udp.skald.test", dnsupdate::rr_type::srv);
  if (const auto r = dnsupdate::read_response(wire, q, {})) {
    for (const dnsupdate::record& one : r->answer) dnsupdate::line_text(one);
    dnsupdate::compare("skald.test", r->authority, r->answer);
  }
  dnsupdate::read_update(wire);
  return 0;
}
