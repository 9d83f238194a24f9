#pragma once
// Resource records as values: what the zone wants, what a server has, and the difference of the two.
#include "base/endpoint.hpp"
#include "base/errors.hpp"

#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace skald::dnsupdate {

// The types we make or look at; others that a server sends are left out when it is read.
enum class rr_type : std::uint16_t { a = 1, ns = 2, soa = 6, txt = 16, aaaa = 28, srv = 33, naptr = 35 };
std::string_view to_string(rr_type t);

struct record {
  std::string name;    // lower case, no final dot
  rr_type type = rr_type::a;
  std::uint32_t ttl = 0; // seconds
  std::string rdata;   // wire form, uncompressed, names in it in lower case

  auto operator<=>(const record&) const = default;
  bool same_data(const record& o) const { return name == o.name && type == o.type && rdata == o.rdata; }
};

record address_record(std::string name, std::uint32_t ttl, const ip_address& ip); // A or AAAA
record ns_record(std::string name, std::uint32_t ttl, std::string_view server);
record txt_record(std::string name, std::uint32_t ttl, std::span<const std::string> strings); // each at most 255 bytes
struct srv_data {
  std::uint16_t priority = 0, weight = 0, port = 0;
  std::string target;
};
record srv_record_of(std::string name, std::uint32_t ttl, const srv_data& data);
struct naptr_data {
  std::uint16_t order = 0, preference = 0;
  std::string flags, service, replacement;
};
record naptr_record_of(std::string name, std::uint32_t ttl, const naptr_data& data);
struct soa_data {
  std::string primary, mailbox;
  std::uint32_t serial = 0, refresh = 0, retry = 0, expire = 0, minimum = 0;
};
record soa_record(std::string name, std::uint32_t ttl, const soa_data& data);

// What a record points at; `malformed` for another type or rdata that does not parse.
result<srv_data> read_srv(const record& r);
result<naptr_data> read_naptr(const record& r); // the regexp is left out
result<soa_data> read_soa(const record& r);
result<std::vector<std::string>> read_txt(const record& r);
result<ip_address> read_address(const record& r);

std::string data_text(const record& r); // as in a zone file: "10 100 5060 a.example.com."
std::string line_text(const record& r); // a whole line of one

// Domain names. `to_dname` is empty if the text is no name (a label over 63 bytes, over 255 in all).
std::string to_dname(std::string_view text);
std::string from_dname(std::string_view wire, std::size_t offset = 0); // "" if it is none
bool is_under(std::string_view name, std::string_view zone); // the zone itself too

} // namespace skald::dnsupdate
