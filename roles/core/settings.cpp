#include "roles/core/settings.hpp"

#include "base/encoding.hpp"
#include "base/endpoint.hpp"
#include "dht/view/view.hpp"
#include "sip/message/uri.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <optional>

namespace skald::roles {
namespace {

constexpr std::size_t domains_max = 256;
constexpr std::size_t peers_max = 256;
constexpr std::size_t emergency_max = 64;
constexpr std::size_t value_bytes_max = 16 * 1024;
constexpr std::uint32_t grant_floor_s = 10, grant_ceiling_s = 86'400;
constexpr std::string_view tsig_algorithms[] = {"hmac-md5",    "hmac-sha1",   "hmac-sha224",
                                                "hmac-sha256", "hmac-sha384", "hmac-sha512"};

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// People write lists with commas, spaces or both.
std::vector<std::string_view> items_of(std::string_view list) {
  std::vector<std::string_view> out;
  while (!list.empty()) {
    const auto end = std::min(list.find_first_of(", \t"), list.size());
    if (end > 0) out.push_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return out;
}

std::optional<bool> read_bool(std::string_view v) {
  for (const std::string_view yes : {"yes", "true", "on", "1"})
    if (equal_nocase(v, yes)) return true;
  for (const std::string_view no : {"no", "false", "off", "0"})
    if (equal_nocase(v, no)) return false;
  return std::nullopt;
}

std::optional<std::uint32_t> read_number(std::string_view v, std::uint32_t lowest, std::uint32_t highest) {
  std::uint32_t n = 0;
  const auto [end, error] = std::from_chars(v.data(), v.data() + v.size(), n);
  if (error != std::errc{} || end != v.data() + v.size() || n < lowest || n > highest) return std::nullopt;
  return n;
}

bool is_label(std::string_view l) {
  if (l.empty() || l.size() > 63 || l.front() == '-' || l.back() == '-') return false;
  return std::ranges::all_of(l, [](char c) {
    c = lower(c);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

bool is_host_name(std::string_view h) {
  if (h.empty() || h.size() > 253) return false;
  while (true) {
    const auto dot = h.find('.');
    if (!is_label(h.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    h.remove_prefix(dot + 1);
  }
}

std::optional<std::vector<std::string>> read_domains(std::string_view v) {
  std::vector<std::string> out;
  for (const std::string_view d : items_of(v)) {
    if (!is_host_name(d) || ip_address::parse(d)) return std::nullopt;
    std::string name = to_lower(d);
    if (std::ranges::find(out, name) == out.end()) out.push_back(std::move(name));
  }
  if (out.size() > domains_max) return std::nullopt;
  return out;
}

std::optional<std::vector<std::string>> read_algorithms(std::string_view v) {
  std::vector<std::string> out;
  for (const std::string_view a : items_of(v)) {
    std::string name;
    if (equal_nocase(a, "MD5")) name = "MD5";
    if (equal_nocase(a, "SHA-256") || equal_nocase(a, "SHA256")) name = "SHA-256";
    if (name.empty() || std::ranges::find(out, name) != out.end()) return std::nullopt;
    out.push_back(std::move(name));
  }
  if (out.empty()) return std::nullopt;
  return out;
}

// Why this cannot be a peer; "" if it can.
std::string_view wrong_with_peer(std::string_view p) {
  if (ip_address::parse(p)) return {};
  if (p.find('*') != std::string_view::npos) return "wildcards name nobody (RFC 5922 §7.2): list each peer";
  if (p.find('/') != std::string_view::npos) return "networks are not taken: list each address";
  if (p.starts_with("sip:") || p.starts_with("sips:")) return "give the host alone, without sip:";
  if (!is_host_name(p)) return p.find(':') != std::string_view::npos ? "give it without a port" : "that is no host name";
  const std::string_view last = p.substr(p.rfind('.') + 1); // npos + 1 is 0
  const bool number = std::ranges::all_of(last, [](char c) { return c >= '0' && c <= '9'; });
  return number ? "that is neither an IP address nor a host name" : "";
}

template <class T>
void sort_out(std::vector<T>& v) {
  std::ranges::sort(v);
  v.erase(std::unique(v.begin(), v.end()), v.end());
}

bool read_peers(settings& s, std::string_view v) {
  std::vector<ip_address> addresses;
  std::vector<std::string> names;
  for (const std::string_view p : items_of(v)) {
    if (!wrong_with_peer(p).empty()) return false;
    if (const auto a = ip_address::parse(p)) addresses.push_back(*a);
    else names.push_back(to_lower(p));
  }
  sort_out(addresses);
  sort_out(names);
  if (addresses.size() + names.size() > peers_max) return false;
  s.peer_addresses = std::move(addresses);
  s.peer_names = std::move(names);
  return true;
}

// Which of the peers cannot be one, and why.
std::string hint_for_peers(std::string_view v) {
  for (const std::string_view p : items_of(v))
    if (const std::string_view why = wrong_with_peer(p); !why.empty()) return "\"" + std::string(p.substr(0, 200)) + "\": " + std::string(why);
  return "at most " + std::to_string(peers_max) + " peers are taken";
}

std::optional<std::vector<std::string>> read_emergency(std::string_view v) {
  std::vector<std::string> out;
  for (const std::string_view n : items_of(v)) {
    if (n.find_first_of("@<>;\"") != std::string_view::npos) return std::nullopt;
    out.emplace_back(n);
  }
  if (out.size() > emergency_max) return std::nullopt;
  return out;
}

// One Service-Route value of SIP URIs in angle brackets (RFC 3608 §5); each must be a loose route.
bool is_service_route(std::string_view v) {
  if (v.empty()) return true;
  if (v.size() < 3 || v.front() != '<' || v.back() != '>') return false;
  const auto u = sip::parse_uri(v.substr(1, v.size() - 2));
  return u && u->has_param("lr");
}

// "proxy=2,registrar=3"
bool is_role_minimums(std::string_view v) {
  for (std::size_t at = 0; at < v.size();) {
    const auto end = std::min(v.find(',', at), v.size());
    const std::string_view item = v.substr(at, end - at);
    const auto sign = item.find('=');
    if (sign == std::string_view::npos || !dht::role_from(item.substr(0, sign)) || !read_number(item.substr(sign + 1), 0, 64)) return false;
    at = end + 1;
  }
  return !v.ends_with(',');
}

// What one key means: how its text becomes part of the settings; false: not a value it can have.
struct key_rule {
  setting_info info;
  std::string_view expected; // "… has to be EXPECTED"
  bool (*apply)(settings&, std::string_view);
  std::string (*hint)(std::string_view wrong) = nullptr; // what is wrong with a value that apply refused
};

template <class T, class U>
bool take(T& into, std::optional<U> value) {
  if (!value) return false;
  into = std::move(*value);
  return true;
}

const std::vector<key_rule>& rules() {
  static const std::vector<key_rule> all{
      {{"domains", "SIP domains served besides the cluster's own, separated by commas", ""},
       "a list of domain names",
       [](settings& s, std::string_view v) { return take(s.domains, read_domains(v)); }},
      {{"digest_algorithms", "digest algorithms in the order offered: MD5, SHA-256", "MD5"},
       "MD5, SHA-256 or both",
       [](settings& s, std::string_view v) { return take(s.digest_algorithms, read_algorithms(v)); }},
      {{"inbound", "who may call our subscribers from other domains: all or peers", "all"},
       "all or peers",
       [](settings& s, std::string_view v) {
         if (v != "all" && v != "peers") return false;
         s.inbound = v == "all" ? inbound_policy::all : inbound_policy::peers;
         return true;
       }},
      {{"hide_users", "answer outsiders 480 for users that do not exist: yes or no", "no"},
       "yes or no",
       [](settings& s, std::string_view v) { return take(s.hide_users, read_bool(v)); }},
      {{"min_copies", "nodes that hold a write before it is acknowledged: 1, 2 or 3", "2"},
       "1, 2 or 3",
       [](settings& s, std::string_view v) { return take(s.min_copies, read_number(v, 1, 3)); }},
      {{"profile", "timing of failure detection: lan or wan", "lan"},
       "lan or wan",
       [](settings& s, std::string_view v) {
         if (v != "lan" && v != "wan") return false;
         s.profile = v;
         return true;
       }},
      {{"roles.min", "how many nodes are to hold each role; nodes run with --roles auto see to it", "proxy=2,registrar=3,dns=2"},
       "ROLE=NUMBER, separated by commas",
       [](settings&, std::string_view v) { return is_role_minimums(v); }}, // read where roles are claimed
      {{"ring_seconds", "how long a callee rings before the call ends with 408", "180"},
       "a number of seconds from 5 to 600",
       [](settings& s, std::string_view v) { return take(s.ring_seconds, read_number(v, 5, 600)); }},
      {{"service_route", "Service-Route to give to phones, as <sip:HOST;lr>; empty: none", ""},
       "empty or <sip:HOST;lr>",
       [](settings& s, std::string_view v) {
         if (!is_service_route(v)) return false;
         s.service_route = v;
         return true;
       }},
      {{"peers", "trusted peers: addresses or TLS names, separated by commas", ""},
       "a list of IP addresses and host names",
       read_peers, hint_for_peers},
      {{"emergency", "numbers whose calls are taken under any overload, separated by commas", "112,911"},
       "a list of at most 64 user parts",
       [](settings& s, std::string_view v) { return take(s.emergency, read_emergency(v)); }},
      {{"grant_min_s", "shortest registration granted, in seconds; below it 423", "60"},
       "a number of seconds from 10 to 86400",
       [](settings& s, std::string_view v) { return take(s.grant_min_s, read_number(v, grant_floor_s, grant_ceiling_s)); }},
      {{"grant_max_s", "longest registration granted, in seconds", "3600"},
       "a number of seconds from 10 to 86400",
       [](settings& s, std::string_view v) { return take(s.grant_max_s, read_number(v, grant_floor_s, grant_ceiling_s)); }},
      {{"dns.server", "DNS server that takes our updates, IP:PORT; empty: none", ""},
       "empty or IP:PORT",
       [](settings& s, std::string_view v) {
         if (!v.empty() && !endpoint::parse(v, 53)) return false;
         s.dns_server = v;
         return true;
       }},
      {{"dns.tsig.name", "name of the TSIG key for DNS updates", ""},
       "empty or a key name",
       [](settings& s, std::string_view v) {
         if (!v.empty() && !is_host_name(v.ends_with('.') ? v.substr(0, v.size() - 1) : v)) return false;
         s.dns_tsig_name = v;
         return true;
       }},
      {{"dns.tsig.algorithm", "algorithm of the TSIG key, such as hmac-sha256", ""},
       "empty or hmac-sha256, hmac-sha512, hmac-sha384, hmac-sha224, hmac-sha1, hmac-md5",
       [](settings& s, std::string_view v) {
         if (!v.empty() && std::ranges::find(tsig_algorithms, to_lower(v)) == std::end(tsig_algorithms)) return false;
         s.dns_tsig_algorithm = to_lower(v);
         return true;
       }},
      {{"dns.tsig.secret", "secret of the TSIG key in base64", "", true},
       "empty or base64",
       [](settings& s, std::string_view v) {
         if (!from_base64(v)) return false;
         s.dns_tsig_secret = v;
         return true;
       }},
  };
  return all;
}

const key_rule* find_rule(std::string_view key) {
  const auto it = std::ranges::find(rules(), key, [](const key_rule& r) { return r.info.key; });
  return it == rules().end() ? nullptr : &*it;
}

// Levenshtein's distance; keys are short.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t above = row[j + 1];
      row[j + 1] = std::min({above + 1, row[j] + 1, diagonal + (lower(a[i]) == lower(b[j]) ? 0 : 1)});
      diagonal = above;
    }
  }
  return row.back();
}

} // namespace

bool settings::serves(std::string_view domain) const {
  return std::ranges::any_of(domains, [&](const std::string& d) { return equal_nocase(d, domain); });
}

bool settings::is_peer(const ip_address& a) const { return std::ranges::binary_search(peer_addresses, a); }
bool settings::is_peer(std::string_view tls_name) const { return std::ranges::binary_search(peer_names, tls_name); }

const std::vector<setting_info>& known_settings() {
  static const std::vector<setting_info> infos = [] {
    std::vector<setting_info> out;
    for (const key_rule& r : rules()) out.push_back(r.info);
    return out;
  }();
  return infos;
}

outcome<void> check_setting(std::string_view key, std::string_view value) {
  if (key.starts_with("tls."))
    return std::unexpected(failure{std::string(key) + " is not set by hand", "use: skald tls set --cert CHAIN --key KEY"});
  const key_rule* rule = find_rule(key);
  if (!rule) {
    const std::string near = nearest_key(key);
    return std::unexpected(failure{"unknown setting \"" + std::string(key) + "\"",
                                   near.empty() ? "list them with: skald set" : "did you mean \"" + near + "\"?"});
  }
  settings scratch;
  if (value.size() <= value_bytes_max && rule->apply(scratch, trim(value))) return {};
  // A secret's text must not come back in an error.
  const std::string shown = rule->info.secret || value.size() > 200 ? "" : " \"" + std::string(value) + "\"";
  return std::unexpected(failure{std::string(key) + ":" + shown + " has to be " + std::string(rule->expected),
                                 rule->hint && value.size() <= value_bytes_max ? rule->hint(trim(value)) : ""});
}

settings read_settings(std::string_view domain, const std::map<std::string, std::string>& stored) {
  settings s;
  for (const key_rule& r : rules())
    if (const auto it = stored.find(std::string(r.info.key)); it != stored.end()) {
      settings changed = s;
      if (r.apply(changed, trim(it->second))) s = std::move(changed);
    }
  if (s.grant_min_s > s.grant_max_s) s.grant_min_s = s.grant_max_s;
  s.default_domain = to_lower(domain);
  std::erase(s.domains, s.default_domain);
  s.domains.insert(s.domains.begin(), s.default_domain);
  return s;
}

std::string nearest_key(std::string_view wrong) {
  constexpr std::size_t wrong_bytes_max = 64; // the distance is quadratic
  if (wrong.empty() || wrong.size() > wrong_bytes_max) return {};
  std::string_view best;
  std::size_t least = std::max<std::size_t>(2, wrong.size() / 3) + 1;
  for (const setting_info& info : known_settings())
    if (const std::size_t d = distance(wrong, info.key); d < least) {
      least = d;
      best = info.key;
    }
  return std::string(best);
}

} // namespace skald::roles
