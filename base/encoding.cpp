#include "base/encoding.hpp"

#include <algorithm>
#include <array>

namespace skald {
namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";
constexpr std::string_view alphabet_std = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view alphabet_url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char l = lower(c);
  return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

constexpr std::array<std::int8_t, 256> inverse(std::string_view alphabet) {
  std::array<std::int8_t, 256> table{};
  table.fill(-1);
  for (std::size_t i = 0; i < alphabet.size(); ++i)
    table[static_cast<std::uint8_t>(alphabet[i])] = static_cast<std::int8_t>(i);
  return table;
}

std::string encode64(std::string_view bytes, std::string_view alphabet) {
  std::string out;
  out.reserve((bytes.size() * 4 + 2) / 3 + 2);
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : bytes) {
    bits = (bits << 8) | static_cast<std::uint8_t>(c);
    for (held += 8; held >= 6; held -= 6) out.push_back(alphabet[(bits >> (held - 6)) & 63]);
  }
  if (held > 0) out.push_back(alphabet[(bits << (6 - held)) & 63]);
  return out;
}

result<std::string> decode64(std::string_view text, const std::array<std::int8_t, 256>& table) {
  if (text.size() % 4 == 1) return std::unexpected(errc::malformed);
  std::string out;
  out.reserve(text.size() * 3 / 4);
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const std::int8_t value = table[static_cast<std::uint8_t>(c)]; // -1: not of the alphabet
    if (value < 0) return std::unexpected(errc::malformed);
    bits = (bits << 6) | static_cast<std::uint32_t>(value);
    held += 6;
    if (held >= 8) {
      held -= 8;
      out.push_back(static_cast<char>((bits >> held) & 0xff));
    }
  }
  return out;
}

constexpr auto inverse_std = inverse(alphabet_std);
constexpr auto inverse_url = inverse(alphabet_url);

} // namespace

std::string to_hex(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    out.push_back(hex_digits[static_cast<std::uint8_t>(c) >> 4]);
    out.push_back(hex_digits[static_cast<std::uint8_t>(c) & 15]);
  }
  return out;
}

result<std::string> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::unexpected(errc::malformed);
  std::string out;
  out.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = hex_value(text[i]), low = hex_value(text[i + 1]);
    if (high < 0 || low < 0) return std::unexpected(errc::malformed);
    out.push_back(static_cast<char>(high * 16 + low));
  }
  return out;
}

std::string to_base64(std::string_view bytes) {
  std::string out = encode64(bytes, alphabet_std);
  out.resize((out.size() + 3) / 4 * 4, '=');
  return out;
}

result<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::unexpected(errc::malformed);
  for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  return decode64(text, inverse_std);
}

std::string to_base64url(std::string_view bytes) { return encode64(bytes, alphabet_url); }
result<std::string> from_base64url(std::string_view text) { return decode64(text, inverse_url); }

bool equal_nocase(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

std::string to_lower(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = lower(c);
  return out;
}

} // namespace skald
