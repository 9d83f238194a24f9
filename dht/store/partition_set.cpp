#include "dht/store/partition_set.hpp"

#include "base/encoding.hpp"

namespace skald::dht {
namespace {

constexpr char as_runs = 0, as_bits = 1;
constexpr std::size_t bits_bytes = partition_count / 8;

// From `i` on, the first partition that is in (or, flipped, that is not); partition_count: none.
std::uint32_t next(const partition_set& s, std::uint32_t i, std::uint64_t flip) {
  for (std::size_t word = i / 64; word < s.words.size(); ++word) {
    std::uint64_t w = s.words[word] ^ flip;
    if (word == i / 64) w &= ~std::uint64_t{0} << i % 64;
    if (w != 0) return static_cast<std::uint32_t>(word * 64) + static_cast<std::uint32_t>(std::countr_zero(w));
  }
  return partition_count;
}

} // namespace

std::string partition_set::encode() const {
  std::string runs(1, as_runs);
  for (std::uint32_t i = next(*this, 0, 0); i < partition_count && runs.size() < bits_bytes;) {
    const std::uint32_t behind = next(*this, i, ~std::uint64_t{0});
    put_be(runs, static_cast<std::uint16_t>(i));
    put_be(runs, static_cast<std::uint16_t>(behind - 1));
    i = behind < partition_count ? next(*this, behind, 0) : partition_count;
  }
  if (runs.size() < bits_bytes) return runs;
  std::string bits(1, as_bits);
  bits.reserve(1 + bits_bytes);
  for (const auto w : words) put_be(bits, w);
  return bits;
}

std::optional<partition_set> partition_set::decode(std::string_view bytes) {
  if (bytes.empty()) return std::nullopt;
  const char kind = bytes.front();
  bytes.remove_prefix(1);
  partition_set out;
  if (kind == as_bits) {
    if (bytes.size() != bits_bytes) return std::nullopt;
    for (auto& w : out.words) {
      w = get_be<std::uint64_t>(bytes);
      bytes.remove_prefix(8);
    }
    return out;
  }
  if (kind != as_runs || bytes.size() % 4 != 0 || bytes.size() > bits_bytes) return std::nullopt;
  for (std::uint32_t behind = 0; !bytes.empty(); bytes.remove_prefix(4)) {
    const std::uint32_t first = get_be<std::uint16_t>(bytes), last = get_be<std::uint16_t>(bytes.substr(2));
    if (first < behind || last < first) return std::nullopt;
    for (std::uint32_t i = first; i <= last; ++i) out.set(partition{static_cast<std::uint16_t>(i)});
    behind = last + 1;
  }
  return out;
}

} // namespace skald::dht
