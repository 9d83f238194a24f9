#include "node/streams/phone_tls.hpp"

#include "base/encoding.hpp"
#include "base/log.hpp"
#include "certs/pem.hpp"
#include "certs/x509.hpp"
#include "node/streams/bundle_tls.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <gnutls/gnutls.h>
#include <nlohmann/json.hpp>

namespace skald::node {

using nlohmann::json;

namespace {

// RFC 6125: "*.example.com" covers one label.
bool covers(const std::string& pattern, const std::string& name) {
  if (equal_nocase(pattern, name)) return true;
  const auto dot = name.find('.');
  return pattern.starts_with("*.") && dot != std::string::npos && equal_nocase(pattern.substr(1), name.substr(dot));
}

bool any_covers(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::any_of(names, [&](const std::string& n) { return covers(n, name); });
}

std::string text_field(const std::string& stored, const char* key) {
  const json j = json::parse(stored, nullptr, false);
  return j.is_object() && j.contains(key) && j[key].is_string() ? j[key].get<std::string>() : std::string{};
}

} // namespace

outcome<leaf_facts> read_leaf(const std::string& chain_pem) {
  const failure wrong{"the certificate file holds no certificate", "give the chain as PEM, the server's own certificate first"};
  const auto blocks = certs::pem_decode(chain_pem);
  if (!blocks) return std::unexpected(wrong);
  for (const certs::pem_block& b : *blocks) {
    if (b.label != "CERTIFICATE") continue;
    const auto crt = certs::import_crt(b.bytes);
    if (!crt) return std::unexpected(wrong);
    leaf_facts out;
    out.names = certs::alt_names_of(crt->get()).dns;
    char issuer[512];
    std::size_t size = sizeof issuer;
    if (gnutls_x509_crt_get_issuer_dn(crt->get(), issuer, &size) == 0) out.issuer.assign(issuer, size);
    out.not_after = static_cast<unix_ms>(gnutls_x509_crt_get_expiration_time(crt->get())) * 1000;
    return out;
  }
  return std::unexpected(wrong);
}

phone_tls::phone_tls(certs::bundle_ptr own, tls_slot& phones, tls_slot& outbound)
    : own_(std::move(own)), phones_(phones), outbound_(outbound) {
  rebuild();
}

void phone_tls::set_own(certs::bundle_ptr renewed) {
  own_ = std::move(renewed);
  rebuild();
}

bool phone_tls::rebuild() {
  std::vector<tls_identity> shown;
  for (const auto& [key, value] : public_) shown.push_back({text_field(value, "cert"), text_field(value, "key")});
  auto phones = phone_credentials(*own_, shown);
  auto outbound = outbound_credentials(*own_);
  for (const auto* made : {&phones, &outbound})
    if (!*made) {
      log::error("tls", made->error().what);
      return false;
    }
  phones_.set(std::move(*phones));
  outbound_.set(std::move(*outbound));
  return true;
}

void phone_tls::take_settings(const std::map<std::string, std::string>& stored) {
  std::map<std::string, std::string> now;
  for (const auto& [key, value] : stored)
    if (key.starts_with("tls.")) now[key] = value;
  if (now == public_) return;
  public_ = std::move(now);
  if (rebuild()) log::info("tls", fmt::format("phones now see {}", public_.empty() ? "the node's own certificate" : "the cluster's public certificate"));
}

outcome<void> phone_tls::check(const std::string& cert_pem, const std::string& key_pem, const std::string& domain,
                               unix_ms now) const {
  const auto leaf = read_leaf(cert_pem);
  if (!leaf) return std::unexpected(leaf.error());
  if (leaf->not_after <= now) return std::unexpected(failure{fmt::format("the certificate expired on {}", certs::date_text(leaf->not_after)), "get a new one"});
  if (!any_covers(leaf->names, domain))
    return std::unexpected(failure{fmt::format("the certificate does not name {}", domain), fmt::format("it names: {}", fmt::join(leaf->names, ", "))});
  // GnuTLS refuses a key that does not belong to the chain's first certificate.
  if (const auto made = tls_credentials::make({{cert_pem, key_pem}}, {}, false); !made) return std::unexpected(failure{made.error().what, "give the key that the certificate was made for, PEM without a passphrase"});
  return {};
}

json phone_tls::row(const std::string& node_name, const std::vector<std::string>& node_hosts, unix_ms now) const {
  const std::string chain = public_.empty() ? certs::pem_encode("CERTIFICATE", own_->certificate) : text_field(public_.begin()->second, "cert");
  const auto leaf = read_leaf(chain);
  if (!leaf) return {{"node", node_name}, {"warning", leaf.error().what}};
  json missing = json::array();
  for (const std::string& host : node_hosts)
    if (!any_covers(leaf->names, host)) missing.push_back(host);
  const auto days = (leaf->not_after - now) / 86'400'000;
  std::string warning;
  if (days < tls_warning_days) warning = days < 0 ? "expired" : fmt::format("expires in {} days", days);
  return {{"node", node_name}, {"names", leaf->names}, {"missing", missing}, {"issuer", leaf->issuer}, {"days_left", days}, {"warning", warning}};
}

} // namespace skald::node
