#include "roles/core/import_csv.hpp"

#include "base/encoding.hpp"

#include <algorithm>
#include <optional>

namespace skald::roles {
namespace {

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// RFC 4180 §2, one line: quotes around a cell, "" within them. Unquoted cells are trimmed, quoted ones are taken as
// they are (a password may begin with a space). nullopt: a quote is not closed or text follows it.
std::optional<std::vector<std::string>> cells_of(std::string_view line) {
  std::vector<std::string> out;
  while (true) {
    std::string cell;
    const auto first = line.find_first_not_of(" \t");
    if (first != std::string_view::npos && line[first] == '"') {
      line.remove_prefix(first + 1);
      while (true) {
        const auto quote = line.find('"');
        if (quote == std::string_view::npos) return std::nullopt;
        cell += line.substr(0, quote);
        line.remove_prefix(quote + 1);
        if (!line.starts_with('"')) break;
        cell += '"';
        line.remove_prefix(1);
      }
      const auto comma = std::min(line.find(','), line.size());
      if (!trim(line.substr(0, comma)).empty()) return std::nullopt;
      line.remove_prefix(comma);
    } else {
      const auto comma = std::min(line.find(','), line.size());
      cell = trim(line.substr(0, comma));
      line.remove_prefix(comma);
    }
    out.push_back(std::move(cell));
    if (line.empty()) return out;
    line.remove_prefix(1);
  }
}

} // namespace

csv_import::csv_import(std::string default_domain, std::function<bool(std::string_view)> serves, unix_ms now)
    : default_domain_(std::move(default_domain)), serves_(std::move(serves)), now_(now) {}

std::unexpected<import_error> csv_import::error(std::string what) const {
  return std::unexpected(import_error{lines_, std::move(what)});
}

csv_import::line_result csv_import::line(std::string_view text) {
  ++lines_;
  if (text.ends_with('\r')) text.remove_suffix(1);
  constexpr std::string_view byte_order_mark = "\xef\xbb\xbf"; // spreadsheets write it
  if (lines_ == 1 && text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
  if (trim(text).empty()) return std::nullopt;
  if (text.size() > import_line_bytes_max) return error("longer than 4096 bytes");
  if (hopeless_) return error("the header line was not understood");
  const auto cells = cells_of(text);
  if (!cells) {
    hopeless_ = columns_.empty();
    return error("a quote is not closed");
  }
  return columns_.empty() ? header(*cells) : row(*cells);
}

csv_import::line_result csv_import::header(const std::vector<std::string>& cells) {
  for (const std::string& cell : cells) {
    const std::string name = to_lower(trim(cell));
    column c = column::other;
    if (name == "aor") c = column::aor;
    if (name == "password") c = column::password;
    if (name == "ha1-md5") c = column::ha1_md5;
    if (name == "ha1-sha256") c = column::ha1_sha256;
    columns_.push_back(c);
  }
  const auto count = [&](column c) { return std::ranges::count(columns_, c); };
  const auto hashes = count(column::ha1_md5) + count(column::ha1_sha256);
  const bool once = std::ranges::all_of(columns_, [&](column c) { return c == column::other || count(c) == 1; });
  hopeless_ = !once || count(column::other) > 0 || count(column::aor) != 1 || (count(column::password) == 1) == (hashes > 0);
  if (hopeless_) return error("the first line has to be aor,password or aor,ha1-md5[,ha1-sha256]");
  return std::nullopt;
}

csv_import::line_result csv_import::row(const std::vector<std::string>& cells) {
  // A last column may be left out: a subscriber with one kind of hash only.
  if (cells.size() > columns_.size() || cells.size() < 2)
    return error("has " + std::to_string(cells.size()) + " columns, the header " + std::to_string(columns_.size()));
  const auto cell = [&](column c) {
    const auto i = static_cast<std::size_t>(std::ranges::find(columns_, c) - columns_.begin());
    return i < cells.size() ? std::string_view(cells[i]) : std::string_view{};
  };
  auto aor = read_aor(trim(cell(column::aor)), default_domain_);
  if (!aor) return error(aor.error().what);
  if (!serves_(domain_of(*aor))) return error("\"" + std::string(domain_of(*aor)) + "\" is not a domain of the cluster");

  import_row out{lines_, {}};
  if (std::ranges::find(columns_, column::password) != columns_.end()) {
    const std::string_view password = cell(column::password);
    if (const auto good = check_password(password); !good) return error(good.error().what);
    out.who = make_subscriber(*aor, password, now_);
    return out;
  }
  auto made = make_subscriber_from_ha1(*aor, trim(cell(column::ha1_md5)), trim(cell(column::ha1_sha256)), now_);
  if (!made) return error(made.error().what);
  out.who = std::move(*made);
  return out;
}

import_result import_csv(std::string_view text, csv_import& into) {
  import_result out;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    auto got = into.line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!got)
      out.errors.push_back(std::move(got.error()));
    else if (*got)
      out.rows.push_back(std::move(**got));
  }
  return out;
}

} // namespace skald::roles
