#include "roles/core/dialog_record.hpp"

#include "base/crypto.hpp"
#include "base/encoding.hpp"
#include "base/pack.hpp"

namespace skald::roles {

namespace {

using pack::fields;
using pack::reader;
using pack::writer;

constexpr std::size_t item_bytes = 16;

void put(writer& w, const dialog_party& p) {
  w.array(5);
  w.str(p.aor);
  w.str(p.tag);
  w.str(p.contact);
  w.str(p.token);
  w.uint(p.binding_id);
}

dialog_end end_from(std::uint64_t number) {
  switch (number) {
  case 1:
    return dialog_end::by_caller;
  case 2:
    return dialog_end::by_callee;
  default:
    return dialog_end::no;
  }
}

dialog_party get_party(reader& r) {
  dialog_party p;
  fields f(r);
  p.aor = f.bin();
  p.tag = f.bin();
  p.contact = f.bin();
  p.token = f.bin();
  p.binding_id = f.uint();
  return p;
}

} // namespace

std::string dialog_item(std::string_view call_id, std::string_view tag, std::string_view other_tag) {
  if (other_tag < tag) std::swap(tag, other_tag);
  std::string text(call_id);
  text.append("\n").append(tag).append("\n").append(other_tag);
  return to_hex(std::string_view(crypto::sha256(text)).substr(0, item_bytes));
}

std::string dialog_record::item() const {
  return dialog_item(call_id, caller.tag, callee.tag);
}

std::string encode(const dialog_record& d) {
  std::string out;
  writer w(out);
  w.array(8);
  w.str(d.call_id);
  put(w, d.caller);
  put(w, d.callee);
  w.sint(d.started);
  w.sint(d.updated);
  w.str(d.relay);
  w.uint(static_cast<std::uint64_t>(d.ended));
  w.uint(d.bye_cseq);
  return out;
}

result<dialog_record> decode_dialog(std::string_view bytes) {
  reader r(bytes);
  dialog_record d;
  {
    fields f(r);
    d.call_id = f.bin();
    if (f.next()) d.caller = get_party(r);
    if (f.next()) d.callee = get_party(r);
    d.started = f.sint();
    d.updated = f.sint();
    d.relay = f.bin();
    d.ended = end_from(f.uint());
    d.bye_cseq = static_cast<std::uint32_t>(f.uint());
  }
  if (!r.ok()) return std::unexpected(errc::malformed);
  if (d.call_id.empty()) return std::unexpected(errc::missing);
  return d;
}

} // namespace skald::roles
