#include "dht/directory/record.hpp"

#include "base/log.hpp"
#include "base/metrics.hpp"
#include "certs/signature.hpp"
#include "dht/view/body_codec.hpp"

#include <array>

namespace skald::dht {
namespace {

metrics::counter bad("skald_records_refused_total", "Directory records refused: malformed, not authentic, or of a foreign cluster");
metrics::counter cut("skald_records_roles_cut_total", "Directory records that claimed a role which the certificate does not permit");

constexpr std::string_view signed_as = "skald directory record 1:"; // no other signature of ours begins so

std::unexpected<errc> refuse(errc why) {
  bad.add();
  return std::unexpected(why);
}

} // namespace

std::string make_record(const certs::bundle& author, const member_body& body) {
  const std::string inside = encode_body(body);
  std::string out;
  pack::writer w(out);
  w.array(4);
  w.uint(1);
  w.bin(inside);
  w.bin(author.certificate);
  w.bin(certs::sign(author, std::string(signed_as) + inside));
  return out;
}

result<verified_record> verify_record(std::string_view bytes, const certs::trust& against, unix_ms now) {
  if (bytes.size() > record_bytes_max) return refuse(errc::too_large);
  pack::reader r(bytes);
  const std::size_t elements = r.array();
  const auto version = r.uint();
  const std::string_view inside = r.bin(), certificate = r.bin(), signature = r.bin();
  if (!r.ok() || elements < 4 || version != 1) return refuse(errc::malformed);
  const std::array chain{certificate};
  const auto author = certs::check_peer(chain, against, now);
  if (!author) return refuse(errc::not_authentic);
  if (const auto good = certs::verify(certificate, std::string(signed_as).append(inside), signature); !good) return refuse(good.error());
  auto body = decode_body(inside);
  if (!body) return refuse(body.error());
  if (body->name != author->name) return refuse(errc::not_authentic);
  role_set permitted;
  for (const std::string& name : author->roles)
    if (const auto role = role_from(name)) permitted.add(*role);
  verified_record out{author->id, std::move(*body), false};
  const role_set believed = out.body.roles.meet(permitted);
  if (!(believed == out.body.roles)) {
    out.roles_cut = true;
    cut.add();
    log::warning("directory", "the record of " + out.body.name + " claims a role that its certificate does not permit");
  }
  out.body.roles = believed;
  return out;
}

} // namespace skald::dht
