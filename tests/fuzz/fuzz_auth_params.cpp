#include "sip/message/auth_params.hpp"

#include <cstddef>
#include <cstdint>

using namespace skald::sip;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto a = parse_auth_params({reinterpret_cast<const char*>(data), size});
  if (!a) return 0;
  for (const auto& p : a->params) SKALD_ASSERT(a->get(p.name) == p.value);
  return 0;
}
