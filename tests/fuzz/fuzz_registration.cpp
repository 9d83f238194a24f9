// A REGISTER's way into a binding, and the records that copies send: the first byte chooses the reader.
#include "roles/core/binding.hpp"
#include "roles/core/import_csv.hpp"
#include "roles/core/replay.hpp"
#include "roles/core/subscriber.hpp"
#include "roles/registrar/update_rule.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>

using namespace skald;
using namespace skald::roles;

namespace {

void feed_register(std::string_view in) {
  const auto m = sip::message::parse(std::string(in));
  if (!m || !m->is_request()) return;
  static const settings config = read_settings("example.com", {});
  sip::token flow;
  flow.remote = endpoint::parse("192.0.2.1:5060").value();
  unknown_requirements(*m);
  const auto wanted = read_register(*m, config, flow);
  if (!wanted) return;
  registration r;
  r.wanted = *wanted;
  r.aor = "sip:alice@example.com";
  r.now = 1'700'000'000'000;
  std::vector<dht::record> held;
  const auto changes = update_bindings(r, {});
  if (!changes) return;
  for (const dht::change& c : *changes) {
    if (c.remove && c.item == dht::floor_item) continue; // "remove all" forbids what is not seen here too
    if (c.remove || !decode_binding(c.value)) std::abort(); // nothing was there; what it writes it can read
    dht::record one;
    one.item = c.item, one.value = c.value, one.expires = c.expires;
    held.push_back(std::move(one));
  }
  if (!held.empty() && update_bindings(r, held)) std::abort(); // the same CSeq again is out of order
  r.repeated = true;
  update_bindings(r, held);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view in(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 5) {
  case 0: feed_register(in); break;
  case 1:
    if (const auto b = decode_binding(in); b && !decode_binding(encode(*b))) std::abort();
    break;
  case 2:
    if (const auto s = decode_subscriber(in); s && decode_subscriber(encode(*s)) != s) std::abort();
    break;
  case 3:
    if (const auto n = decode_nonce_state(in); n && !decode_nonce_state(encode(*n))) std::abort();
    break;
  case 4: {
    csv_import rows("example.com", [](std::string_view) { return true; }, 0);
    import_csv(in, rows);
    break;
  }
  }
  return 0;
}
