#pragma once
// `skald user import`: rows of `aor,password` or `aor,ha1-md5[,ha1-sha256]`, told apart by the header line; quoting as
// in RFC 4180. Pure: lines in, subscribers or complaints out. Errors never repeat a password or a hash.
#include "base/clock.hpp"
#include "base/errors.hpp"
#include "roles/core/subscriber.hpp"

#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skald::roles {

inline constexpr std::size_t import_line_bytes_max = 4096;

struct import_row {
  std::size_t line = 0; // counted from 1, the header's included
  subscriber who;
};
struct import_error {
  std::size_t line = 0;
  std::string what;
};

// Fed line by line, so that a file of millions of rows never is in memory whole. One thread.
class csv_import {
public:
  // `serves`: whether a domain is one of the cluster's; AoRs without a domain get `default_domain`.
  csv_import(std::string default_domain, std::function<bool(std::string_view)> serves, unix_ms now);

  // One line without its line end (a CR is taken off). What it gives is a row, an error, or nothing (the header, an
  // empty line).
  using line_result = std::expected<std::optional<import_row>, import_error>;
  line_result line(std::string_view text);
  std::size_t lines() const { return lines_; }
  // After a header that was not understood every line fails: the caller should stop.
  bool hopeless() const { return hopeless_; }

private:
  enum class column : std::uint8_t { aor, password, ha1_md5, ha1_sha256, other };
  line_result header(const std::vector<std::string>& cells);
  line_result row(const std::vector<std::string>& cells);
  std::unexpected<import_error> error(std::string what) const;

  std::string default_domain_;
  std::function<bool(std::string_view)> serves_;
  unix_ms now_;
  std::vector<column> columns_;
  std::size_t lines_ = 0;
  bool hopeless_ = false;
};

// The whole text at once, for small files and tests.
struct import_result {
  std::vector<import_row> rows;
  std::vector<import_error> errors;
};
import_result import_csv(std::string_view text, csv_import& into);

} // namespace skald::roles
