// What stands in records, from other nodes, other versions and old disks: each value's reader. What is understood must
// survive being written and read again.
#include "dht/store/partition_set.hpp"
#include "roles/core/binding.hpp"
#include "roles/core/dialog_record.hpp"
#include "roles/core/replay.hpp"
#include "roles/core/settings.hpp"
#include "roles/core/subscriber.hpp"

#include <cstdint>

namespace {

using namespace skald;

void same_again(std::string_view in, auto decode) {
  const auto value = decode(in);
  if (!value) return;
  const std::string once = encode(*value);
  const auto again = decode(once);
  SKALD_ASSERT(again.has_value());
  SKALD_ASSERT(encode(*again) == once);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view in(reinterpret_cast<const char*>(data), size);
  same_again(in, roles::decode_binding);
  same_again(in, roles::decode_dialog);
  same_again(in, roles::decode_subscriber);
  same_again(in, roles::decode_nonce_state);
  if (const auto parts = dht::partition_set::decode(in)) SKALD_ASSERT(dht::partition_set::decode(parts->encode()) == parts);
  const auto split = in.find('=');
  if (split == std::string_view::npos) return 0;
  const std::string key(in.substr(0, split)), value(in.substr(split + 1));
  static_cast<void>(roles::check_setting(key, value));
  static_cast<void>(roles::read_settings("example.com", {{key, value}}));
  return 0;
}
