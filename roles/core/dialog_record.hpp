#pragma once
// A dialog as kept in table::dialogs under the key of the caller's AoR, else the callee's (sip.md §9).
#include "base/clock.hpp"
#include "base/errors.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace skald::roles {

struct dialog_party {
  std::string aor; // canonical; empty: foreign
  std::string tag;
  std::string contact; // the URI last seen
  std::string token;   // of its flow, as it stands in Record-Route; empty: foreign
  std::uint64_t binding_id = 0;
  bool operator==(const dialog_party&) const = default;
};

// Who ended it with a BYE that could not be delivered; by its number in the table, append only.
enum class dialog_end : std::uint8_t { no = 0, by_caller = 1, by_callee = 2 };

struct dialog_record {
  std::string call_id;
  dialog_party caller, callee;
  unix_ms started = 0;
  unix_ms updated = 0;
  std::string relay; // the media relay's session, later
  dialog_end ended = dialog_end::no;
  std::uint32_t bye_cseq = 0; // of that BYE
  bool operator==(const dialog_record&) const = default;

  // The store's item: the same whichever party speaks.
  std::string item() const;
};
std::string dialog_item(std::string_view call_id, std::string_view tag, std::string_view other_tag);

std::string encode(const dialog_record& d); // msgpack, positional
result<dialog_record> decode_dialog(std::string_view bytes);

// A dialog that nobody reports for so long is gone (sip.md §9).
inline constexpr milliseconds dialog_life{12 * 3600 * 1000};

} // namespace skald::roles
